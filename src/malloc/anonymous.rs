//! What lies in anonymous memory and on no list: mapped chunks, and pieces of a main arena that has holes.

use super::arena::Par;
use super::chunk::{ALIGNMENT, HEADER, PREV_INUSE, SIZE_OFFSET};
use super::mmapped::{AnonymousScan, MIN_PIECE, MappingRule, MmappedChunk, MmappedFormat, scan};
use super::read::{HeapReading, Source, end_of};
use super::reader::{Counts, PlannedReader, ReadPlan};
use super::region::{heap_max_size, main_piece};
use super::rehearsal::{Rehearsal, Workspace};
use super::stretches::sweep_regions;
use super::walk::{NoVisitor, PayloadVisitor, Stretch, Walk, WalkEnd, walk};
use crate::addr::{Addr, AddrRange};
use crate::target::memory::{Fault, Memory, Moment, word_at};
use rustc_hash::FxHashSet;

/// How often mapped chunks and malloc's count of them are read, to have both of one moment.
const TRIES: usize = 3;

/// Mapped chunks, and pieces of the main arena that no list names, at one moment with malloc's count of mapped chunks; it was
/// read at `books`, and is read again where that has passed.
///
/// # Errors
/// A [`Fault`] if that count cannot be read again.
pub(super) fn read_anonymous_at_once<B, C, V>(
    source: &Source<'_, B, C>,
    rehearsal: &Rehearsal,
    mut books: Moment,
    make_visitor: &impl Fn() -> V,
    reading: &mut HeapReading<V>,
) -> Result<(), Fault>
where
    B: Memory + Sync,
    C: Memory,
    V: PayloadVisitor,
{
    let mut maps = None;
    for round in 1.. {
        if source.bulk.latest_moment() != books {
            books = source.bulk.moment();
            reading.par = Par::read(source.bulk, source.layout, source.roots.par)?;
            maps = (source.maps_now)();
        }
        let now = source.with(maps.as_ref().unwrap_or(source.maps), source.threads, source.chase);
        read_anonymous(&now, rehearsal, make_visitor, reading);
        if source.bulk.latest_moment() == books || round == TRIES {
            break;
        }
        // What it has seen is seen again.
        reading.visitors.pop();
        source.bulk.next_moment();
    }
    Ok(())
}

/// Mapped chunks, and pieces of the main arena that no list names.
fn read_anonymous<B, C, V>(
    source: &Source<'_, B, C>,
    rehearsal: &Rehearsal,
    make_visitor: &impl Fn() -> V,
    reading: &mut HeapReading<V>,
) where
    B: Memory + Sync,
    C: Memory,
    V: PayloadVisitor,
{
    find_brk_pieces(source, make_visitor, reading);
    let rule = match source.layout.is_without_fastbins() {
        true => MappingRule::HeaderIsExtra,
        false => MappingRule::SizeIncludesHeader,
    };
    let format = MmappedFormat { rule, page_size: source.page_size };
    let mut found = confirm_mmapped(source, format, &rehearsal.mmapped);
    let wants_piece = reading.arenas[0].is_noncontiguous && !is_main_complete(reading);
    if !found.agrees_with(&reading.par) || wants_piece {
        let ranges = anonymous_ranges(source, reading);
        let pagemap = (source.pagemap)(&ranges);
        let next_present = |page, end| pagemap.next_with_data(page, end);
        found = scan(source.bulk, format, &ranges, &next_present, wants_piece.then_some(MIN_PIECE));
        find_mapped_pieces(source, &found.piece_candidates, make_visitor, reading);
    }
    let mut visitor = make_visitor();
    for chunk in &found.mmapped {
        visit_mmapped(source, chunk, &mut visitor);
    }
    reading.visitors.push(visitor);
    reading.mmapped = found.mmapped;
}

/// The mapped chunks that a rehearsal found, as far as they are still what they were.
fn confirm_mmapped<B: Memory, C>(
    source: &Source<'_, B, C>,
    format: MmappedFormat,
    known: &[MmappedChunk],
) -> AnonymousScan {
    let confirmed = known.iter().filter(|chunk| format.is_still_there(source.bulk, chunk));
    AnonymousScan { mmapped: confirmed.copied().collect(), ..AnonymousScan::default() }
}

fn visit_mmapped<B: Memory, C>(source: &Source<'_, B, C>, chunk: &MmappedChunk, visitor: &mut impl PayloadVisitor) {
    let mut payload = vec![0; visitor.wanted().min(chunk.usable) as usize];
    if source.bulk.read(chunk.chunk.memory(), &mut payload).is_ok() {
        visitor.visit(chunk.chunk.memory(), chunk.usable, &payload);
    }
}

/// Anonymous memory without the heaps of other arenas and the known pieces of the main one.
fn anonymous_ranges<B, C, V>(source: &Source<'_, B, C>, reading: &HeapReading<V>) -> Vec<AddrRange> {
    let largest = heap_max_size(&reading.par);
    let taken: Vec<AddrRange> = reading
        .regions
        .iter()
        .map(|region| match region.region.arena {
            0 => AddrRange::new(region.region.chunks.start, end_of(region)),
            _ => AddrRange::sized(region.region.chunks.start.align_down(largest), largest),
        })
        .collect();
    let mut free = Vec::new();
    for range in source.maps.anonymous_ranges() {
        subtract(range, &taken, source.page_size, &mut free);
    }
    free
}

fn subtract(range: AddrRange, taken: &[AddrRange], page_size: u64, free: &mut Vec<AddrRange>) {
    let mut start = range.start;
    let mut inside: Vec<&AddrRange> = taken.iter().filter(|taken| taken.overlaps(range)).collect();
    inside.sort_unstable();
    for taken in inside {
        let end = taken.start.align_down(page_size);
        if start < end {
            free.push(AddrRange::new(start, end));
        }
        start = start.max(taken.end.align_up(page_size));
    }
    if start < range.end {
        free.push(AddrRange::new(start, range.end));
    }
}

fn is_main_complete<V>(reading: &HeapReading<V>) -> bool {
    let walked: u64 = reading
        .regions
        .iter()
        .filter(|region| region.region.arena == 0)
        .map(|region| end_of(region).0 - region.region.chunks.start.0 + region.region.overhead)
        .sum();
    walked >= reading.arenas[0].system_mem
}

/// Somebody else's sbrk leaves a hole in the brk heap: malloc closes its piece with fenceposts and starts another behind
/// the hole, at an address that nothing records. It is the first one from which a walk leads to the top, or to further
/// fenceposts.
fn find_brk_pieces<B, C, V>(source: &Source<'_, B, C>, make_visitor: &impl Fn() -> V, reading: &mut HeapReading<V>)
where
    B: Memory + Sync,
    V: PayloadVisitor,
{
    let top = reading.arenas[0].top;
    for _ in 0..MAX_PIECES {
        let of_brk = reading.regions.iter().filter(|region| region.region.is_brk);
        let Some(last) = of_brk.max_by_key(|region| region.region.chunks.start) else { return };
        let WalkEnd::Fenceposts(after) = last.end else { return };
        if is_main_complete(reading) {
            return;
        }
        let Some(rest) = main_piece(source.maps, after).filter(|rest| rest.chunks.contains(after)) else { return };
        let Some(start) = first_chunk_after_hole(source.bulk, rest.chunks, top) else { return };
        add_piece(source, start, make_visitor, reading);
    }
}

/// More pieces of a main arena than this are not looked for.
const MAX_PIECES: usize = 1024;

fn first_chunk_after_hole<B: Memory>(memory: &B, rest: AddrRange, top: Addr) -> Option<Addr> {
    /// A hole larger than this is not searched: 16 bytes at a time that would take too long.
    const LARGEST_HOLE: u64 = 64 << 20;
    let plan = ReadPlan::default();
    let mut reader = PlannedReader::new(memory, &plan, rest.end, Vec::new());
    let mut prover = Prover::new(memory, top, rest.len());
    let mut at = rest.start;
    while at < rest.end && at.0 - rest.start.0 < LARGEST_HOLE {
        let word = word_at(reader.bytes(at, HEADER).ok()?, SIZE_OFFSET);
        let is_plausible = word & 0xf == PREV_INUSE && word > HEADER && word < rest.end.0 - at.0 + HEADER;
        if is_plausible && prover.leads_to_end(rest, at) {
            return Some(at);
        }
        at = at + ALIGNMENT;
    }
    None
}

/// Tries out where pieces of the main arena may start. Memory that is full of what looks like headers must not cost a long
/// walk for each of them.
struct Prover<'a, B> {
    memory: &'a B,
    /// Start of the arena's top chunk.
    top: Addr,
    /// Chunks from which a walk leads nowhere: it does so from wherever it comes to one of them.
    failed: FxHashSet<Addr>,
    /// How many more chunks are walked.
    budget: u64,
    buffer: Vec<u8>,
}

impl<'a, B: Memory> Prover<'a, B> {
    /// A prover for places in `searched` bytes.
    fn new(memory: &'a B, top: Addr, searched: u64) -> Prover<'a, B> {
        /// Enough for any search in a heap of some size.
        const LEAST_BUDGET: u64 = 1 << 20;
        let budget = LEAST_BUDGET.max(searched / ALIGNMENT);
        Prover { memory, top, failed: FxHashSet::default(), budget, buffer: Vec::new() }
    }

    /// True if a walk from `start` leads to the top or to fenceposts in the region.
    fn leads_to_end(&mut self, region: AddrRange, start: Addr) -> bool {
        /// What a walk costs that reads one window and ends at once, in chunks.
        const LEAST_COST: u64 = 128;
        if self.budget == 0 || self.failed.contains(&start) {
            return false;
        }
        let plan = ReadPlan::default();
        let mut reader = PlannedReader::new(self.memory, &plan, region.end, std::mem::take(&mut self.buffer));
        let stretch = Stretch { region, from: start, to: region.end, top: self.top };
        let walked = walk(&mut reader, stretch, &mut NoVisitor, Walk::with_room_for(Counts::default()));
        self.buffer = reader.finish().0;
        self.budget = self.budget.saturating_sub(LEAST_COST + walked.chunks.len() as u64);
        if !walked.end.is_whole() {
            self.failed.extend(walked.chunks.iter().map(|chunk| chunk.start()));
        }
        walked.end.is_whole()
    }
}

/// After brk failed, the main arena gets pieces by mmap; each is proven by a walk to the top or to fenceposts.
fn find_mapped_pieces<B, C, V>(
    source: &Source<'_, B, C>,
    candidates: &[Addr],
    make_visitor: &impl Fn() -> V,
    reading: &mut HeapReading<V>,
) where
    B: Memory + Sync,
    V: PayloadVisitor,
{
    let searched = candidates.len() as u64 * source.page_size;
    let mut prover = Prover::new(source.bulk, reading.arenas[0].top, searched);
    let mut pieces = 0;
    for start in candidates {
        if is_main_complete(reading) || pieces == MAX_PIECES {
            return;
        }
        let taken =
            reading.regions.iter().any(|region| region.region.chunks.start <= *start && *start < end_of(region));
        let Some(piece) = main_piece(source.maps, *start).filter(|_| !taken) else { continue };
        if prover.leads_to_end(piece.chunks, *start) {
            pieces += 1;
            add_piece(source, *start, make_visitor, reading);
        }
    }
}

fn add_piece<B, C, V>(
    source: &Source<'_, B, C>,
    start: Addr,
    make_visitor: &impl Fn() -> V,
    reading: &mut HeapReading<V>,
) where
    B: Memory + Sync,
    V: PayloadVisitor,
{
    if let Some(piece) = main_piece(source.maps, start) {
        let nothing = Rehearsal::default();
        let mut workspace = Workspace::for_plan(&nothing, 1, make_visitor);
        sweep_regions(source, &nothing, vec![piece], &mut workspace, make_visitor, reading);
    }
}
