//! Mends a walk that took several stops, where malloc's lists of free chunks, read in the last one, contradict it.
//!
//! What the program frees and allocates while the rest of the heap is read leaves traces in these lists: free chunks that
//! were found and are in no bin any more, members of bins that no chunk was found for. Around each of them the heap is
//! walked anew, from chunks before to chunks behind that both walks agree on. What was in use then and is again, but cut
//! differently, leaves no trace: that is why such a heap is never called exact.

use super::bins::{fetch, read_bins};
use super::chunk::{Chunk, ChunkState, HEADER, MIN_SIZE};
use super::lists::FreedLists;
use super::patch::Patch;
use super::read::{HeapReading, RegionReading, Source, end_of};
use super::reader::{Counts, PlannedReader, ReadPlan};
use super::seam::Seams;
use super::walk::{FreeLinks, PayloadVisitor, Stretch, Walk, WalkEnd, walk};
use super::walked::Walked;
use crate::addr::{Addr, AddrRange};
use crate::target::memory::{Memory, Moment};
use rustc_hash::FxHashSet;

/// What mending came to: all as of the same moment as the arenas.
#[derive(Debug, Default)]
pub(super) struct Mended {
    /// In the order of regions, and of addresses within each of them.
    pub patches: Vec<Patch>,
    /// What all bins hold, in address order; `None` if that is not known, and then there are no patches.
    pub bins: Option<Vec<FreeLinks>>,
    /// What is known of that then.
    pub seen: Vec<FreeLinks>,
    /// True if so much would have to be read that it would take stops of its own.
    pub is_too_much: bool,
    /// How many contradictions there were.
    contradictions: usize,
    /// How many visitors have seen what the patches replace; those behind them have seen the patches.
    pub visitors_before: usize,
}

impl Mended {
    /// True if there was nothing to mend.
    pub fn is_clean(&self) -> bool {
        self.bins.is_some() && self.contradictions == 0
    }

    /// How much of `regions` is replaced, and what of that has changed.
    pub fn seams(&self, regions: &[RegionReading]) -> Seams {
        let mut seams = Seams { mended: self.patches.len() as u64, ..Seams::default() };
        for region in regions {
            let walked = Walked::of(&region.parts);
            let inside = self.patches.iter().filter(|patch| region.region.chunks.contains(patch.range.start));
            for patch in inside {
                let now: FxHashSet<(Addr, u64)> =
                    patch.chunks.iter().map(|chunk| (chunk.start(), chunk.size())).collect();
                for before in walked.within(patch.range) {
                    seams.chunks += 1;
                    seams.changed += u64::from(!now.contains(&(before.start(), before.size())));
                }
            }
        }
        seams
    }
}

/// How many chunks before a contradiction a walk begins. The first of them may be gone, and its header left behind; if no
/// later one is what it was, one further back may be.
const STEPS_BACK: [usize; 3] = [16, 64, 512];

/// How many chunks behind it a walk goes on.
const STEPS_ON: usize = 8;

/// Of a heap with more free chunks in bins than this, or more in thread caches and fastbins, contradictions are not looked for: for
/// a hundred thousand that would take a stop of its own. What is at odds the books will tell.
const MOST_FREE: usize = 16_384;
const MOST_LISTED: usize = 8192;

/// Looks for contradictions and walks anew around them. Visitors of these walks are added to the reading, its chunks are not
/// touched. `binned` is what the bins may hold beside what was walked; arenas and lists were read at `moment`, and if that has
/// passed contradictions are only counted.
pub(super) fn mend<B, C, V>(
    source: &Source<'_, B, C>,
    binned: &[FreeLinks],
    moment: Moment,
    make_visitor: &impl Fn() -> V,
    reading: &mut HeapReading<V>,
) -> Mended
where
    B: Memory,
    V: PayloadVisitor,
{
    let HeapReading { arenas, regions, freed, visitors, .. } = reading;
    let mut mended = Mended { visitors_before: visitors.len(), ..Mended::default() };
    let listed = starts_of(freed);
    if is_too_much(regions, &listed) {
        return Mended { is_too_much: true, ..mended };
    }
    let free = regions.iter().flat_map(|region| &region.free_links).flatten();
    let mut known: Vec<Addr> = free.chain(binned).map(|links| links.memory - HEADER).collect();
    // A few runs that are sorted: that a stable sort merges.
    known.sort();
    known.dedup();
    let bins = match read_bins(source.bulk, arenas, &known) {
        Ok(bins) => bins,
        Err(seen) => return Mended { seen, ..mended },
    };
    let lists = Lists { bins: &bins, freed: &with_sizes(source.bulk, &listed) };
    let mut buffer = Vec::new();
    for region in regions {
        let top = arenas.get(region.region.arena).map_or(Addr::NULL, |arena| arena.top);
        let walked = Walked::of(&region.parts);
        let lists = lists.within(AddrRange::new(region.region.chunks.start, end_of(region)));
        let dirty = contradictions(&walked, &region.free_links, lists);
        mended.contradictions += dirty.len();
        if dirty.is_empty() || source.bulk.latest_moment() != moment {
            continue;
        }
        let mut mender =
            Mender { memory: source.bulk, region: region.region.chunks, top, walked, lists, patches: Vec::new() };
        mender.mend(dirty, make_visitor, visitors, &mut buffer);
        mended.patches.append(&mut mender.patches);
    }
    mended.bins = Some(bins);
    mended
}

fn is_too_much(regions: &[RegionReading], listed: &[Addr]) -> bool {
    let free: usize = regions.iter().flat_map(|region| &region.free_links).map(Vec::len).sum();
    free > MOST_FREE || listed.len() > MOST_LISTED
}

/// Reads what looking for contradictions reads of such a heap, if they are looked for. For a rehearsal, which takes the time.
pub(super) fn read_what_is_compared<V>(memory: &impl Memory, reading: &HeapReading<V>) {
    let listed = starts_of(&reading.freed);
    if is_too_much(&reading.regions, &listed) {
        return;
    }
    let free = reading.regions.iter().flat_map(|region| &region.free_links).flatten();
    let known: Vec<Addr> = free.map(|links| links.memory - HEADER).collect();
    fetch(memory, &known);
    fetch(memory, &listed);
}

/// Starts of all chunks in thread caches and fastbins.
fn starts_of(freed: &FreedLists) -> Vec<Addr> {
    let cached = freed.tcaches.iter().flat_map(|cache| &cache.chunks);
    cached.chain(&freed.fastbin_chunks).map(|memory| *memory - HEADER).collect()
}

/// The same in address order with their sizes, as far as they can be read.
fn with_sizes(memory: &impl Memory, starts: &[Addr]) -> Vec<(Addr, u64)> {
    let mut sizes: Vec<(Addr, u64)> =
        fetch(memory, starts).into_iter().map(|(start, links)| (start, links.size)).collect();
    sizes.sort_unstable();
    sizes
}

/// Lists of freed chunks as they are now, or the part of them that lies in some range.
#[derive(Clone, Copy)]
struct Lists<'a> {
    /// In address order.
    bins: &'a [FreeLinks],
    /// Starts and sizes of chunks in thread caches and fastbins, in address order.
    freed: &'a [(Addr, u64)],
}

impl Lists<'_> {
    fn within(self, range: AddrRange) -> Self {
        let bins = self.bins.partition_point(|links| links.memory - HEADER < range.start)
            ..self.bins.partition_point(|links| links.memory - HEADER < range.end);
        let freed = self.freed.partition_point(|(start, _)| *start < range.start)
            ..self.freed.partition_point(|(start, _)| *start < range.end);
        Lists { bins: self.bins.get(bins).unwrap_or_default(), freed: self.freed.get(freed).unwrap_or_default() }
    }

    /// True if chunks that lie side by side have all that is listed among them, as what it is listed for.
    fn agree_with(self, walk: &Walk) -> bool {
        let free = walk.free_links.iter().map(|links| (links.memory, links.size));
        let is_there = |listed: &(Addr, u64)| {
            let place = walk.chunks.binary_search_by_key(&listed.0, |chunk| chunk.start());
            place.is_ok_and(|place| walk.chunks.get(place).is_some_and(|chunk| looks_in_use(*chunk, *listed)))
        };
        free.eq(self.bins.iter().map(|links| (links.memory, links.size))) && self.freed.iter().all(is_there)
    }
}

/// True if that is the chunk with that start and that size, which looks as if in use.
fn looks_in_use(chunk: Chunk, (start, size): (Addr, u64)) -> bool {
    chunk.start() == start && chunk.size() == size && chunk.state() == ChunkState::InUse
}

/// Ranges about which the walk and the lists say different things, in order of their starts.
fn contradictions(walked: &Walked<'_>, free_links: &[Vec<FreeLinks>], lists: Lists<'_>) -> Vec<AddrRange> {
    let range = |links: &FreeLinks| AddrRange::sized(links.memory - HEADER, links.size);
    let mut dirty = Vec::new();
    let mut found = free_links.iter().flatten().peekable();
    let mut binned = lists.bins.iter().peekable();
    loop {
        match (found.peek(), binned.peek()) {
            (Some(before), Some(now)) if before.memory == now.memory => {
                if before.size != now.size {
                    dirty.extend([range(before), range(now)].into_iter().max_by_key(|range| range.len()));
                }
                found.next();
                binned.next();
            }
            (Some(before), now) if now.is_none_or(|now| before.memory < now.memory) => {
                dirty.extend(found.next().map(range))
            }
            (_, Some(_)) => dirty.extend(binned.next().map(range)),
            (_, None) => break,
        }
    }
    let is_there = |listed: &&(Addr, u64)| walked.at(listed.0).is_some_and(|chunk| looks_in_use(chunk, **listed));
    let odd = lists.freed.iter().filter(|listed| !is_there(listed));
    dirty.extend(odd.map(|(start, size)| AddrRange::sized(*start, (*size).max(MIN_SIZE))));
    dirty.sort_unstable_by_key(|range| range.start);
    dirty
}

/// A piece of a region that is to be walked anew.
struct Piece {
    /// From a chunk to a chunk of the walk before.
    range: AddrRange,
    /// The contradictions in it.
    dirty: Vec<AddrRange>,
}

/// Mends a region.
struct Mender<'a, B> {
    memory: &'a B,
    region: AddrRange,
    top: Addr,
    walked: Walked<'a>,
    lists: Lists<'a>,
    /// What was mended, in address order.
    patches: Vec<Patch>,
}

impl<B: Memory> Mender<'_, B> {
    fn mend<V: PayloadVisitor>(
        &mut self,
        mut dirty: Vec<AddrRange>,
        make_visitor: &impl Fn() -> V,
        visitors: &mut Vec<V>,
        buffer: &mut Vec<u8>,
    ) {
        for steps in STEPS_BACK {
            let pieces = self.pieces(&dirty, steps);
            if pieces.is_empty() {
                return;
            }
            let mut visitor = make_visitor();
            dirty = self.walk_pieces(pieces, &mut visitor, buffer);
            visitors.push(visitor);
        }
    }

    /// What to walk anew, in address order; pieces do not overlap, neither each other nor what was mended before.
    fn pieces(&self, dirty: &[AddrRange], steps: usize) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        for range in dirty {
            let Some(around) = self.around(*range, steps) else { continue };
            match pieces.last_mut() {
                Some(last) if around.start < last.range.end => {
                    last.range.end = last.range.end.max(around.end);
                    last.dirty.push(*range);
                }
                _ => pieces.push(Piece { range: around, dirty: vec![*range] }),
            }
        }
        pieces
    }

    /// From some chunks before a range to some behind it; `None` if there is none behind it.
    fn around(&self, range: AddrRange, steps: usize) -> Option<AddrRange> {
        let first = self.walked.place_of(range.start)?.saturating_sub(steps);
        // Where a walk has come past a piece that is already mended, it is proven.
        let after = self.patches.partition_point(|patch| patch.range.start < range.start);
        let proven = after.checked_sub(1).and_then(|before| self.patches.get(before)).map(|patch| patch.range.end);
        let start = self.walked.get(first)?.start().max(proven.unwrap_or(Addr::NULL));
        let behind = self.walked.place_of(range.end)?;
        let end = self.walked.get(self.walked.last_to_end_at().min(behind + STEPS_ON))?.start();
        let end = self.patches.get(after).map_or(end, |patch| end.min(patch.range.start));
        (start <= range.start && range.end <= end).then(|| AddrRange::new(start, end))
    }

    /// Walks the pieces and keeps what agrees with the lists. Returns the contradictions in the others.
    fn walk_pieces<V: PayloadVisitor>(
        &mut self,
        pieces: Vec<Piece>,
        visitor: &mut V,
        buffer: &mut Vec<u8>,
    ) -> Vec<AddrRange> {
        let wanted = HEADER + visitor.wanted().max(HEADER);
        let chunks = pieces.iter().flat_map(|piece| self.walked.within(piece.range));
        let plan = ReadPlan::for_chunks(chunks, wanted, &[], 1);
        let mut reader = PlannedReader::new(self.memory, &plan, self.region.end, std::mem::take(buffer));
        let mut left = Vec::new();
        for Piece { range, dirty } in pieces {
            let stretch = Stretch { region: self.region, from: range.start, to: range.end, top: self.top };
            let walk = walk(&mut reader, stretch, visitor, Walk::with_room_for(Counts::default()));
            if walk.end == WalkEnd::Limit(range.end) && self.lists.within(range).agree_with(&walk) {
                self.patches.push(Patch { range, chunks: walk.chunks });
            } else {
                visitor.forget_from(range.start + HEADER);
                left.extend(dirty);
            }
        }
        *buffer = reader.finish().0;
        self.patches.sort_unstable_by_key(|patch| patch.range.start);
        left
    }
}
