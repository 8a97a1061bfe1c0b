//! What nginx leaves in connections that are free. Whoever takes one fills it with zeroes first, but for its link and its two
//! events (nginx `src/core/ngx_connection.c`, `ngx_get_connection`); whoever frees one leaves all in place, the address of its
//! pool too, which is destroyed right after (`ngx_http_close_connection`). Other pools and chunks lie there later.

use super::prepared::Prepared;
use crate::addr::{Addr, AddrRange};
use crate::debug::Layout;
use crate::target::memory::{Fault, Memory, word_at};
use std::sync::Arc;

/// More connections than this are not believed.
const MOST: u64 = 16 << 20;

/// Bytes of the array that are read at once, about.
const WINDOW: u64 = 256 * 1024;

/// The list changes while it is read: so often it is tried.
const TRIES: usize = 4;

/// Where nginx keeps connections, by its own layouts.
#[derive(Debug, Clone, Copy)]
pub struct FreeSlots {
    /// The variable `ngx_cycle`, a pointer.
    cycle: Addr,
    /// Offsets in `ngx_cycle_t`.
    of_cycle: OfCycle,
    /// Bytes of an `ngx_connection_t`, and offsets in it.
    size: u64,
    data: u64,
    events: [u64; 2],
    /// Bytes of an `ngx_event_t`, and where it has its log, which lies in the connection's pool.
    event_size: u64,
    log: u64,
}

#[derive(Debug, Clone, Copy)]
struct OfCycle {
    connections: u64,
    count: u64,
    free: u64,
    /// The arrays of events for reading and for writing.
    events: [u64; 2],
}

impl FreeSlots {
    /// `None` if the target is not nginx, or if its layouts are not known.
    pub fn of(prepared: &Prepared) -> Option<FreeSlots> {
        let nginx = prepared.nginx.as_ref()?;
        let debug = &prepared.binary.debug;
        let layout = |name: &str| -> Option<Arc<Layout>> {
            nginx.built_in.as_ref().map_or_else(|| debug.layout(name).ok(), |built_in| built_in.layout(name))
        };
        let (cycle, connection, event) = (layout("ngx_cycle_s")?, layout("ngx_connection_s")?, layout("ngx_event_s")?);
        let of_cycle = OfCycle {
            connections: cycle.offset("connections").ok()?,
            count: cycle.offset("connection_n").ok()?,
            free: cycle.offset("free_connections").ok()?,
            events: [cycle.offset("read_events").ok()?, cycle.offset("write_events").ok()?],
        };
        let slots = FreeSlots {
            cycle: prepared.binary.bias.to_running(debug.symbol_address("ngx_cycle")?),
            of_cycle,
            size: connection.size,
            data: connection.offset("data").ok()?,
            events: [connection.offset("read").ok()?, connection.offset("write").ok()?],
            event_size: event.size,
            log: event.offset("log").ok()?,
        };
        (slots.size >= 8 && slots.event_size >= 8).then_some(slots)
    }

    /// Words of free connections, and of their events, that lead nowhere any more, in address order. Nothing where the list
    /// of free connections does not make sense: it may be changing.
    pub fn stale(&self, memory: &dyn Memory) -> Vec<AddrRange> {
        (0..TRIES).find_map(|_| self.read(memory).ok().flatten()).unwrap_or_default()
    }

    fn read(&self, memory: &dyn Memory) -> Result<Option<Vec<AddrRange>>, Fault> {
        let cycle = memory.read_pointer(self.cycle)?;
        let first = memory.read_pointer(cycle + self.of_cycle.connections)?;
        let count = memory.read_u64(cycle + self.of_cycle.count)?;
        if first.is_null() || count > MOST {
            return Ok(None);
        }
        let [read, write] = self.of_cycle.events;
        let arrays = [memory.read_pointer(cycle + read)?, memory.read_pointer(cycle + write)?];
        let slots = self.read_slots(memory, first, count)?;
        let mut next = memory.read_pointer(cycle + self.of_cycle.free)?;
        let mut is_seen = vec![false; slots.len()];
        let mut stale = Vec::new();
        while !next.is_null() {
            let index = index_of(first, self.size, next).filter(|index| *index < count);
            let slot = index.and_then(|index| Some((slots.get(index as usize)?, is_seen.get_mut(index as usize)?)));
            let Some((slot, seen)) = slot.filter(|(_, seen)| !**seen) else { return Ok(None) };
            *seen = true;
            self.add_connection(next, &mut stale);
            for (event, array) in slot.events.into_iter().zip(arrays) {
                let is_event = index_of(array, self.event_size, event).is_some_and(|index| index < count);
                stale.extend(is_event.then(|| AddrRange::sized(event + self.log, 8)));
            }
            next = slot.data;
        }
        stale.sort_unstable();
        Ok(Some(stale))
    }

    /// All of a connection but its link and its events.
    fn add_connection(&self, slot: Addr, stale: &mut Vec<AddrRange>) {
        let mut kept = [self.data, self.events[0], self.events[1]];
        kept.sort_unstable();
        let mut from = 0;
        for offset in kept.into_iter().chain([self.size]) {
            if from < offset {
                stale.push(AddrRange::new(slot + from, slot + offset));
            }
            from = from.max(offset + 8);
        }
    }

    fn read_slots(&self, memory: &dyn Memory, first: Addr, count: u64) -> Result<Vec<Slot>, Fault> {
        let in_window = (WINDOW / self.size).max(1);
        let mut slots = Vec::new();
        let mut bytes = Vec::new();
        for start in (0..count).step_by(in_window as usize) {
            bytes.resize((in_window.min(count - start) * self.size) as usize, 0);
            memory.read(first + start * self.size, &mut bytes)?;
            slots.extend(bytes.chunks_exact(self.size as usize).map(|bytes| Slot {
                data: Addr(word_at(bytes, self.data)),
                events: self.events.map(|offset| Addr(word_at(bytes, offset))),
            }));
        }
        Ok(slots)
    }
}

struct Slot {
    data: Addr,
    events: [Addr; 2],
}

/// Which of the elements of that size from `first` on lies at `address`.
fn index_of(first: Addr, size: u64, address: Addr) -> Option<u64> {
    let offset = address.checked_offset_from(first)?;
    offset.is_multiple_of(size).then_some(offset / size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::image::Image;

    const CYCLE: Addr = Addr(0x1000);
    const FIRST: Addr = Addr(0x10000);
    const EVENTS: [Addr; 2] = [Addr(0x20000), Addr(0x30000)];
    const SIZE: u64 = 0x30;
    const EVENT: u64 = 0x20;

    const SLOTS: FreeSlots = FreeSlots {
        cycle: CYCLE,
        of_cycle: OfCycle { connections: 0, count: 8, free: 16, events: [24, 32] },
        size: SIZE,
        data: 0,
        events: [8, 16],
        event_size: EVENT,
        log: 0x10,
    };

    /// Four connections, of which those in `free` are linked; the last of these leads to `end`.
    fn image(free: &[u64], end: u64) -> Image {
        let mut image = Image::new();
        image.map(CYCLE, vec![0; 0x100]);
        image.map(FIRST, vec![0; 4 * SIZE as usize]);
        let mut put = |at: Addr, value: u64| assert!(image.write_u64(at, value));
        let cycle = CYCLE + 0x40;
        put(CYCLE, cycle.0);
        put(cycle, FIRST.0);
        put(cycle + 8, 4);
        put(cycle + 16, free.first().map_or(end, |first| FIRST.0 + first * SIZE));
        put(cycle + 24, EVENTS[0].0);
        put(cycle + 32, EVENTS[1].0);
        for index in 0..4 {
            put(FIRST + index * SIZE + 8, EVENTS[0].0 + index * EVENT);
            put(FIRST + index * SIZE + 16, EVENTS[1].0 + index * EVENT);
        }
        for (nth, index) in free.iter().enumerate() {
            put(FIRST + index * SIZE, free.get(nth + 1).map_or(end, |next| FIRST.0 + next * SIZE));
        }
        image
    }

    #[test]
    fn of_a_free_connection_all_but_its_link_and_events_is_left_over() {
        let stale = SLOTS.stale(&image(&[3, 1], 0));
        let slot = |index: u64| AddrRange::new(FIRST + index * SIZE + 24, FIRST + (index + 1) * SIZE);
        let log = |array: Addr, index: u64| AddrRange::sized(array + index * EVENT + 0x10, 8);
        let logs = EVENTS.into_iter().flat_map(|array| [log(array, 1), log(array, 3)]);
        assert_eq!(stale, [slot(1), slot(3)].into_iter().chain(logs).collect::<Vec<_>>());
    }

    #[test]
    fn of_a_list_that_makes_no_sense_nothing_is_left_over() {
        assert_eq!(SLOTS.stale(&image(&[], 0)), []);
        for end in [FIRST.0 + 3 * SIZE, FIRST.0 + 4 * SIZE, FIRST.0 + 8, 0x5000] {
            assert_eq!(SLOTS.stale(&image(&[3, 1], end)), [], "{end:x}");
        }
        assert_eq!(SLOTS.stale(&Image::new()), []);
    }
}
