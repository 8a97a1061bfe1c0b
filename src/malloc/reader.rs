//! Reading a heap front to back with few system calls and little memory.
//!
//! Only chunk headers and the first words behind them are wanted, and where these are is known from a rehearsal: the
//! [`ReadPlan`]. They are fetched in batches that stay in the processor's cache until the walk has looked at them. Where
//! the heap has changed since the rehearsal the plan is silent, and a window at the wanted place is read instead.

use super::chunk::{Chunk, ChunkState};
use crate::addr::{Addr, AddrRange};
use crate::target::caught::{CaughtLines, LINE, catch};
use crate::target::live::MAX_RANGES;
use crate::target::memory::{Fault, Memory, Moment};
use thiserror::Error;

/// Bytes fetched by one planned read. Larger batches fall out of the second-level cache before they are walked.
const BATCH: u64 = 256 * 1024;

/// Headers that lie closer than this are read in one run: copying what lies between costs less than another run.
const GAP: u64 = 4096;

/// Bytes fetched where there is no plan, at first. While headers go on right behind what was fetched, each window is twice
/// as long as the one before: small chunks need large windows, and behind a large chunk a large window is wasted.
const SMALLEST_WINDOW: u64 = 4 * 1024;

/// Bytes fetched where there is no plan, at most: larger windows are no faster.
const LARGEST_WINDOW: u64 = 64 * 1024;

/// Where in a region chunk headers lie, and where the region may be cut into pieces that are walked in parallel.
#[derive(Debug, Clone, Default)]
pub struct ReadPlan {
    /// Runs of bytes, in address order, none longer than a batch. Two can overlap by less than what a header takes.
    pub runs: Vec<AddrRange>,
    /// Starts of chunks, in address order, between which about the same number of bytes is to be read.
    pub cuts: Vec<Addr>,
    /// What lies before the first cut, between each two, and behind the last one.
    pub counts: Vec<Counts>,
    /// How many of the lines lie in the chunks.
    pub lines: usize,
}

/// How much there is between two places in a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Chunks.
    pub chunks: usize,
    /// Those of them whose links are noted, because malloc has them in its bins.
    pub free: usize,
}

impl std::ops::Sub for Counts {
    type Output = Counts;

    fn sub(self, other: Counts) -> Counts {
        Counts { chunks: self.chunks - other.chunks, free: self.free - other.free }
    }
}

impl ReadPlan {
    /// The plan for chunks in address order, of each of which `wanted` bytes from its header on are needed, and for the
    /// lines (start addresses in address order) that lie in them; cut into about `pieces` pieces.
    pub fn for_chunks(chunks: impl IntoIterator<Item = Chunk>, wanted: u64, lines: &[Addr], pieces: u64) -> ReadPlan {
        let mut chunks = chunks.into_iter().peekable();
        let mut runs = Runs::default();
        // Where it might be cut. There can be ten million chunks: what is noted of each would take too much memory.
        let mut marks: Vec<Mark> = Vec::new();
        let first = chunks.peek().map_or(0, |chunk| lines.partition_point(|line| *line < chunk.start()));
        let mut lines = lines.iter().skip(first).peekable();
        let mut lines_inside = 0;
        let mut count = Counts::default();
        for chunk in chunks {
            runs.add(AddrRange::sized(chunk.start(), wanted));
            while let Some(line) = lines.next_if(|line| **line < chunk.end()) {
                runs.add(AddrRange::sized(*line, LINE));
                lines_inside += 1;
            }
            if runs.bytes >= marks.last().map_or(0, |mark| mark.read) + FINEST_CUT {
                marks.push(Mark { start: chunk.start(), read: runs.bytes, before: count });
            }
            count.chunks += 1;
            count.free += usize::from(chunk.state() == ChunkState::Free);
        }
        let Runs { runs, bytes } = runs;
        let step = (bytes / pieces.max(1)).max(BATCH);
        let mut due = step;
        let mut plan = ReadPlan { runs, cuts: Vec::new(), counts: Vec::new(), lines: lines_inside };
        let mut cut_before = Counts::default();
        for mark in marks {
            if mark.read >= due {
                plan.cuts.push(mark.start);
                plan.counts.push(mark.before - cut_before);
                cut_before = mark.before;
                due = mark.read + step;
            }
        }
        plan.counts.push(count - cut_before);
        plan
    }

    /// Bytes that following the plan reads.
    pub fn bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.len()).sum()
    }
}

/// Bytes to be read between two places where a plan might be cut.
const FINEST_CUT: u64 = 64 * 1024;

/// A place where a plan might be cut: the start of a chunk.
struct Mark {
    start: Addr,
    /// Bytes that are read up to there, those for this chunk among them.
    read: u64,
    /// What lies before.
    before: Counts,
}

/// Runs as they come together, front to back.
#[derive(Default)]
struct Runs {
    runs: Vec<AddrRange>,
    bytes: u64,
}

impl Runs {
    /// Adds a range that starts no earlier than the one before.
    fn add(&mut self, range: AddrRange) {
        match self.runs.last_mut() {
            Some(last) if range.end <= last.end => {}
            Some(last) if range.start.0 < last.end.0 + GAP && range.end.0 - last.start.0 <= BATCH => {
                self.bytes += range.end.0 - last.end.0;
                last.end = range.end;
            }
            _ => {
                self.bytes += range.len();
                self.runs.push(range);
            }
        }
    }
}

/// Why there are no bytes to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReadError {
    /// They cannot be read.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The target has run since the latest read: what was at an address then may be elsewhere now. Said once; the next read
    /// is answered, at an earlier address too.
    #[error("the target has run since the latest read")]
    Moved,
}

/// Reads a region front to back.
pub struct PlannedReader<'a, M> {
    memory: &'a M,
    /// All that is planned, and what of it is still ahead.
    whole_plan: &'a [AddrRange],
    plan: &'a [AddrRange],
    /// When the latest read was.
    moment: Option<Moment>,
    /// Nothing beyond this is read: what follows a heap may not be mapped.
    limit: Addr,
    buffer: Vec<u8>,
    /// What the buffer holds of the plan: ranges, in address order, and where each starts in it.
    loaded: Vec<(AddrRange, usize)>,
    current: usize,
    /// What it holds besides, behind them: the planned ranges that come after an unforeseen header are still wanted.
    unforeseen: Option<AddrRange>,
    /// The length of the next window without a plan, and the address from which on it would follow the latest one.
    window: u64,
    window_end: Addr,
    /// Lines that somebody will ask for later, the place of their first among all such, and those of them that came by.
    wanted: &'a [Addr],
    first: usize,
    caught: CaughtLines,
}

impl<'a, M: Memory> PlannedReader<'a, M> {
    /// A reader for addresses below `limit`; `plan` may be empty. Its buffer is written to at once, so that no page
    /// fault of ours falls into the stop.
    pub fn new(memory: &'a M, plan: &'a ReadPlan, limit: Addr, mut buffer: Vec<u8>) -> PlannedReader<'a, M> {
        buffer.resize((BATCH + LARGEST_WINDOW) as usize, 0);
        PlannedReader {
            memory,
            whole_plan: &plan.runs,
            plan: &plan.runs,
            moment: None,
            limit,
            buffer,
            loaded: Vec::new(),
            current: 0,
            unforeseen: None,
            window: SMALLEST_WINDOW / 2,
            window_end: Addr::NULL,
            wanted: &[],
            first: 0,
            caught: CaughtLines::default(),
        }
    }

    /// Catches those of the lines (start addresses in address order) that begin in `among`, when planned reads bring them along.
    pub fn catching(self, lines: &'a [Addr], among: AddrRange, caught: CaughtLines) -> PlannedReader<'a, M> {
        let place = |end: Addr| lines.partition_point(|line| *line < end);
        let (first, after) = (place(among.start), place(among.end));
        PlannedReader { wanted: lines.get(first..after).unwrap_or_default(), first, caught, ..self }
    }

    /// Gives back the buffer for the next reader, and what holds the lines that were caught.
    pub fn finish(self) -> (Vec<u8>, CaughtLines) {
        (self.buffer, self.caught)
    }

    /// The bytes at `address`, `length` of them or fewer if the region ends before. Addresses must not decrease by more
    /// than what is still in the buffer, except after [`ReadError::Moved`].
    ///
    /// # Errors
    /// [`ReadError::Moved`], or the [`Fault`] of the read, also if `address` is at or beyond the limit.
    pub fn bytes(&mut self, address: Addr, length: u64) -> Result<&[u8], ReadError> {
        let bytes = self.bytes_from(address, length)?;
        Ok(&bytes[..bytes.len().min(length as usize)])
    }

    /// The same with all bytes behind them that are at hand.
    ///
    /// # Errors
    /// As [`PlannedReader::bytes`].
    pub fn bytes_from(&mut self, address: Addr, length: u64) -> Result<&[u8], ReadError> {
        let length = length.min(self.limit.checked_offset_from(address).unwrap_or(0));
        if length == 0 {
            return Err(Fault::Unmapped(address).into());
        }
        let (range, offset) = match self.seek(address, length) {
            Some(place) => place,
            None => {
                let moment = self.load(address, length)?;
                if self.moment.replace(moment).is_some_and(|latest| latest != moment) {
                    self.start_anew();
                    return Err(ReadError::Moved);
                }
                self.seek(address, length).ok_or(Fault::Unmapped(address))?
            }
        };
        let from = offset + (address.0 - range.start.0) as usize;
        Ok(&self.buffer[from..offset + range.len() as usize])
    }

    /// Forgets what it holds.
    fn start_anew(&mut self) {
        self.plan = self.whole_plan;
        self.forget();
        // Chunks lie there, as they did before.
        self.window = LARGEST_WINDOW;
    }

    fn forget(&mut self) {
        self.loaded.clear();
        self.current = 0;
        self.unforeseen = None;
    }

    /// The loaded range that holds all the bytes, and where it starts in the buffer.
    fn seek(&mut self, address: Addr, length: u64) -> Option<(AddrRange, usize)> {
        if let Some(range) = self.unforeseen.filter(|range| range.contains_bytes(address, length)) {
            return Some((range, self.planned_end()));
        }
        while let Some(place) = self.loaded.get(self.current) {
            if place.0.contains_bytes(address, length) {
                return Some(*place);
            }
            if address < place.0.start {
                return None;
            }
            self.current += 1;
        }
        None
    }

    /// Where in the buffer the planned ranges end.
    fn planned_end(&self) -> usize {
        self.loaded.last().map_or(0, |(range, offset)| offset + range.len() as usize)
    }

    fn load(&mut self, address: Addr, length: u64) -> Result<Moment, Fault> {
        // Runs that end before the bytes do are of no use, though they may hold the first of them.
        let passed = self.plan.partition_point(|run| run.end < address + length);
        self.plan = &self.plan[passed..];
        if self.plan.first().is_some_and(|run| run.contains_bytes(address, length))
            && let Ok(moment) = self.load_planned()
        {
            return Ok(moment);
        }
        let is_first = self.loaded.is_empty() && self.unforeseen.is_none();
        let follows = is_first || address.0.abs_diff(self.window_end.0) <= SMALLEST_WINDOW;
        self.window = if follows { (self.window * 2).min(LARGEST_WINDOW) } else { SMALLEST_WINDOW };
        let window = length.max(self.window);
        self.window_end = address + window;
        self.load_window(address, window).or_else(|_| self.load_window(address, length))
    }

    fn load_planned(&mut self) -> Result<Moment, Fault> {
        let mut total = 0;
        let fitting = self.plan.iter().take(MAX_RANGES).take_while(|run| {
            total += run.len();
            total <= BATCH
        });
        let count = fitting.count().max(1);
        let (batch, rest) = self.plan.split_at(count);
        let batch: Vec<AddrRange> =
            batch.iter().map(|run| AddrRange::new(run.start, run.end.min(self.limit))).collect();
        self.forget();
        let mut offset = 0;
        for range in &batch {
            self.loaded.push((*range, offset));
            offset += range.len() as usize;
        }
        if offset > self.buffer.len() {
            self.buffer.resize(offset, 0);
        }
        let answer = self.memory.read_ranges_at(&batch, &mut self.buffer[..offset]);
        match answer {
            Ok(_) => {
                self.plan = rest;
                for (range, offset) in &self.loaded {
                    catch(
                        self.wanted,
                        self.first,
                        *range,
                        &self.buffer[*offset..*offset + range.len() as usize],
                        &mut self.caught,
                    );
                }
            }
            Err(_) => self.loaded.clear(),
        }
        answer
    }

    fn load_window(&mut self, address: Addr, length: u64) -> Result<Moment, Fault> {
        let length = length.min(self.limit.0 - address.0) as usize;
        let from = self.planned_end();
        if from + length > self.buffer.len() {
            self.buffer.resize(from + length, 0);
        }
        self.unforeseen = None;
        let range = AddrRange::sized(address, length as u64);
        let moment = self.memory.read_ranges_at(&[range], &mut self.buffer[from..from + length])?;
        self.unforeseen = Some(range);
        Ok(moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::cache::PageCache;
    use crate::target::image::Image;
    use crate::target::lines::{LineCache, Lines, WantedLines};
    use std::cell::Cell;

    struct Counting<'a>(&'a Image, Cell<u64>, Cell<u64>);

    impl Memory for Counting<'_> {
        fn read(&self, address: Addr, buffer: &mut [u8]) -> Result<(), Fault> {
            self.1.set(self.1.get() + 1);
            self.2.set(self.2.get() + buffer.len() as u64);
            self.0.read(address, buffer)
        }

        fn read_ranges(&self, ranges: &[AddrRange], buffer: &mut [u8]) -> Result<(), Fault> {
            self.1.set(self.1.get() + 1);
            self.2.set(self.2.get() + buffer.len() as u64);
            self.0.read_ranges(ranges, buffer)
        }
    }

    fn image_of(bytes: u64) -> Image {
        let mut image = Image::new();
        image.map(Addr(0x10000), (0..bytes).map(|n| (n >> 8) as u8).collect());
        image
    }

    fn chunks(sizes: &[u64]) -> Vec<Chunk> {
        let mut start = Addr(0x10000);
        let mut chunks = Vec::new();
        for size in sizes {
            chunks.push(Chunk::new(start + 16, *size, ChunkState::InUse));
            start = start + *size;
        }
        chunks
    }

    #[test]
    fn a_plan_reads_only_headers_and_few_times() {
        let image = image_of(0x100000);
        let counting = Counting(&image, Cell::new(0), Cell::new(0));
        let chunks = chunks(&[0x20, 0x40000, 0x20, 0x40000, 0x20]);
        let plan = ReadPlan::for_chunks(chunks.iter().copied(), 64, &[], 1);
        let limit = Addr(0x10000 + 0x100000);
        let mut reader = PlannedReader::new(&counting, &plan, limit, Vec::new());
        for chunk in &chunks {
            let bytes = reader.bytes(chunk.start(), 64).unwrap().to_vec();
            let mut expected = vec![0; 64];
            image.read(chunk.start(), &mut expected).unwrap();
            assert_eq!(bytes, expected);
        }
        assert_eq!(counting.1.get(), 1);
        assert_eq!(counting.2.get(), plan.bytes());
        assert!(plan.bytes() <= 5 * 64, "{:#x}", plan.bytes());
    }

    #[test]
    fn what_the_plan_does_not_know_is_read_all_the_same() {
        let image = image_of(0x100000);
        let plan = ReadPlan::for_chunks(chunks(&[0x20, 0x40000, 0x20]), 64, &[], 1);
        let mut reader = PlannedReader::new(&image, &plan, Addr(0x110000), Vec::new());
        assert_eq!(reader.bytes(Addr(0x30008), 8).unwrap()[0], ((0x20008u64) >> 8) as u8);
        assert_eq!(reader.bytes(Addr(0x10000 + 0x40020), 8).unwrap()[0], (0x40020u64 >> 8) as u8);
        assert_eq!(reader.bytes(Addr(0x10fffc), 64).unwrap().len(), 4);
        assert!(reader.bytes(Addr(0x110000), 8).is_err());
    }

    #[test]
    fn long_runs_are_cut_into_batches_without_a_gap() {
        let chunks = chunks(&[0x200; 0x1000]);
        let plan = ReadPlan::for_chunks(chunks.iter().copied(), 112, &[], 4);
        assert!((0x1ff000..0x201000).contains(&plan.bytes()), "{:#x}", plan.bytes());
        assert!(plan.runs.iter().all(|run| run.len() <= BATCH));
        assert!((3..=4).contains(&plan.cuts.len()), "{:?}", plan.cuts);
    }

    #[test]
    fn lines_inside_chunks_are_planned_and_caught() {
        let image = image_of(0x100000);
        let chunks = chunks(&[0x20, 0x40000, 0x20]);
        let lines = [Addr(0x8000), Addr(0x10000), Addr(0x30000), Addr(0x200000)];
        let plan = ReadPlan::for_chunks(chunks.iter().copied(), 64, &lines, 1);
        let reader = PlannedReader::new(&image, &plan, Addr(0x110000), Vec::new());
        let mut reader = reader.catching(&lines, AddrRange::new(Addr(0), Addr(0x110000)), CaughtLines::default());
        for chunk in &chunks {
            reader.bytes(chunk.start(), 64).unwrap();
        }
        let (_, caught) = reader.finish();
        let known = WantedLines::new(lines.to_vec(), CaughtLines::default());
        let cache = LineCache::new(PageCache::new(Image::new(), 0x1000, 0x1000), known);
        cache.take(Lines::Caught(vec![caught]), &Image::new());
        let answers = lines.map(|line| cache.read_u64(line));
        assert!(matches!(answers, [Err(_), Ok(_), Ok(0), Err(_)]), "{answers:?}");
        assert_eq!(answers[1], image.read_u64(lines[1]));
    }
}
