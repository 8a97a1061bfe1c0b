//! Reads a heap: everything that has to be taken while the target stands still, and nothing else.
//!
//! The same code runs twice. Once on the running target, as a rehearsal: nothing it says is believed, but it tells where
//! chunk headers lie ([`Rehearsal`]). Once during the stop, with that knowledge.

use super::anonymous::read_anonymous_at_once;
use super::arena::{Arena, Par, read_arenas};
use super::catch_up::catch_up;
use super::chunk::Chunk;
use super::layout::MallocLayout;
use super::lists::{FreedLists, read_freed_lists};
use super::mend::{self, Mended};
use super::mmapped::MmappedChunk;
use super::region::{Region, heaps, main_piece};
use super::rehearsal::{Rehearsal, Workspace};
use super::seam::Seams;
use super::stretches::sweep_regions;
use super::tls::{FoundCaches, find_tcaches, likely_caches};
use super::walk::{FreeLinks, PayloadVisitor, Walk, WalkEnd};
use crate::addr::{Addr, AddrRange};
use crate::target::caught::CaughtLines;
use crate::target::maps::Maps;
use crate::target::memory::{Fault, Memory};
use crate::target::pagemap::Pagemap;

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

/// Tells the state of all pages of some ranges.
pub type ReadPagemap<'a> = dyn Fn(&[AddrRange]) -> Pagemap + Send + Sync + 'a;

/// Reads the mappings of the target.
pub type ReadMaps<'a> = dyn Fn() -> Option<Maps> + Send + Sync + 'a;

/// Tells each thread of the target with its thread pointer.
pub type ReadThreads<'a> = dyn Fn() -> Option<Vec<(i32, Addr)>> + Send + Sync + 'a;

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
    /// The mappings as they are when it is called; `None` if they cannot be read.
    pub maps_now: &'a ReadMaps<'a>,
    /// Page size in bytes.
    pub page_size: u64,
    /// Threads as `(thread id, thread pointer)`.
    pub threads: &'a [(i32, Addr)],
    /// The threads as they are when it is called; `None` if that cannot be told.
    pub threads_now: &'a ReadThreads<'a>,
    /// Lines that somebody will ask for later (start addresses in address order), to be caught if they come by.
    pub wanted: &'a [Addr],
    /// Tells which pages of anonymous memory hold anything.
    pub pagemap: &'a ReadPagemap<'a>,
}

impl<'a, B, C> Source<'a, B, C> {
    /// The same with other mappings, other threads, and another memory for following pointers.
    pub(super) fn with<'b, D>(&self, maps: &'b Maps, threads: &'b [(i32, Addr)], chase: &'b D) -> Source<'b, B, D>
    where
        'a: 'b,
    {
        Source {
            bulk: self.bulk,
            chase,
            layout: self.layout,
            roots: self.roots,
            maps,
            maps_now: self.maps_now,
            page_size: self.page_size,
            threads,
            threads_now: self.threads_now,
            wanted: self.wanted,
            pagemap: self.pagemap,
        }
    }
}

/// A region with the chunks that were found in it.
#[derive(Debug, Clone)]
pub struct RegionReading {
    /// The region.
    pub region: Region,
    /// Its chunks in address order, in the parts in which they were walked: to put them together takes longer than a part
    /// of the stop should.
    pub parts: Vec<Vec<Chunk>>,
    /// Links of the free ones among them, in the same way.
    pub free_links: Vec<Vec<FreeLinks>>,
    /// Where the walk ended.
    pub end: WalkEnd,
}

impl RegionReading {
    fn last(&self) -> Option<Chunk> {
        self.parts.last()?.last().copied()
    }

    /// Adds what was walked next; an empty part is none.
    pub(super) fn add(&mut self, walk: Walk) {
        if !walk.chunks.is_empty() {
            self.parts.push(walk.chunks);
        }
        if !walk.free_links.is_empty() {
            self.free_links.push(walk.free_links);
        }
        self.end = walk.end;
    }
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
    /// What became of the walks because the target ran in between.
    pub seams: Seams,
    /// What the visitors noted, in the order of `regions`, those of mapped chunks last.
    pub visitors: Vec<V>,
    /// What was walked anew at the end.
    pub(super) mended: Mended,
    /// Wanted lines that came by and were not handed on yet.
    pub(super) caught: Vec<CaughtLines>,
    /// One sentence for each thing that was not as it must be.
    pub problems: Vec<String>,
}

impl<V> HeapReading<V> {
    /// Where it was walked anew at the end: what was read there before is of an earlier moment.
    pub fn mended_ranges(&self) -> Vec<AddrRange> {
        self.mended.patches.iter().map(|patch| patch.range).collect()
    }

    /// Adds what probably are thread caches, and what they hold. For a rehearsal only: it does not know where each thread's is,
    /// and to have seen too much does no harm.
    pub fn add_likely_caches(&mut self, memory: &impl Memory, layout: &MallocLayout) {
        let Some(layout) = &layout.tcache else { return };
        let of_region = |region: &RegionReading| likely_caches(memory, layout, region.parts.iter().flatten().copied());
        let caches: Vec<(i32, Addr)> = self.regions.iter().flat_map(of_region).map(|cache| (0, cache)).collect();
        self.freed.tcaches = read_freed_lists(memory, &[], Some(layout), &caches).tcaches;
    }

    /// Reads once more what is compared with malloc's lists at the end of several stops. For a rehearsal, which takes the time.
    pub fn read_what_is_compared(&self, memory: &impl Memory) {
        mend::read_what_is_compared(memory, self);
    }

    /// Names each region whose walk did not come to an end that a region can have.
    pub(super) fn note_breaks(&mut self) {
        for region in &self.regions {
            if let WalkEnd::Broken { at, reason } = &region.end {
                let chunks = region.region.chunks;
                self.problems.push(format!("the chunk at {at}: {reason}; the walk of {chunks} ends there"));
            }
        }
    }
}

/// Reads a heap with what a rehearsal has found out and made ready; both may be empty. `on_caught` takes the lines of
/// [`Source::wanted`] that came by, before any of them is asked for.
///
/// # Errors
/// A [`Fault`] if malloc's own variables cannot be read. All that is wrong further on is among the problems, and what
/// could be read is there.
pub fn read_heap<B, C, V>(
    source: &Source<'_, B, C>,
    rehearsal: &Rehearsal,
    mut workspace: Workspace<V>,
    make_visitor: &impl Fn() -> V,
    on_caught: impl FnOnce(Vec<CaughtLines>),
) -> Result<HeapReading<V>, Fault>
where
    B: Memory + Sync,
    C: Memory,
    V: PayloadVisitor,
{
    let began = source.bulk.moment();
    let par = Par::read(source.chase, source.layout, source.roots.par)?;
    let (arenas, ring) = read_arenas(source.chase, source.layout, source.roots.main_arena)?;
    let mut reading = HeapReading {
        arenas,
        par,
        regions: Vec::new(),
        mmapped: Vec::new(),
        freed: FreedLists::default(),
        seams: Seams::default(),
        mended: Mended::default(),
        visitors: Vec::new(),
        caught: Vec::new(),
        problems: ring.into_iter().collect(),
    };
    let regions = known_regions(source, rehearsal, &mut reading);
    sweep_regions(source, rehearsal, regions, &mut workspace, make_visitor, &mut reading);
    on_caught(std::mem::take(&mut reading.caught));
    let problems = reading.problems.len();
    if source.bulk.latest_moment() == began {
        read_lists(source, &mut reading);
    }
    if source.bulk.latest_moment() == began {
        read_anonymous_at_once(source, rehearsal, began, make_visitor, &mut reading)?;
    } else {
        reading.problems.truncate(problems);
        catch_up(source, rehearsal, workspace.take_lists(), make_visitor, &mut reading)?;
    }
    reading.note_breaks();
    Ok(reading)
}

/// Regions that follow from the arenas, and those of the main arena that the rehearsal found.
pub(super) fn known_regions<B, C: Memory, V>(
    source: &Source<'_, B, C>,
    rehearsal: &Rehearsal,
    reading: &mut HeapReading<V>,
) -> Vec<Region> {
    let mut regions = Vec::new();
    for (index, arena) in reading.arenas.iter().enumerate().filter(|(_, arena)| !arena.is_uninitialised()) {
        if arena.is_main {
            let first = main_piece(source.maps, reading.par.sbrk_base);
            let others = rehearsal.pieces.iter().filter_map(|start| main_piece(source.maps, *start));
            let is_other = |piece: &Region| first.is_none_or(|first| first.chunks.start != piece.chunks.start);
            regions.extend(first.into_iter().chain(others.filter(is_other)));
            continue;
        }
        let (found, problem) = heaps(source.chase, source.layout, &reading.par, index, arena);
        regions.extend(found);
        reading.problems.extend(problem);
    }
    regions
}

/// The first address past the last chunk that was found in a region.
pub(super) fn end_of(region: &RegionReading) -> Addr {
    match (&region.end, region.last()) {
        (WalkEnd::Fenceposts(after), _) => *after,
        (_, Some(last)) => last.end(),
        (_, None) => region.region.chunks.start,
    }
}

/// Thread caches and fastbins.
pub(super) fn read_lists<B, C: Memory, V>(source: &Source<'_, B, C>, reading: &mut HeapReading<V>) {
    let layout = source.layout.tcache.as_ref();
    let found = match (layout, source.roots.tcache_offset) {
        (Some(layout), Some(offset)) => find_tcaches(source.chase, layout, offset, source.threads),
        _ => FoundCaches::default(),
    };
    let is_in_use = reading.arenas.iter().any(|arena| !arena.is_uninitialised());
    if layout.is_some() && found.caches.is_empty() && !source.threads.is_empty() && is_in_use {
        let problem = "no thread's tcache was found: freed chunks that tcaches hold are counted as in use";
        reading.problems.push(problem.to_owned());
    }
    reading.problems.extend(found.problems);
    reading.freed = read_freed_lists(source.chase, &reading.arenas, layout, &found.caches);
    reading.problems.append(&mut reading.freed.problems);
}
