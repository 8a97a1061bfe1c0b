//! Regions in stretches: cut at chunks that the rehearsal knows, walked in parallel, and joined where one proves the next.

use super::read::{HeapReading, RegionReading, Source, end_of};
use super::reader::{Counts, PlannedReader, ReadPlan};
use super::region::Region;
use super::rehearsal::{Rehearsal, Workspace};
use super::sweep::{Job, sweep};
use super::walk::{PayloadVisitor, Stretch, Walk, WalkEnd, walk};
use crate::addr::Addr;
use crate::target::memory::Memory;

/// Walks regions, cut into stretches where the rehearsal says so.
pub(super) fn sweep_regions<B, C, V>(
    source: &Source<'_, B, C>,
    rehearsal: &Rehearsal,
    regions: Vec<Region>,
    workspace: &mut Workspace<V>,
    make_visitor: &impl Fn() -> V,
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
    let slots = jobs.iter().map(|job| workspace.slot(job.stretch.region.start, make_visitor)).collect();
    let buffers = std::mem::take(&mut workspace.buffers);
    let swept = sweep(source.bulk, &jobs, slots, buffers, source.wanted);
    reading.caught.extend(swept.caught);
    let mut walks = swept.walks.into_iter().zip(&jobs).peekable();
    for region in regions {
        let mut walked = Vec::new();
        while let Some(((walk, visitor), job)) =
            walks.next_if(|(_, job)| job.stretch.region.start == region.chunks.start)
        {
            reading.visitors.push(visitor);
            walked.push((walk, job.stretch));
        }
        let problems = reading.problems.len();
        let joined = join(source, region, walked, make_visitor, reading);
        if rehearsal.pieces.contains(&region.chunks.start) && !is_proven(&joined, reading) {
            // No such piece any more, or never one: the rehearsal reads a heap that changes.
            reading.problems.truncate(problems);
            continue;
        }
        reading.regions.push(joined);
    }
}

/// True for a piece of the main arena that ends as one can, and does not lie in what was walked already.
fn is_proven<V>(piece: &RegionReading, reading: &HeapReading<V>) -> bool {
    let start = piece.region.chunks.start;
    let is_new = |known: &RegionReading| start < known.region.chunks.start || end_of(known) <= start;
    piece.end.is_whole() && reading.regions.iter().all(is_new)
}

fn stretches(region: &Region, plan: &ReadPlan, top: Addr) -> Vec<Stretch> {
    let mut bounds = vec![region.chunks.start];
    bounds.extend(plan.cuts.iter().filter(|cut| region.chunks.contains(**cut) && **cut > region.chunks.start));
    bounds.push(region.chunks.end);
    let pair = |pair: &[Addr]| Stretch { region: region.chunks, from: pair[0], to: pair[1], top };
    bounds.windows(2).map(pair).collect()
}

/// Joins the walks of a region's stretches. A stretch that ends exactly where the next one began proves that beginning;
/// where the heap has changed since the rehearsal, stretches are walked anew until one is proven again.
fn join<B, C, V>(
    source: &Source<'_, B, C>,
    region: Region,
    walked: Vec<(Walk, Stretch)>,
    make_visitor: &impl Fn() -> V,
    reading: &mut HeapReading<V>,
) -> RegionReading
where
    B: Memory,
    V: PayloadVisitor,
{
    let mut joined = RegionReading { region, parts: Vec::new(), free_links: Vec::new(), end: WalkEnd::Top };
    let mut walked = walked.into_iter();
    let mut next = walked.next();
    while let Some((part, _)) = next {
        reading.seams += part.seams;
        joined.add(part);
        next = walked.next();
        match (&joined.end, &mut next) {
            (WalkEnd::Limit(at), Some((walk, stretch))) if *at != stretch.from => {
                *stretch = Stretch { from: *at, ..*stretch };
                *walk = walk_anew(source, *stretch, make_visitor, reading);
            }
            (WalkEnd::Limit(_), _) => {}
            // A damaged header costs its own stretch only: the next one starts at a place known from the rehearsal.
            (WalkEnd::Broken { at, reason }, Some((_, stretch))) => {
                let problem = format!("the chunk at {at}: {reason}; the walk goes on at {}", stretch.from);
                reading.problems.push(problem);
            }
            (WalkEnd::Top | WalkEnd::Fenceposts(_), _) | (_, None) => break,
        }
    }
    joined
}

/// Walks a stretch of which nothing is known beforehand.
pub(super) fn walk_anew<B, C, V>(
    source: &Source<'_, B, C>,
    stretch: Stretch,
    make_visitor: &impl Fn() -> V,
    reading: &mut HeapReading<V>,
) -> Walk
where
    B: Memory,
    V: PayloadVisitor,
{
    let mut visitor = make_visitor();
    let plan = ReadPlan::default();
    let mut reader = PlannedReader::new(source.bulk, &plan, stretch.region.end, Vec::new());
    let walk = walk(&mut reader, stretch, &mut visitor, Walk::with_room_for(Counts::default()));
    reading.visitors.push(visitor);
    walk
}
