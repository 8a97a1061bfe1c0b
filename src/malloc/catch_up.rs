//! What a heap has become while it was read in several stops: arenas that have grown, heaps that have come and gone.
//!
//! Chunks were walked each at its own moment. malloc's books are of one moment, and so are the free lists: they are read
//! again at the end, the walks go on to where the heap ends now, and where the lists contradict them they are done anew.

use super::anonymous::read_anonymous_at_once;
use super::arena::{Par, read_arenas};
use super::mend::mend;
use super::read::{HeapReading, RegionReading, Source, known_regions, read_lists};
use super::region::Region;
use super::rehearsal::{Rehearsal, Workspace};
use super::stretches::{sweep_regions, walk_anew};
use super::walk::{PayloadVisitor, Stretch, WalkEnd};
use crate::addr::Addr;
use crate::target::cache::PageCache;
use crate::target::lines::{LineCache, WantedLines};
use crate::target::maps::Maps;
use crate::target::memory::{Fault, Memory, Moment};

/// How often all that has to be of one moment is read: the target may run again while that is done.
const ROUNDS: usize = 4;

/// Bytes of pages kept for reading books and free lists anew.
const FRESH_CACHE: usize = 4 << 20;

/// How many chunks a walk goes back to find the new end, at first and at most.
const STEPS_BACK: usize = 256;
const MOST_STEPS_BACK: usize = 1 << 16;

/// Reads the books again, walks on to where the heap ends now, and mends what the lists of free chunks contradict. `lists` are
/// the lines that these lists probably lead through.
///
/// # Errors
/// A [`Fault`] if malloc's own variables cannot be read.
pub(super) fn catch_up<B, C, V>(
    source: &Source<'_, B, C>,
    rehearsal: &Rehearsal,
    lists: WantedLines,
    make_visitor: &impl Fn() -> V,
    reading: &mut HeapReading<V>,
) -> Result<(), Fault>
where
    B: Memory + Sync,
    V: PayloadVisitor,
{
    let chase = LineCache::new(PageCache::new(source.bulk, source.page_size, FRESH_CACHE), lists);
    let mut maps = source.maps.clone();
    let problems = reading.problems.len();
    let mut binned = Vec::new();
    let mut books;
    let mut round = 0;
    loop {
        round += 1;
        let moment = catch_up_ends(source, rehearsal, &chase, &mut maps, problems, make_visitor, reading)?;
        books = moment;
        let threads = (source.threads_now)();
        let now = source.with(&maps, threads.as_deref().unwrap_or(source.threads), &chase);
        chase.fetch_unknown(source.bulk);
        read_lists(&now, reading);
        let mended = mend(&now, &binned, moment, make_visitor, reading);
        // What agrees agrees, whenever it was read: nothing has changed, or not so that anything tells.
        let passed = source.bulk.latest_moment().0.abs_diff(moment.0);
        if passed == 0 || mended.is_clean() {
            reading.seams += mended.seams(&reading.regions);
            reading.mended = mended;
            break;
        }
        reading.visitors.truncate(mended.visitors_before);
        // What takes longer than a whole stop does so every time. The first time there was only a part of one, and most was still
        // to be found.
        if mended.is_too_much || round == ROUNDS || round > 1 && passed > 1 {
            break;
        }
        binned = mended.bins.unwrap_or(mended.seen);
        source.bulk.next_moment();
    }
    let now = source.with(&maps, source.threads, &chase);
    read_anonymous_at_once(&now, rehearsal, books, make_visitor, reading)
}

/// Reads the books and walks on to where the heap ends, so often that both are of one moment, if they can be. Returns that of the
/// books. Beyond so many `problems` all are of an earlier try.
fn catch_up_ends<B, C, V>(
    source: &Source<'_, B, C>,
    rehearsal: &Rehearsal,
    chase: &LineCache<&B>,
    maps: &mut Maps,
    problems: usize,
    make_visitor: &impl Fn() -> V,
    reading: &mut HeapReading<V>,
) -> Result<Moment, Fault>
where
    B: Memory + Sync,
    V: PayloadVisitor,
{
    let mut moment = source.bulk.moment();
    for _ in 0..ROUNDS {
        moment = source.bulk.moment();
        if let Some(now) = (source.maps_now)() {
            *maps = now;
        }
        chase.forget();
        let now = source.with(maps, source.threads, chase);
        reading.problems.truncate(problems);
        reading.par = Par::read(chase, source.layout, source.roots.par)?;
        let (arenas, ring) = read_arenas(chase, source.layout, source.roots.main_arena)?;
        reading.arenas = arenas;
        reading.problems.extend(ring);
        let regions = known_regions(&now, rehearsal, reading);
        follow(&now, rehearsal, regions, make_visitor, reading);
        if source.bulk.latest_moment() == moment {
            break;
        }
    }
    Ok(moment)
}

fn follow<B, C, V>(
    source: &Source<'_, B, C>,
    rehearsal: &Rehearsal,
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
    // A piece that the rehearsal found is to be proven here, too.
    sweep_regions(source, rehearsal, new, &mut workspace, make_visitor, reading);
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
