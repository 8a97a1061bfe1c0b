//! A heap whose books are missing: a core that was cut off before glibc's variables, which lie behind the brk heap.
//!
//! Chunks of the brk heap need no books to be walked: each tells where the next begins. What nobody then tells is which of
//! them are in bins and thread caches, which other arenas and mapped chunks there are, and whether everything was found.

use super::arena::{Arena, Par};
use super::chunk::ChunkState;
use super::lists::FreedLists;
use super::mend::Mended;
use super::read::{HeapReading, RegionReading, Source};
use super::region::main_piece;
use super::rehearsal::{Rehearsal, Workspace};
use super::seam::Seams;
use super::stretches::sweep_regions;
use super::walk::{PayloadVisitor, WalkEnd};
use crate::addr::AddrRange;
use crate::target::memory::Memory;

/// Walks the brk heap, which lies at `heap`, from its start to where the memory ends. Among the problems is a sentence that
/// says what is not known.
pub fn read_without_books<B, C, V>(
    source: &Source<'_, B, C>,
    heap: AddrRange,
    make_visitor: &impl Fn() -> V,
) -> HeapReading<V>
where
    B: Memory + Sync,
    V: PayloadVisitor,
{
    let mut reading = HeapReading {
        arenas: vec![Arena::without_books(source.roots.main_arena, heap.len())],
        par: Par { sbrk_base: heap.start, ..Par::default() },
        regions: Vec::new(),
        mmapped: Vec::new(),
        freed: FreedLists::default(),
        seams: Seams::default(),
        mended: Mended::default(),
        visitors: Vec::new(),
        caught: Vec::new(),
        problems: Vec::new(),
    };
    let regions = main_piece(source.maps, heap.start).into_iter().collect();
    let nothing = Rehearsal::default();
    let mut workspace = Workspace::for_plan(&nothing, 1, make_visitor);
    sweep_regions(source, &nothing, regions, &mut workspace, make_visitor, &mut reading);
    // That the walk came to the end of the mapping is then as it must be.
    reading.regions.last_mut().map(find_top);
    reading.note_breaks();
    reading.problems.push(
        "malloc's own books are not there: only the brk heap was walked; freed chunks in thread caches and fastbins count as \
         in use, and chunks of other arenas and with mappings of their own are missing"
            .to_owned(),
    );
    reading
}

/// The last chunk of a heap that is wholly there is the top: nothing else ends where the mapping does.
fn find_top(region: &mut RegionReading) {
    let end = region.region.chunks.end;
    let is_at_end = matches!(region.end, WalkEnd::Broken { at, .. } if at == end);
    let last = region.parts.last_mut().and_then(|part| part.last_mut());
    if let Some(last) = last.filter(|last| is_at_end && last.end() == end) {
        *last = last.with_state(ChunkState::Top);
        region.end = WalkEnd::Top;
    }
}
