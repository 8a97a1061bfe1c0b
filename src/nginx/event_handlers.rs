//! What the events of connections call: read for all connections at once.
//!
//! The events lie in two arrays in the order of the connections (nginx `src/event/ngx_event.c`, `ngx_event_process_init`), so
//! that many are read as one range.

use crate::addr::{Addr, AddrRange};
use crate::target::memory::{Memory, word_at};
use std::ops::Range;

/// Events that lie nearer to each other than this are read as one range: more costs less than one range more.
const NEAR: u64 = 512;

/// How many ranges of events are read at once.
const BATCH: usize = 512;

/// What each of these events calls, `offset` being that of `handler` in `ngx_event_t`; `None` of those that cannot be read.
/// `bulk` is for ranges, and `chase` for single events where a range cannot be read.
pub fn handlers_of(offset: Option<u64>, chase: &dyn Memory, bulk: &dyn Memory, events: &[Addr]) -> Vec<Option<Addr>> {
    let mut handlers = vec![None; events.len()];
    let Some(offset) = offset else { return handlers };
    let mut ranges: Vec<(AddrRange, Range<usize>)> = Vec::new();
    for (nth, event) in events.iter().enumerate().filter(|(_, event)| !event.is_null()) {
        let word = AddrRange::sized(*event + offset, 8);
        match ranges.last_mut() {
            Some((last, events)) if is_near(*last, word) => (last.end, events.end) = (word.end, nth + 1),
            _ => ranges.push((word, nth..nth + 1)),
        }
    }
    let mut bytes = Vec::new();
    for batch in ranges.chunks(BATCH) {
        let places: Vec<AddrRange> = batch.iter().map(|(range, _)| *range).collect();
        bytes.resize(places.iter().map(|range| range.len() as usize).sum(), 0);
        let is_read = bulk.read_ranges(&places, &mut bytes).is_ok();
        let mut before = 0;
        for (range, members) in batch {
            let both = members.clone().zip(events.iter().zip(&mut handlers).skip(members.start));
            for (_, (event, handler)) in both.filter(|(_, (event, _))| !event.is_null()) {
                *handler = match is_read {
                    true => Some(Addr(word_at(&bytes, before + ((*event + offset).0 - range.start.0)))),
                    // One that points nowhere is found out by itself.
                    false => chase.read_pointer(*event + offset).ok(),
                };
            }
            before += range.len();
        }
    }
    handlers
}

/// True if `word` follows soon on `range`.
fn is_near(range: AddrRange, word: AddrRange) -> bool {
    word.start >= range.end && word.end > word.start && word.start.0 - range.end.0 <= NEAR
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::image::Image;

    const EVENTS: u64 = 0x10000;

    fn image() -> Image {
        let mut image = Image::new();
        image.map(Addr(EVENTS), vec![0; 0x8000]);
        for event in 0..0x150 {
            assert!(image.write_u64(Addr(EVENTS + event * 96 + 16), 0x7000 + event));
        }
        image
    }

    fn handlers(events: &[u64]) -> Vec<Option<u64>> {
        let events: Vec<Addr> = events.iter().map(|at| Addr(*at)).collect();
        let found = handlers_of(Some(16), &image(), &image(), &events);
        found.into_iter().map(|handler| handler.map(|handler| handler.0)).collect()
    }

    #[test]
    fn handlers_are_those_of_their_events_in_whatever_order() {
        let orders = [vec![0, 1, 2, 3], vec![5, 4, 3], vec![0, 0x140, 1, 6, 6, 7], (0..0x150).rev().collect()];
        for order in orders {
            let events: Vec<u64> = order.iter().map(|event| EVENTS + event * 96).collect();
            let wanted: Vec<Option<u64>> = order.iter().map(|event| Some(0x7000 + event)).collect();
            assert_eq!(handlers(&events), wanted);
        }
    }

    #[test]
    fn events_that_are_not_there_take_no_other_s_handler_away() {
        let found = handlers(&[EVENTS, 0, EVENTS + 96, 0xdead_0000, u64::MAX, u64::MAX - 30, EVENTS + 192]);
        assert_eq!(found, [Some(0x7000), None, Some(0x7001), None, None, None, Some(0x7002)]);
    }
}
