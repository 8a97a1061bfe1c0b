//! Reads a heap: everything that has to be taken while the target stands still, and nothing else.
//!
//! The same code runs twice. Once on the running target, as a rehearsal: nothing it says is believed, but it tells where
//! chunk headers lie ([`Rehearsal`]). Once during the stop, with that knowledge.

use super::arena::{Arena, Par, read_arenas};
use super::chunk::{ChunkState, HEADER};
use super::layout::MallocLayout;
use super::lists::{FreedLists, read_freed_lists};
use super::mmapped::{AnonymousScan, MIN_PIECE, MappingRule, MmappedChunk, MmappedFormat, scan};
use super::reader::{PlannedReader, ReadPlan};
use super::region::{Region, heap_max_size, heaps, main_piece};
use super::sweep::{Job, sweep};
use super::tls::find_tcaches;
use super::walk::{FreeLinks, NoVisitor, PayloadVisitor, Stretch, Walk, WalkEnd, walk};
use crate::addr::{Addr, AddrRange};
use crate::target::maps::Maps;
use crate::target::memory::{Fault, Memory};
use crate::target::pagemap::Pagemap;
use rustc_hash::FxHashMap;

/// Where glibc's variables are in the running process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MallocRoots {
    /// `main_arena`.
    pub main_arena: Addr,
    /// `mp_`.
    pub par: Addr,
    /// Offset of the thread-local `tcache` in glibc's block; `None` before glibc 2.26.
    pub tcache_offset: Option<u64>,
}

/// A target's heap as it can be read now.
pub struct Source<'a, B, C> {
    /// For bulk reading, by several threads at once.
    pub bulk: &'a B,
    /// For following pointers.
    pub chase: &'a C,
    /// Structure layouts of this glibc.
    pub layout: &'a MallocLayout,
    /// Where to start.
    pub roots: MallocRoots,
    /// The mappings as they are now.
    pub maps: &'a Maps,
    /// Page size in bytes.
    pub page_size: u64,
    /// Threads as `(thread id, thread pointer)`.
    pub threads: &'a [(i32, Addr)],
    /// Tells which pages of anonymous memory hold anything.
    pub pagemap: &'a dyn Fn(&[AddrRange]) -> Pagemap,
}

/// A region with the chunks that were found in it.
#[derive(Debug, Clone)]
pub struct RegionReading {
    /// The region.
    pub region: Region,
    /// Its chunks in address order.
    pub chunks: Vec<super::chunk::Chunk>,
    /// Links of the free ones among them.
    pub free_links: Vec<FreeLinks>,
    /// Where the walk ended.
    pub end: WalkEnd,
}

/// What was read of a heap.
#[derive(Debug)]
pub struct HeapReading<V> {
    /// Arenas, `main_arena` first.
    pub arenas: Vec<Arena>,
    /// malloc's parameters and count of mapped chunks.
    pub par: Par,
    /// Regions of all arenas.
    pub regions: Vec<RegionReading>,
    /// Chunks with mappings of their own.
    pub mmapped: Vec<MmappedChunk>,
    /// Fastbins and thread caches.
    pub freed: FreedLists,
    /// What the visitors noted, in the order of `regions`, those of mapped chunks last.
    pub visitors: Vec<V>,
    /// One sentence for each thing that was not as it must be.
    pub problems: Vec<String>,
}

impl<V> HeapReading<V> {
    /// What the headers say of the chunk with that user memory: those in tcaches and fastbins still look as if in use.
    pub fn state_of(&self, memory: Addr) -> Option<ChunkState> {
        let region = self.regions.iter().find(|region| region.region.chunks.contains(memory));
        if let Some(region) = region {
            let found = region.chunks.binary_search_by_key(&memory, |chunk| chunk.memory()).ok()?;
            return region.chunks.get(found).map(|chunk| chunk.state());
        }
        let mapped = self.mmapped.iter().find(|mapped| mapped.chunk.memory() == memory);
        mapped.map(|mapped| mapped.chunk.state())
    }
}

/// What a rehearsal leaves for the reading in earnest.
#[derive(Debug, Clone, Default)]
pub struct Rehearsal {
    /// By the first chunk's start.
    plans: FxHashMap<Addr, ReadPlan>,
    /// Where pieces of the main arena start, after the first.
    pieces: Vec<Addr>,
    mmapped: Vec<MmappedChunk>,
}

impl Rehearsal {
    /// Turns a reading into plans: of each chunk `wanted` bytes of user memory are needed, and the work is to be shared by
    /// `threads` threads.
    pub fn of<V>(reading: &HeapReading<V>, wanted: u64, page_size: u64, threads: u64) -> Rehearsal {
        // Several pieces for each thread, so that none is left with much to do when the others have finished.
        let pieces = if threads > 1 { threads * 8 } else { 1 };
        let plan = |region: &RegionReading| {
            let plan = ReadPlan::for_chunks(&region.chunks, HEADER + wanted.max(HEADER), page_size, pieces);
            (region.region.chunks.start, plan)
        };
        let main_pieces = reading.regions.iter().filter(|region| region.region.arena == 0).skip(1);
        Rehearsal {
            plans: reading.regions.iter().map(plan).collect(),
            pieces: main_pieces.map(|region| region.region.chunks.start).collect(),
            mmapped: reading.mmapped.clone(),
        }
    }

    /// Bytes that the plans will read.
    pub fn planned_bytes(&self) -> u64 {
        self.plans.values().map(ReadPlan::bytes).sum()
    }
}

/// Reads a heap. `buffers` are for the reading threads, one each.
///
/// # Errors
/// A [`Fault`] if malloc's own variables cannot be read. All that is wrong further on is among the problems, and what
/// could be read is there.
pub fn read_heap<B, C, V>(
    source: &Source<'_, B, C>,
    rehearsal: &Rehearsal,
    buffers: Vec<Vec<u8>>,
    make_visitor: &(impl Fn() -> V + Sync),
) -> Result<HeapReading<V>, Fault>
where
    B: Memory + Sync,
    C: Memory,
    V: PayloadVisitor,
{
    let par = Par::read(source.chase, source.layout, source.roots.par)?;
    let (arenas, ring) = read_arenas(source.chase, source.layout, source.roots.main_arena)?;
    let mut reading = HeapReading {
        arenas,
        par,
        regions: Vec::new(),
        mmapped: Vec::new(),
        freed: FreedLists::default(),
        visitors: Vec::new(),
        problems: ring.into_iter().collect(),
    };
    let regions = known_regions(source, rehearsal, &mut reading);
    sweep_regions(source, rehearsal, regions, buffers, make_visitor, &mut reading);
    read_anonymous(source, rehearsal, make_visitor, &mut reading);
    read_lists(source, &mut reading);
    Ok(reading)
}

/// Regions that follow from the arenas, and those of the main arena that the rehearsal found.
fn known_regions<B, C: Memory, V>(
    source: &Source<'_, B, C>,
    rehearsal: &Rehearsal,
    reading: &mut HeapReading<V>,
) -> Vec<Region> {
    let mut regions = Vec::new();
    for (index, arena) in reading.arenas.iter().enumerate().filter(|(_, arena)| !arena.is_uninitialised()) {
        if arena.is_main {
            let starts = std::iter::once(reading.par.sbrk_base).chain(rehearsal.pieces.iter().copied());
            regions.extend(starts.filter_map(|start| main_piece(source.maps, start)));
            continue;
        }
        let (found, problem) = heaps(source.chase, source.layout, &reading.par, index, arena);
        regions.extend(found);
        reading.problems.extend(problem);
    }
    regions
}

fn sweep_regions<B, C, V>(
    source: &Source<'_, B, C>,
    rehearsal: &Rehearsal,
    regions: Vec<Region>,
    buffers: Vec<Vec<u8>>,
    make_visitor: &(impl Fn() -> V + Sync),
    reading: &mut HeapReading<V>,
) where
    B: Memory + Sync,
    V: PayloadVisitor,
{
    let no_plan = ReadPlan::default();
    let mut jobs = Vec::new();
    for region in &regions {
        let plan = rehearsal.plans.get(&region.chunks.start).unwrap_or(&no_plan);
        let top = reading.arenas.get(region.arena).map_or(Addr::NULL, |arena| arena.top);
        jobs.extend(stretches(region, plan, top).into_iter().map(|stretch| Job { stretch, plan }));
    }
    let mut walks = sweep(source.bulk, &jobs, buffers, make_visitor).into_iter().zip(&jobs).peekable();
    for region in regions {
        let mut walked = Vec::new();
        while let Some(((walk, visitor), job)) =
            walks.next_if(|(_, job)| job.stretch.region.start == region.chunks.start)
        {
            reading.visitors.push(visitor);
            walked.push((walk, job.stretch));
        }
        let joined = join(source, region, walked, make_visitor, reading);
        reading.regions.push(joined);
    }
}

fn stretches(region: &Region, plan: &ReadPlan, top: Addr) -> Vec<Stretch> {
    let mut bounds = vec![region.chunks.start];
    bounds.extend(plan.cuts.iter().filter(|cut| region.chunks.contains(**cut) && **cut > region.chunks.start));
    bounds.push(region.chunks.end);
    let pair = |pair: &[Addr]| Stretch { region: region.chunks, from: pair[0], to: pair[1], top };
    bounds.windows(2).map(pair).collect()
}

/// Joins the walks of a region's stretches. A stretch that ends exactly where the next one began proves that beginning;
/// where the heap has changed since the rehearsal, the rest is walked anew from where the proof ends.
fn join<B, C, V>(
    source: &Source<'_, B, C>,
    region: Region,
    walked: Vec<(Walk, Stretch)>,
    make_visitor: &(impl Fn() -> V + Sync),
    reading: &mut HeapReading<V>,
) -> RegionReading
where
    B: Memory,
    V: PayloadVisitor,
{
    let mut joined = RegionReading { region, chunks: Vec::new(), free_links: Vec::new(), end: WalkEnd::Top };
    let mut walked = walked.into_iter().peekable();
    while let Some((walk, stretch)) = walked.next() {
        joined.chunks.extend(walk.chunks);
        joined.free_links.extend(walk.free_links);
        joined.end = walk.end;
        match (&joined.end, walked.peek()) {
            (WalkEnd::Limit(at), Some((_, next))) if *at != next.from => {
                let rest = Stretch { from: *at, to: stretch.region.end, ..stretch };
                let mut visitor = make_visitor();
                let plan = ReadPlan::default();
                let mut reader = PlannedReader::new(source.bulk, &plan, rest.region.end, Vec::new());
                let walk = self::walk(&mut reader, rest, &mut visitor);
                reading.visitors.push(visitor);
                joined.chunks.extend(walk.chunks);
                joined.free_links.extend(walk.free_links);
                joined.end = walk.end;
                break;
            }
            (WalkEnd::Limit(_), _) => {}
            // A damaged header costs its own stretch only: the next one starts at a place known from the rehearsal.
            (WalkEnd::Broken { at, reason }, Some((_, next))) => {
                let problem = format!("the chunk at {at}: {reason}; the walk goes on at {}", next.from);
                reading.problems.push(problem);
            }
            (WalkEnd::Top | WalkEnd::Fenceposts(_), _) | (_, None) => break,
        }
    }
    if let WalkEnd::Broken { at, reason } = &joined.end {
        reading.problems.push(format!("the chunk at {at}: {reason}; the walk of {} ends there", region.chunks));
    }
    joined
}

/// Mapped chunks, and pieces of the main arena that no list names.
fn read_anonymous<B, C, V>(
    source: &Source<'_, B, C>,
    rehearsal: &Rehearsal,
    make_visitor: &(impl Fn() -> V + Sync),
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
        let is_present = |page| pagemap.may_hold_data(page);
        found = scan(source.bulk, format, &ranges, &is_present, wants_piece.then_some(MIN_PIECE));
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
    let mut confirmed = AnonymousScan::default();
    for chunk in known {
        let mut header = [0; HEADER as usize];
        let start = chunk.chunk.start();
        if source.bulk.read(start, &mut header).is_ok()
            && format.parse(start, &header, chunk.mapping) == Some(*chunk)
        {
            confirmed.mmapped.push(*chunk);
        }
    }
    confirmed
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

/// The first address past the last chunk that was found in a region.
pub(super) fn end_of(region: &RegionReading) -> Addr {
    match (&region.end, region.chunks.last()) {
        (WalkEnd::Fenceposts(after), _) => *after,
        (_, Some(last)) => last.end(),
        (_, None) => region.region.chunks.start,
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
fn find_brk_pieces<B, C, V>(
    source: &Source<'_, B, C>,
    make_visitor: &(impl Fn() -> V + Sync),
    reading: &mut HeapReading<V>,
) where
    B: Memory + Sync,
    V: PayloadVisitor,
{
    let top = reading.arenas[0].top;
    loop {
        let of_main = || reading.regions.iter().filter(|region| region.region.arena == 0);
        if of_main().any(|region| region.end == WalkEnd::Top) {
            return;
        }
        let Some(last) = of_main().max_by_key(|region| region.region.chunks.start) else { return };
        let WalkEnd::Fenceposts(after) = last.end else { return };
        let Some(rest) = main_piece(source.maps, after).filter(|rest| rest.chunks.contains(after)) else { return };
        let Some(start) = first_chunk_after_hole(source.bulk, rest.chunks, top) else { return };
        add_piece(source, start, make_visitor, reading);
    }
}

fn first_chunk_after_hole<B: Memory>(memory: &B, rest: AddrRange, top: Addr) -> Option<Addr> {
    /// A hole larger than this is not searched: 16 bytes at a time that would take too long.
    const LARGEST_HOLE: u64 = 64 << 20;
    let plan = ReadPlan::default();
    let mut reader = PlannedReader::new(memory, &plan, rest.end, Vec::new());
    let mut at = rest.start;
    while at < rest.end && at.0 - rest.start.0 < LARGEST_HOLE {
        let word = super::arena::word_at(reader.bytes(at, HEADER).ok()?, super::chunk::SIZE_OFFSET);
        let is_plausible = word & 0xf == super::chunk::PREV_INUSE && word > HEADER && word < rest.end.0 - at.0 + HEADER;
        if is_plausible && leads_to_end(memory, Stretch { region: rest, from: at, to: rest.end, top }) {
            return Some(at);
        }
        at = at + super::chunk::ALIGNMENT;
    }
    None
}

fn leads_to_end<B: Memory>(memory: &B, stretch: Stretch) -> bool {
    let plan = ReadPlan::default();
    let mut reader = PlannedReader::new(memory, &plan, stretch.region.end, Vec::new());
    let walked = walk(&mut reader, stretch, &mut NoVisitor);
    walked.end.is_whole()
}

/// After brk failed, the main arena gets pieces by mmap; each is proven by a walk to the top or to fenceposts.
fn find_mapped_pieces<B, C, V>(
    source: &Source<'_, B, C>,
    candidates: &[Addr],
    make_visitor: &(impl Fn() -> V + Sync),
    reading: &mut HeapReading<V>,
) where
    B: Memory + Sync,
    V: PayloadVisitor,
{
    let top = reading.arenas[0].top;
    for start in candidates {
        if is_main_complete(reading) {
            return;
        }
        let taken = reading.regions.iter().any(|region| {
            region.region.chunks.start <= *start && *start < end_of(region)
        });
        let Some(piece) = main_piece(source.maps, *start).filter(|_| !taken) else { continue };
        let stretch = Stretch { region: piece.chunks, from: *start, to: piece.chunks.end, top };
        if leads_to_end(source.bulk, stretch) {
            add_piece(source, *start, make_visitor, reading);
        }
    }
}

fn add_piece<B, C, V>(
    source: &Source<'_, B, C>,
    start: Addr,
    make_visitor: &(impl Fn() -> V + Sync),
    reading: &mut HeapReading<V>,
) where
    B: Memory + Sync,
    V: PayloadVisitor,
{
    if let Some(piece) = main_piece(source.maps, start) {
        sweep_regions(source, &Rehearsal::default(), vec![piece], Vec::new(), make_visitor, reading);
    }
}

fn read_lists<B, C: Memory, V>(source: &Source<'_, B, C>, reading: &mut HeapReading<V>) {
    let layout = source.layout.tcache.as_ref();
    let caches = match (layout, source.roots.tcache_offset) {
        (Some(layout), Some(offset)) => find_tcaches(source.chase, layout, offset, source.threads),
        _ => Vec::new(),
    };
    if layout.is_some() && caches.is_empty() && !source.threads.is_empty() {
        let problem = "no thread's tcache was found: freed chunks that tcaches hold are counted as in use";
        reading.problems.push(problem.to_owned());
    }
    reading.freed = read_freed_lists(source.chase, &reading.arenas, layout, &caches);
    reading.problems.append(&mut reading.freed.problems);
}
