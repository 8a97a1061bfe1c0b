//! The few bytes that following pointers will need, caught while the heap is read for other reasons.
//!
//! Lists hang in blocks all over the heap: fetched page by page they would cost more than the whole walk. But the walk
//! reads most of these pages anyway. The rehearsal tells which lines of 64 bytes were needed ([`LineRecorder`]); during the
//! stop the walk catches them from its buffers ([`LineCache::take`]), and only the others are read on their own.

use crate::addr::{Addr, AddrRange};
use crate::target::cache::{PageCache, RetiredPages};
use crate::target::caught::{Bytes, CaughtLines, LINE};
use crate::target::live::MAX_RANGES;
use crate::target::memory::{Fault, Memory};
use rustc_hash::{FxHashMap, FxHashSet};
use std::cell::{Cell, RefCell};

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

/// Bytes in a group of lines: as many lines as a word has bits.
const GROUP: u64 = LINE * u64::BITS as u64;

/// What is new about lines that will be asked for.
#[derive(Debug)]
pub enum Lines {
    /// These came by while the heap was read.
    Caught(Vec<CaughtLines>),
    /// What lies in these ranges has changed since it was read.
    Changed(Vec<AddrRange>),
    /// All are to be read again, at a later moment; nothing is read now.
    Outdated,
}

/// Lines known from a rehearsal, over pages for all else. Not for use over memory that changes, unless it is
/// told.
#[derive(Debug)]
pub struct LineCache<M> {
    pages: PageCache<M>,
    lines: RefCell<WantedLines>,
}

/// Lines that will be asked for, made ready before a stop: to sort ten thousand of them takes a part of it.
#[derive(Debug)]
pub struct WantedLines {
    /// In address order.
    addresses: Vec<Addr>,
    /// The lines by the group that they lie in. One look-up finds all of a structure: what is looked up lies all over the
    /// heap, and each thing that has to be fetched to find it costs more than all else about a read.
    groups: FxHashMap<u64, Group>,
    /// Where the bytes of each are.
    spots: Vec<Spot>,
    /// They stay where they were caught: to copy them would take part of the stop, and room for them twice.
    caught: Vec<CaughtLines>,
    /// Takes those that nobody catches.
    fetched: CaughtLines,
    /// The group that was read last, by its number.
    latest: Cell<Option<(u64, Group)>>,
}

/// Where a line is among all that were caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spot {
    /// Among whose.
    by: u32,
    /// Which of them.
    index: u32,
}

impl Spot {
    /// That of a line that was not caught.
    const NONE: Spot = Spot { by: u32::MAX, index: u32::MAX };
}

/// The lines that are wanted of one group.
#[derive(Debug, Clone, Copy)]
struct Group {
    /// The place of the first of them among all that are wanted.
    first: usize,
    /// A bit for each line of the group, the first line's being the lowest.
    wanted: u64,
}

impl Group {
    /// The place of the line of that number in the group, if it is wanted.
    fn place(self, line: u32) -> Option<usize> {
        let bit = 1u64.checked_shl(line)?;
        let before = (self.wanted & (bit - 1)).count_ones();
        (self.wanted & bit != 0).then_some(self.first + before as usize)
    }
}

impl<M: Memory> LineCache<M> {
    /// A cache for `lines`, of which nothing is known yet.
    pub fn new(pages: PageCache<M>, lines: WantedLines) -> LineCache<M> {
        LineCache { pages, lines: RefCell::new(lines) }
    }

    /// Takes what is new about the lines, and reads those from `memory` that are unknown then.
    pub fn take(&self, lines: Lines, memory: &impl Memory) {
        match lines {
            Lines::Caught(caught) => self.fill(caught),
            Lines::Changed(ranges) => self.forget_in(&ranges),
            Lines::Outdated => return self.forget(),
        }
        self.fetch_unknown(memory);
    }

    fn forget_in(&self, ranges: &[AddrRange]) {
        let lines = &mut *self.lines.borrow_mut();
        for range in ranges {
            let place = |end: Addr| lines.addresses.partition_point(|line| *line < end);
            let places = place(range.start.align_down(LINE))..place(range.end);
            lines.spots.get_mut(places).unwrap_or_default().fill(Spot::NONE);
        }
        self.pages.forget();
    }

    /// The lines that are still unknown, with their places.
    fn unknown(&self) -> Vec<(usize, Addr)> {
        let lines = self.lines.borrow();
        let both = lines.addresses.iter().zip(&lines.spots).enumerate();
        both.filter(|(_, (_, spot))| **spot == Spot::NONE).map(|(place, (address, _))| (place, *address)).collect()
    }

    /// Takes lines that were caught.
    fn fill(&self, caught: impl IntoIterator<Item = CaughtLines>) {
        let lines = &mut *self.lines.borrow_mut();
        for caught in caught {
            let by = lines.caught.len() as u32;
            for (index, place) in caught.places.iter().enumerate() {
                if let Some(spot) = lines.spots.get_mut(*place as usize) {
                    *spot = Spot { by, index: index as u32 };
                }
            }
            lines.caught.push(caught);
        }
    }

    /// Reads the lines that are still unknown from `memory`, in few system calls. A line that is gone is left to be found
    /// out when it is asked for.
    pub fn fetch_unknown(&self, memory: &impl Memory) {
        let unknown = self.unknown();
        let ranges = joined(&unknown);
        let mut left = ranges.as_slice();
        let mut bytes = Vec::new();
        let mut unknown = unknown.into_iter().peekable();
        let mut caught = std::mem::take(&mut self.lines.borrow_mut().fetched);
        while !left.is_empty() {
            let mut length = 0;
            let fitting = left.iter().take(MAX_RANGES).take_while(|range| {
                length += range.len();
                length <= BATCH
            });
            let (batch, rest) = left.split_at(fitting.count().max(1));
            left = rest;
            bytes.resize(batch.iter().map(|range| range.len() as usize).sum(), 0);
            let is_there = memory.read_ranges(batch, &mut bytes).is_ok();
            let mut from = 0;
            for range in batch {
                while let Some((place, line)) = unknown.next_if(|(_, line)| *line < range.end) {
                    let at = from + (line.0 - range.start.0) as usize;
                    if let Some(bytes) = bytes.get(at..).and_then(|rest| rest.first_chunk()).filter(|_| is_there) {
                        caught.add(place, *bytes);
                    }
                }
                from += range.len() as usize;
            }
        }
        self.fill([caught]);
    }

    /// Forgets all bytes, because they may have changed; which lines are wanted it still knows.
    pub fn forget(&self) {
        let lines = &mut *self.lines.borrow_mut();
        lines.spots.fill(Spot::NONE);
        // What is read next needs no new memory.
        let room = lines.caught.drain(..).max_by_key(|caught| caught.lines.capacity());
        if let Some(mut room) = room.filter(|room| room.lines.capacity() > lines.fetched.lines.capacity()) {
            room.places.clear();
            room.lines.clear();
            lines.fetched = room;
        }
        self.pages.forget();
    }

    /// Bytes that were read apart from the lines.
    pub fn page_bytes(&self) -> u64 {
        self.pages.bytes()
    }

    /// Ends reading. What it held is for the caller to drop when there is time: for the kernel to take back tens of megabytes
    /// takes as long as to read thousands of chunks.
    pub fn retire(self) -> RetiredCache {
        RetiredCache { page_bytes: self.page_bytes(), _lines: self.lines.into_inner(), _pages: self.pages.retire() }
    }
}

/// What a [`LineCache`] held.
#[derive(Debug)]
pub struct RetiredCache {
    /// Bytes that were read apart from the lines.
    pub page_bytes: u64,
    _lines: WantedLines,
    _pages: RetiredPages,
}

/// Bytes that are read at once, at most: what is under way when a stop is to end makes it longer.
const BATCH: u64 = 256 * 1024;

/// Lines of a page that are no further apart than this are read in one range, which costs the kernel as much as a kilobyte.
const GAP: u64 = 1024;

/// No machine has smaller pages. What lies between two lines of a page can be read if they can.
const SMALLEST_PAGE: u64 = 4096;

/// The ranges that these lines lie in.
fn joined(lines: &[(usize, Addr)]) -> Vec<AddrRange> {
    let mut ranges: Vec<AddrRange> = Vec::with_capacity(lines.len());
    for (_, line) in lines {
        let is_near = |last: &AddrRange| {
            let page = (last.end - 1).align_down(SMALLEST_PAGE);
            *line == last.end && last.len() < BATCH / 4
                || *line <= last.end + GAP && line.align_down(SMALLEST_PAGE) == page
        };
        match ranges.last_mut() {
            Some(last) if is_near(last) => last.end = *line + LINE,
            _ => ranges.push(AddrRange::sized(*line, LINE)),
        }
    }
    ranges
}

impl<M: Memory> Memory for LineCache<M> {
    fn read(&self, address: Addr, buffer: &mut [u8]) -> Result<(), Fault> {
        if self.lines.borrow().read(address, buffer).is_some() {
            return Ok(());
        }
        self.pages.read(address, buffer)
    }
}

impl WantedLines {
    /// These lines (start addresses in address order); `fetched` is empty, and takes those that nobody catches.
    pub fn new(addresses: Vec<Addr>, fetched: CaughtLines) -> WantedLines {
        let mut groups: FxHashMap<u64, Group> = FxHashMap::default();
        for (place, line) in addresses.iter().enumerate() {
            let group = groups.entry(line.0 / GROUP).or_insert(Group { first: place, wanted: 0 });
            group.wanted |= 1 << (line.0 % GROUP / LINE);
        }
        let spots = vec![Spot::NONE; addresses.len()];
        WantedLines { addresses, groups, spots, caught: Vec::new(), fetched, latest: Cell::new(None) }
    }

    fn group(&self, number: u64) -> Option<Group> {
        if let Some((latest, group)) = self.latest.get()
            && latest == number
        {
            return Some(group);
        }
        let group = *self.groups.get(&number)?;
        self.latest.set(Some((number, group)));
        Some(group)
    }

    /// `None` if not all the bytes are in known lines; the buffer is then partly written.
    fn read(&self, address: Addr, buffer: &mut [u8]) -> Option<()> {
        let mut done = 0;
        while done < buffer.len() {
            let at = address.0.checked_add(done as u64)?;
            let place = self.group(at / GROUP)?.place((at % GROUP / LINE) as u32)?;
            let spot = self.spots.get(place)?;
            let Bytes(bytes) = self.caught.get(spot.by as usize)?.lines.get(spot.index as usize)?;
            let from = (at % LINE) as usize;
            let count = (LINE as usize - from).min(buffer.len() - done);
            buffer.get_mut(done..done + count)?.copy_from_slice(bytes.get(from..from + count)?);
            done += count;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::caught::catch;
    use crate::target::image::Image;

    fn image() -> Image {
        let mut image = Image::new();
        image.map(Addr(0x1000), (0..0x1000u32).map(|n| (n / 8) as u8).collect());
        image
    }

    fn cache(image: &Image, lines: Vec<Addr>) -> LineCache<&Image> {
        let lines = WantedLines::new(lines, CaughtLines::default());
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
        let mut caught = CaughtLines::default();
        catch(&[Addr(0x1000), Addr(0x1040), Addr(0x1100)], 0, range, &bytes, &mut caught);
        cache.fill([caught]);
        assert_eq!(cache.unknown(), [(2, Addr(0x1100))]);
        assert_eq!(cache.read_u64(Addr(0x103c)), image.read_u64(Addr(0x103c)));
        assert_eq!(cache.page_bytes(), 0);
    }

    #[test]
    fn lines_of_many_groups_all_get_their_own_bytes() {
        let mut image = Image::new();
        image.map(Addr(0x10000), (0..0x40000u32).map(|n| (n / 64 % 251) as u8).collect());
        // Two of three, so that places and addresses do not go in step.
        let lines: Vec<Addr> = (0..0x1000).filter(|n| n % 3 > 0).map(|n| Addr(0x10000 + n * LINE)).collect();
        let cache = cache(&image, lines);
        cache.fetch_unknown(&image);
        for turn in 0..0x555 {
            // Both lines of a pair, by turns near to and far from the pair before.
            let at = Addr(0x10000 + (turn * 0x2a7 % 0x555 * 3 + 1) * LINE + 60);
            assert_eq!(cache.read_u64(at), image.read_u64(at), "{at}");
        }
        assert_eq!(cache.page_bytes(), 0);
        assert_eq!(cache.read_u64(Addr(0x10008)), image.read_u64(Addr(0x10008)));
        assert!(cache.page_bytes() > 0);
    }

    #[test]
    fn lines_near_each_other_are_fetched_as_one_range() {
        let lines = [0x1000, 0x1040, 0x10c0, 0x1100].map(Addr);
        let ranges = joined(&lines.into_iter().enumerate().collect::<Vec<_>>());
        assert_eq!(ranges, [AddrRange::new(Addr(0x1000), Addr(0x1140))]);
        // Far apart, and in another page that need not be there.
        let lines = [0x1000, 0x1480, 0x1fc0, 0x2000, 0x2040, 0x3000].map(Addr);
        let ranges = joined(&lines.into_iter().enumerate().collect::<Vec<_>>());
        let expected = [(0x1000, 0x1040), (0x1480, 0x14c0), (0x1fc0, 0x2080), (0x3000, 0x3040)];
        assert_eq!(ranges, expected.map(|(start, end)| AddrRange::new(Addr(start), Addr(end))));
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
