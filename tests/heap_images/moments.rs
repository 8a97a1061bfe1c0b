//! Heaps that are read in several stops, and change in between.

use super::glibcs::{all, glibc_2_36};
use super::process::HeapImage;
use super::reading::{assert_found, read_with, rehearse};
use super::spec::{Cell, Spec, State, cached, fast, free, in_use};
use poolscope::addr::{Addr, AddrRange};
use poolscope::malloc::chunk::{Chunk, ChunkState};
use poolscope::malloc::heap::Heap;
use poolscope::malloc::read::HeapReading;
use poolscope::malloc::rehearsal::Rehearsal;
use poolscope::malloc::seam::Seams;
use poolscope::malloc::walk::{NoVisitor, PayloadVisitor};
use poolscope::target::image::Image;
use poolscope::target::memory::{Fault, Memory, Moment};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

/// A process that runs on after every so many reads, from one image to the next one, and stays at the last.
struct Running<'a> {
    images: Vec<&'a Image>,
    every: u64,
    reads: AtomicU64,
}

impl<'a> Running<'a> {
    fn new(images: Vec<&'a Image>, every: u64) -> Running<'a> {
        Running { images, every, reads: AtomicU64::new(0) }
    }

    fn at(&self, reads: u64) -> (&'a Image, Moment) {
        let moment = reads / self.every;
        let last = self.images.len() - 1;
        (self.images[last.min(moment as usize)], Moment(moment as u32))
    }
}

impl Memory for Running<'_> {
    fn read(&self, address: Addr, buffer: &mut [u8]) -> Result<(), Fault> {
        self.at(self.reads.fetch_add(1, Ordering::Relaxed)).0.read(address, buffer)
    }

    fn read_ranges(&self, ranges: &[AddrRange], buffer: &mut [u8]) -> Result<(), Fault> {
        self.read_ranges_at(ranges, buffer).map(drop)
    }

    fn read_ranges_at(&self, ranges: &[AddrRange], buffer: &mut [u8]) -> Result<Moment, Fault> {
        let (image, moment) = self.at(self.reads.fetch_add(1, Ordering::Relaxed));
        image.read_ranges(ranges, buffer).map(|()| moment)
    }

    fn latest_moment(&self) -> Moment {
        self.at(self.reads.load(Ordering::Relaxed).saturating_sub(1)).1
    }

    fn next_moment(&self) {
        let reads = self.reads.load(Ordering::Relaxed);
        self.reads.store(reads.next_multiple_of(self.every), Ordering::Relaxed);
    }

    fn moment(&self) -> Moment {
        self.at(self.reads.load(Ordering::Relaxed)).1
    }
}

/// 3 MiB: long enough for some fifty reads without a plan.
fn cells(count: u64) -> Vec<Cell> {
    let cell = |n: u64| {
        let state = [State::InUse, State::InUse, State::Free, State::InUse][(n * 7 % 4) as usize];
        Cell { size: 16 * (2 + n * 7 % 61), state }
    };
    (0..count).map(cell).collect()
}

fn heap_of(glibc: &super::glibcs::Glibc, cells: &[Cell]) -> HeapImage {
    HeapImage::build(glibc, &Spec { sbrk_offset: 0x290, ..Spec::plain(cells) })
}

fn read(described: &HeapImage, memory: &Running<'_>, rehearsal: &Rehearsal, threads: u64) -> (Heap, Seams) {
    let reading: HeapReading<NoVisitor> = read_with(described, memory, rehearsal, threads, &|| NoVisitor).unwrap();
    let seams = reading.seams;
    (Heap::settle(reading).0, seams)
}

#[test]
fn what_does_not_change_is_found_as_in_one_stop() {
    for glibc in all() {
        let target = heap_of(&glibc, &cells(6_000));
        for every in [6, 9, 20] {
            for (plan, threads) in [(Rehearsal::default(), 1), (rehearse(&target, 1), 1), (rehearse(&target, 2), 2)] {
                let (heap, seams) = read(&target, &Running::new(vec![&target.image], every), &plan, threads);
                assert_found(&target, &heap);
                assert!(seams.places > 0 || every > 6);
                assert_eq!(seams.changed, 0);
            }
        }
    }
}

/// As it would be in stops that leave time for a single read.
#[test]
fn a_walk_that_never_reads_twice_at_a_moment_ends_and_says_so() {
    let target = heap_of(&glibc_2_36(), &cells(6_000));
    let (heap, _) = read(&target, &Running::new(vec![&target.image], 1), &rehearse(&target, 1), 1);
    assert!(heap.books.problems.iter().any(|problem| problem.contains("--max-pause")));
}

/// Page by page it would take as many reads as the heap has pages.
#[test]
fn long_lists_are_read_anew_in_few_reads() {
    let cells: Vec<Cell> = (0..6_000).map(|n| if n % 4 == 3 { fast(0x80) } else { in_use(0x200) }).collect();
    let target = heap_of(&glibc_2_36(), &cells);
    let memory = Running::new(vec![&target.image], 9);
    let known = rehearse(&target, 1);
    let (heap, seams) = read(&target, &memory, &known, 1);
    assert_found(&target, &heap);
    assert!(seams.places > 0);
    let listed = heap.chunks.iter().filter(|chunk| chunk.state() == ChunkState::Fastbin).count() as u64;
    assert_eq!(listed, 1_500);
    let reads = memory.reads.load(Ordering::Relaxed);
    assert!(reads < listed / 4, "{reads} reads");
}

/// Whose they are is in registers, which only a stopped thread shows.
#[test]
fn a_rehearsal_finds_thread_caches_without_knowing_threads() {
    for glibc in all().into_iter().filter(|glibc| glibc.layout.tcache.is_some()) {
        let arena: Vec<Cell> = (0..200).map(|n| Cell { size: 0x40, state: State::Tcache(n % 3) }).collect();
        let arenas = vec![vec![arena.clone()], vec![arena.clone()]];
        let mut target = HeapImage::build(&glibc, &Spec { arenas, threads: 3, ..Spec::plain(&arena) });
        let caches = |target: &HeapImage, reading: HeapReading<NoVisitor>| {
            let mut found: Vec<_> =
                reading.freed.tcaches.into_iter().map(|cache| (cache.address, cache.chunks)).collect();
            found.sort();
            assert!(target.tcaches.len() >= found.len());
            found
        };
        let memory = Running::new(vec![&target.image], u64::MAX);
        let known = caches(&target, read_with(&target, &memory, &Rehearsal::default(), 1, &|| NoVisitor).unwrap());
        target.threads.clear();
        let memory = Running::new(vec![&target.image], u64::MAX);
        let mut reading = read_with(&target, &memory, &Rehearsal::default(), 1, &|| NoVisitor).unwrap();
        assert!(reading.freed.tcaches.is_empty());
        reading.add_likely_caches(&target.image, &target.glibc.layout);
        assert_eq!(caches(&target, reading), known);
        assert_eq!(known.len(), 3);
    }
}

#[test]
fn a_heap_that_grows_is_followed_to_where_it_ends_now() {
    let all_cells = cells(6_000);
    for glibc in all() {
        let (before, after) = (heap_of(&glibc, &all_cells[..5_000]), heap_of(&glibc, &all_cells));
        for every in 4..40 {
            let images = vec![&before.image, &after.image];
            let (heap, _) = read(&after, &Running::new(images, every), &rehearse(&before, 1), 1);
            // It may have been read to its end before it grew.
            assert!(heap.chunks == after.chunks || every > 10 && heap.chunks == before.chunks, "after {every} reads");
            assert_eq!(heap.books.problems, Vec::<String>::new(), "after {every} reads");
        }
    }
}

#[test]
fn chunks_that_are_merged_and_cut_anew_leave_no_gap_and_no_overlap() {
    let glibc = glibc_2_36();
    let all_cells = cells(6_000);
    // Every two neighbours are one chunk later, in use or free: headers in between are left as they were.
    for merged in [in_use as fn(u64) -> Cell, free] {
        let mut late: Vec<Cell> = Vec::new();
        for pair in all_cells.chunks(8) {
            late.push(merged(pair[..4].iter().map(|cell| cell.size).sum()));
            late.push(in_use(pair[4..].iter().map(|cell| cell.size).sum()));
        }
        let (before, mut after) = (heap_of(&glibc, &all_cells), heap_of(&glibc, &late));
        leave_old_headers(&before, &mut after);
        for every in 8..60 {
            let images = vec![&before.image, &after.image];
            let (heap, seams) = read(&after, &Running::new(images, every), &rehearse(&before, 1), 1);
            let (start, end) = (after.chunks[0].start(), after.chunks.last().unwrap().end());
            let mut at = start;
            for chunk in &heap.chunks {
                assert_eq!(chunk.start(), at, "after {every} reads");
                at = chunk.end();
            }
            assert_eq!(at, end, "after {every} reads: {:?}", heap.books.problems.iter().take(3).collect::<Vec<_>>());
            // What is not of the one moment is of the other.
            let known = |chunk| before.chunks.contains(chunk) || after.chunks.contains(chunk);
            let strange = heap.chunks.iter().filter(|chunk| !known(chunk)).count();
            assert!(strange <= 2 * (1 + seams.places as usize), "{strange} after {every} reads");
        }
    }
}

/// Of groups of four chunks every so many are freed, handed out again, joined or cut. Headers in between are left as they were.
fn changed(before: &[Cell], every: usize) -> Vec<Cell> {
    let mut after = Vec::new();
    for (number, four) in before.chunks(4).enumerate() {
        let sizes: Vec<u64> = four.iter().map(|cell| cell.size).collect();
        let whole: u64 = sizes.iter().sum();
        match (number % every, number / every % 5) {
            (0, 0) => after.extend(sizes.iter().map(|size| in_use(*size))),
            (0, 1) => after.push(free(whole)),
            (0, 2) => after.extend([in_use(whole - 64), free(64)]),
            (0, 3) => after.extend([free(32), in_use(whole - 80), fast(48)]),
            (0, _) => after.extend([cached(64), fast(32), in_use(whole - 96)]),
            _ => after.extend_from_slice(four),
        }
    }
    after
}

fn free_chunks(heap: &[Chunk]) -> Vec<Chunk> {
    heap.iter().filter(|chunk| !chunk.state().is_in_use()).copied().collect()
}

/// Remembers which chunks it was shown.
#[derive(Default)]
struct Seen(Vec<Addr>);

impl PayloadVisitor for Seen {
    fn wanted(&self) -> u64 {
        80
    }

    fn visit(&mut self, memory: Addr, _usable: u64, _payload: &[u8]) {
        self.0.push(memory);
    }

    fn forget_from(&mut self, memory: Addr) {
        self.0.retain(|seen| *seen < memory);
    }

    fn forget_in(&mut self, ranges: &[AddrRange]) {
        self.0.retain(|seen| !ranges.iter().any(|range| range.contains(*seen)));
    }
}

/// Chunks that may hold something of the program's, as they were shown to visitors.
fn shown(heap: &[Chunk]) -> BTreeSet<Addr> {
    let is_shown = |chunk: &&Chunk| !matches!(chunk.state(), ChunkState::Top | ChunkState::Fencepost);
    heap.iter().filter(is_shown).map(|chunk| chunk.memory()).collect()
}

#[test]
fn what_changed_meanwhile_is_mended_where_lists_of_free_chunks_tell() {
    // Few enough free ones that all are read anew in one of the stops.
    let sparse = |(n, cell): (usize, Cell)| if n % 16 == 2 { cell } else { in_use(cell.size) };
    let cells: Vec<Cell> = cells(100_000).into_iter().enumerate().map(sparse).collect();
    for glibc in all() {
        for share in [400, 1501] {
            let (before, mut after) = (heap_of(&glibc, &cells), heap_of(&glibc, &changed(&cells, share)));
            leave_old_headers(&before, &mut after);
            for (plan, threads) in [(Rehearsal::default(), 1), (rehearse(&before, 1), 1), (rehearse(&before, 2), 2)] {
                let counted = Running::new(vec![&before.image], u64::MAX);
                read(&before, &counted, &plan, threads);
                let reads = counted.reads.load(Ordering::Relaxed);
                for part in [10, 7, 9] {
                    let every = reads * part / 11;
                    let name = format!("one of {share} changed after {every} of {reads} reads by {threads}");
                    let memory = Running::new(vec![&before.image, &after.image], every);
                    let reading = read_with(&after, &memory, &plan, threads, &Seen::default).unwrap();
                    let seams = reading.seams;
                    let (heap, seen) = Heap::settle(reading);
                    assert!(memory.latest_moment() > Moment(0), "{name}");
                    assert_eq!(heap.books.problems, Vec::<String>::new(), "{name}");
                    assert_eq!(free_chunks(&heap.chunks), free_chunks(&after.chunks), "{name}");
                    assert_eq!(heap.books.coverage(), 1.0, "{name}");
                    assert!(seams.mended > 0 && seams.changed > 0, "{name}");
                    let seen: BTreeSet<Addr> = seen.into_iter().flat_map(|seen| seen.0).collect();
                    assert!(seen == shown(&heap.chunks), "{name}");
                }
            }
        }
    }
}

/// Nothing but its size tells of a chunk that was freed, cut, and partly freed again into a list.
#[test]
fn a_listed_chunk_of_another_size_is_noticed() {
    for glibc in all().into_iter().filter(|glibc| glibc.layout.tcache.is_some()) {
        let whole: Vec<Cell> = (0..60_000).map(|n| in_use(0x100 + n % 5 * 16)).collect();
        let cut = |(n, cell): (usize, &Cell)| match n % 10_000 {
            // As many as a cache takes of one size.
            5_000 => vec![cached(0x40), in_use(cell.size - 0x40)],
            _ => vec![*cell],
        };
        let late: Vec<Cell> = whole.iter().enumerate().flat_map(cut).collect();
        let (before, after) = (heap_of(&glibc, &whole), heap_of(&glibc, &late));
        let plan = rehearse(&before, 1);
        let counted = Running::new(vec![&before.image], u64::MAX);
        read(&before, &counted, &plan, 1);
        let every = counted.reads.load(Ordering::Relaxed) * 9 / 10;
        let (heap, seams) = read(&after, &Running::new(vec![&before.image, &after.image], every), &plan, 1);
        assert_found(&after, &heap);
        assert_eq!(seams.mended, 6);
    }
}

/// What cannot be followed to its end leaves what was walked, and what visitors saw of it.
#[test]
fn bins_that_contradict_themselves_are_not_mended_by() {
    let cells = cells(20_000);
    let before = heap_of(&glibc_2_36(), &cells);
    let mut after = heap_of(&glibc_2_36(), &cells);
    let free = after.chunks.iter().find(|chunk| chunk.state() == ChunkState::Free).unwrap();
    assert!(after.image.write(free.start() + 24, &0x1230u64.to_le_bytes()));
    let plan = rehearse(&before, 1);
    for every in 12..30 {
        let memory = Running::new(vec![&before.image, &after.image], every);
        let reading = read_with(&after, &memory, &plan, 1, &Seen::default).unwrap();
        let (heap, seen) = Heap::settle(reading);
        let seen: BTreeSet<Addr> = seen.into_iter().flat_map(|seen| seen.0).collect();
        assert!(seen == shown(&heap.chunks), "after {every} reads");
        assert_eq!(heap.chunks.len(), before.chunks.len());
    }
}

/// Writes the headers of the chunks of `before` that lie inside chunks of `after` where they were.
fn leave_old_headers(before: &HeapImage, after: &mut HeapImage) {
    let starts: Vec<Addr> = after.chunks.iter().map(|chunk| chunk.start()).collect();
    for chunk in before.chunks.iter().filter(|chunk| starts.binary_search(&chunk.start()).is_err()) {
        let mut header = [0; 8];
        let size = chunk.start() + 8;
        before.image.read(size, &mut header).unwrap();
        // The word before is the last one of the chunk before, which a free chunk keeps its size in.
        assert!(after.image.write(size, &header));
    }
}
