//! What a heap has become while it was read in several stops: arenas that have grown, heaps that have come and gone.
//!
//! Chunks were walked each at its own moment. malloc's books are of one moment, and so are the free lists: they are read
//! again at the end, and the walks go on to where the heap ends now.

use super::arena::{Par, read_arenas};
use super::read::{HeapReading, RegionReading, Source, known_regions};
use super::region::Region;
use super::rehearsal::{Rehearsal, Workspace};
use super::stretches::{sweep_regions, walk_anew};
use super::walk::{PayloadVisitor, Stretch, WalkEnd};
use crate::addr::Addr;
use crate::target::cache::PageCache;
use crate::target::maps::Maps;
use crate::target::memory::{Fault, Memory};

/// How often the end is looked for: the target may run again while that is done.
const ROUNDS: usize = 4;

/// Bytes of pages kept for reading books and free lists anew.
pub(super) const FRESH_CACHE: usize = 4 << 20;

/// How many chunks a walk goes back to find the new end, at first and at most.
const STEPS_BACK: usize = 256;
const MOST_STEPS_BACK: usize = 1 << 16;

/// Reads the books again and walks on to where the heap ends now. Returns the mappings as they are now.
///
/// # Errors
/// A [`Fault`] if malloc's own variables cannot be read.
pub(super) fn catch_up<B, C, V>(
    source: &Source<'_, B, C>,
    rehearsal: &Rehearsal,
    make_visitor: &impl Fn() -> V,
    reading: &mut HeapReading<V>,
) -> Result<Maps, Fault>
where
    B: Memory + Sync,
    V: PayloadVisitor,
{
    let mut maps = source.maps.clone();
    for _ in 0..ROUNDS {
        let moment = source.bulk.moment();
        maps = (source.maps_now)().unwrap_or(maps);
        let chase = PageCache::new(source.bulk, source.page_size, FRESH_CACHE);
        let now = source.with(&maps, source.threads, &chase);
        reading.par = Par::read(&chase, source.layout, source.roots.par)?;
        let (arenas, ring) = read_arenas(&chase, source.layout, source.roots.main_arena)?;
        reading.arenas = arenas;
        reading.problems.extend(ring);
        let regions = known_regions(&now, rehearsal, reading);
        follow(&now, regions, make_visitor, reading);
        if source.bulk.moment() == moment {
            break;
        }
    }
    Ok(maps)
}

fn follow<B, C, V>(
    source: &Source<'_, B, C>,
    regions: Vec<Region>,
    make_visitor: &impl Fn() -> V,
    reading: &mut HeapReading<V>,
) where
    B: Memory + Sync,
    V: PayloadVisitor,
{
    let mut before = std::mem::take(&mut reading.regions);
    let mut new = Vec::new();
    for region in regions {
        match before.iter().position(|known| known.region.chunks.start == region.chunks.start) {
            Some(place) => {
                let mut known = before.swap_remove(place);
                known.region = region;
                let top = reading.arenas.get(region.arena).map_or(Addr::NULL, |arena| arena.top);
                if region.chunks.contains(top) || !known.end.is_whole() {
                    follow_end(source, &mut known, top, make_visitor, reading);
                }
                reading.regions.push(known);
            }
            None => new.push(region),
        }
    }
    let nothing = Rehearsal::default();
    let mut workspace = Workspace::for_plan(&nothing, 1, make_visitor);
    sweep_regions(source, &nothing, new, &mut workspace, make_visitor, reading);
}

/// Walks a region's latest chunks again, and on to its end.
fn follow_end<B, C, V>(
    source: &Source<'_, B, C>,
    known: &mut RegionReading,
    top: Addr,
    make_visitor: &impl Fn() -> V,
    reading: &mut HeapReading<V>,
) where
    B: Memory,
    V: PayloadVisitor,
{
    let mut steps = STEPS_BACK;
    loop {
        let from = unwind(known, steps);
        let region = known.region.chunks;
        let stretch = Stretch { region, from, to: region.end, top };
        let walk = walk_anew(source, stretch, make_visitor, reading);
        reading.seams += walk.seams;
        known.add(walk);
        steps *= 4;
        if !matches!(known.end, WalkEnd::Broken { .. }) || steps > MOST_STEPS_BACK || from == region.start {
            return;
        }
    }
}

/// Takes the latest chunks off. Returns where to go on.
fn unwind(known: &mut RegionReading, steps: usize) -> Addr {
    let mut from = known.region.chunks.start;
    let mut left = steps;
    while left > 0
        && let Some(mut part) = known.parts.pop()
    {
        let keep = part.len().saturating_sub(left);
        left -= part.len() - keep;
        from = part.get(keep).map_or(from, |chunk| chunk.start());
        part.truncate(keep);
        if !part.is_empty() {
            known.parts.push(part);
        }
    }
    if known.parts.is_empty() {
        from = known.region.chunks.start;
    }
    while let Some(part) = known.free_links.last_mut() {
        while part.pop_if(|links| links.memory > from).is_some() {}
        if !part.is_empty() {
            break;
        }
        known.free_links.pop();
    }
    from
}
