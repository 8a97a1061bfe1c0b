//! The few bytes that following pointers will need, caught while the heap is read for other reasons.
//!
//! Lists hang in blocks all over the heap: fetched page by page they would cost more than the whole walk. But the walk
//! reads most of these pages anyway. The rehearsal tells which lines of 64 bytes were needed ([`LineRecorder`]); during the
//! stop the walk catches them from its buffers ([`LineCache::fill`]), and only the others are read on their own.

use crate::addr::{Addr, AddrRange};
use crate::target::cache::PageCache;
use crate::target::live::MAX_RANGES;
use crate::target::memory::{Fault, Memory};
use rustc_hash::{FxHashMap, FxHashSet};
use std::cell::{Cell, RefCell};

/// Bytes in a line.
pub const LINE: u64 = 64;

/// A line by its place among those that are wanted, with its bytes.
pub type CaughtLine = (usize, [u8; LINE as usize]);

/// Remembers which lines were read through it.
#[derive(Debug)]
pub struct LineRecorder<M> {
    source: M,
    lines: RefCell<FxHashSet<Addr>>,
}

impl<M: Memory> LineRecorder<M> {
    /// A recorder that has seen nothing.
    pub fn new(source: M) -> LineRecorder<M> {
        LineRecorder { source, lines: RefCell::default() }
    }

    /// Start addresses of all lines that were read, in address order.
    pub fn lines(&self) -> Vec<Addr> {
        let mut lines: Vec<Addr> = self.lines.borrow().iter().copied().collect();
        lines.sort_unstable();
        lines
    }
}

impl<M: Memory> Memory for LineRecorder<M> {
    fn read(&self, address: Addr, buffer: &mut [u8]) -> Result<(), Fault> {
        self.source.read(address, buffer)?;
        let mut lines = self.lines.borrow_mut();
        let mut line = address.align_down(LINE);
        while line < address + buffer.len() as u64 {
            lines.insert(line);
            line = line + LINE;
        }
        Ok(())
    }
}

/// Lines known from a rehearsal, over pages for all else. Not for use over memory that changes.
#[derive(Debug)]
pub struct LineCache<M> {
    pages: PageCache<M>,
    lines: RefCell<Lines>,
}

#[derive(Debug)]
struct Lines {
    /// In address order.
    addresses: Vec<Addr>,
    /// The place of each line among them.
    places: FxHashMap<Addr, usize>,
    bytes: Vec<Option<[u8; LINE as usize]>>,
    /// The place that was read last: lists mostly go on in the line before, or in the one behind.
    latest: Cell<usize>,
}

impl<M: Memory> LineCache<M> {
    /// A cache for `lines` (start addresses in address order), of which nothing is known yet.
    pub fn new(pages: PageCache<M>, lines: Vec<Addr>) -> LineCache<M> {
        let places = lines.iter().enumerate().map(|(place, line)| (*line, place)).collect();
        let bytes = vec![None; lines.len()];
        LineCache { pages, lines: RefCell::new(Lines { addresses: lines, places, bytes, latest: Cell::new(0) }) }
    }

    /// The lines that are still unknown, with their places.
    fn unknown(&self) -> Vec<(usize, Addr)> {
        let lines = self.lines.borrow();
        let both = lines.addresses.iter().zip(&lines.bytes).enumerate();
        both.filter(|(_, (_, bytes))| bytes.is_none()).map(|(place, (address, _))| (place, *address)).collect()
    }

    /// Takes lines that were caught.
    pub fn fill(&self, caught: impl IntoIterator<Item = CaughtLine>) {
        let mut lines = self.lines.borrow_mut();
        for (place, bytes) in caught {
            if let Some(line) = lines.bytes.get_mut(place) {
                *line = Some(bytes);
            }
        }
    }

    /// Reads the lines that are still unknown from `memory`, in few system calls. A line that is gone is left to be found
    /// out when it is asked for.
    pub fn fetch_unknown(&self, memory: &impl Memory) {
        for batch in self.unknown().chunks(MAX_RANGES) {
            let ranges: Vec<AddrRange> = batch.iter().map(|(_, line)| AddrRange::sized(*line, LINE)).collect();
            let mut bytes = vec![0; batch.len() * LINE as usize];
            if memory.read_ranges(&ranges, &mut bytes).is_ok() {
                let lines = bytes.as_chunks::<{ LINE as usize }>().0;
                self.fill(batch.iter().zip(lines).map(|((place, _), bytes)| (*place, *bytes)));
            }
        }
    }

    /// Bytes that were read apart from the lines.
    pub fn page_bytes(&self) -> u64 {
        self.pages.bytes()
    }
}

impl<M: Memory> Memory for LineCache<M> {
    fn read(&self, address: Addr, buffer: &mut [u8]) -> Result<(), Fault> {
        if self.lines.borrow().read(address, buffer).is_some() {
            return Ok(());
        }
        self.pages.read(address, buffer)
    }
}

impl Lines {
    fn place_of(&self, line: Addr) -> Option<usize> {
        let latest = self.latest.get();
        let near = [latest, latest.wrapping_sub(1), latest + 1];
        let found = near.into_iter().find(|place| self.addresses.get(*place) == Some(&line));
        found.or_else(|| self.places.get(&line).copied())
    }

    /// `None` if not all the bytes are in known lines; the buffer is then partly written.
    fn read(&self, address: Addr, buffer: &mut [u8]) -> Option<()> {
        let first = address.align_down(LINE);
        let mut index = self.place_of(first)?;
        self.latest.set(index);
        let mut line = first;
        let mut done = 0;
        while done < buffer.len() {
            if *self.addresses.get(index)? != line {
                return None;
            }
            let bytes = self.bytes.get(index)?.as_ref()?;
            let from = ((address + done as u64).0 - line.0) as usize;
            let count = (LINE as usize - from).min(buffer.len() - done);
            buffer.get_mut(done..done + count)?.copy_from_slice(bytes.get(from..from + count)?);
            done += count;
            line = line + LINE;
            index += 1;
        }
        Some(())
    }
}

/// Of `wanted` (start addresses in address order), the lines that lie wholly in `range`, whose bytes are `bytes`.
pub fn catch(wanted: &[Addr], range: AddrRange, bytes: &[u8], caught: &mut Vec<CaughtLine>) {
    let first = wanted.partition_point(|line| *line < range.start);
    for (place, line) in wanted.iter().enumerate().skip(first).take_while(|(_, line)| **line < range.end) {
        let from = (line.0 - range.start.0) as usize;
        if let Some(bytes) = bytes.get(from..).and_then(|rest| rest.first_chunk()) {
            caught.push((place, *bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::image::Image;

    fn image() -> Image {
        let mut image = Image::new();
        image.map(Addr(0x1000), (0..0x1000u32).map(|n| (n / 8) as u8).collect());
        image
    }

    fn cache(image: &Image, lines: Vec<Addr>) -> LineCache<&Image> {
        LineCache::new(PageCache::new(image, 0x1000, 1 << 20), lines)
    }

    #[test]
    fn a_recorder_names_every_line_of_a_read() {
        let image = image();
        let recorder = LineRecorder::new(&image);
        recorder.read(Addr(0x103c), &mut [0; 8]).unwrap();
        recorder.read_u64(Addr(0x1100)).unwrap();
        assert!(recorder.read_u64(Addr(0x9000)).is_err());
        assert_eq!(recorder.lines(), [Addr(0x1000), Addr(0x1040), Addr(0x1100)]);
    }

    #[test]
    fn caught_lines_answer_without_a_page() {
        let image = image();
        let cache = cache(&image, vec![Addr(0x1000), Addr(0x1040), Addr(0x1100)]);
        let range = AddrRange::sized(Addr(0x1000), 0x80);
        let mut bytes = [0; 0x80];
        image.read(range.start, &mut bytes).unwrap();
        let mut caught = Vec::new();
        catch(&[Addr(0x1000), Addr(0x1040), Addr(0x1100)], range, &bytes, &mut caught);
        cache.fill(caught);
        assert_eq!(cache.unknown(), [(2, Addr(0x1100))]);
        assert_eq!(cache.read_u64(Addr(0x103c)), image.read_u64(Addr(0x103c)));
        assert_eq!(cache.page_bytes(), 0);
    }

    #[test]
    fn what_was_not_caught_is_read() {
        let image = image();
        let cache = cache(&image, vec![Addr(0x1000), Addr(0x1040)]);
        cache.fetch_unknown(&image);
        assert_eq!(cache.unknown(), []);
        assert_eq!(cache.read_u64(Addr(0x107c)), image.read_u64(Addr(0x107c)));
        assert!(cache.page_bytes() > 0);
        assert!(cache.read_u64(Addr(0x9000)).is_err());
    }
}
