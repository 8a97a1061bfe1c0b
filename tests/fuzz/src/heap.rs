//! The way that the analysis of a core takes from malloc's roots to pools with owners, as far as no debug info is needed.

use crate::glibcs::{ROOTS, per_thread};
use poolscope::addr::{Addr, AddrRange};
use poolscope::attribution::Attribution;
use poolscope::malloc::arena::Par;
use poolscope::malloc::bookless::read_without_books;
use poolscope::malloc::heap::Heap;
use poolscope::malloc::layout::MallocLayout;
use poolscope::malloc::read::{HeapReading, Source, read_heap};
use poolscope::malloc::rehearsal::{Rehearsal, Workspace};
use poolscope::malloc::walk::PayloadVisitor;
use poolscope::nginx::layout::PoolLayout;
use poolscope::nginx::pool::{assemble, read_lists};
use poolscope::nginx::scan::PoolScanner;
use poolscope::target::cache::PageCache;
use poolscope::target::core::Core;

const POOLS: PoolLayout = PoolLayout::SINCE_0_8_1;

/// Bytes of the page cache.
const CACHE: usize = 1 << 20;

type Target<'a> = Source<'a, Core, PageCache<&'a Core>>;

/// Walks the heap of a core whose glibc has this layout: without knowledge, then with what that has found, then without
/// malloc's books.
pub fn walk(core: &Core, layout: &MallocLayout) {
    let mut maps = core.maps();
    if let Ok(par) = Par::read(core, layout, ROOTS.par) {
        maps.mark_brk_heap(par.sbrk_base);
    }
    let pagemap = |ranges: &[AddrRange]| core.pagemap(ranges);
    let pages = PageCache::new(core, core.page_size(), CACHE);
    let threads = per_thread(core);
    let source: Target<'_> = Source {
        bulk: core,
        chase: &pages,
        layout,
        roots: ROOTS,
        maps: &maps,
        page_size: core.page_size(),
        threads: &threads,
        wanted: &[],
        pagemap: &pagemap,
        maps_now: &|| None,
        threads_now: &|| None,
    };
    let scanner = || PoolScanner::new(&POOLS, core.page_size());
    if let Some(mut reading) = read(&source, &Rehearsal::default(), &scanner) {
        reading.add_likely_caches(source.chase, source.layout);
        // The plan for several threads cuts the heap into pieces; one thread walks them all.
        let plan = Rehearsal::of(&reading, scanner().wanted(), &[], reading.freed.lines(), 2);
        settle(&source, reading);
        if let Some(reading) = read(&source, &plan, &scanner) {
            settle(&source, reading);
        }
    }
    if let Some(heap) = maps.heap_ranges().first() {
        settle(&source, read_without_books(&source, *heap, &scanner));
    }
}

fn read(source: &Target<'_>, plan: &Rehearsal, scanner: &impl Fn() -> PoolScanner) -> Option<HeapReading<PoolScanner>> {
    read_heap(source, plan, Workspace::for_plan(plan, 1, scanner), scanner, drop).ok()
}

/// States, books, pools, owners.
fn settle(source: &Target<'_>, reading: HeapReading<PoolScanner>) {
    let notes = reading.visitors.iter().flat_map(|scanner| &scanner.pools);
    let mut lists = notes.map(|note| (note.address, read_lists(source.chase, &POOLS, note))).collect();
    let (heap, scanners) = Heap::settle(reading);
    let pools = assemble(&heap, &scanners, &mut lists);
    let attribution = Attribution::new(&heap, pools, Vec::new());
    for (id, chunk) in heap.in_use() {
        assert!(heap.usable(id) < chunk.size() + source.page_size);
        let _ = attribution.claim(id);
    }
    let coverage = heap.books.coverage();
    assert!((0.0..=1.0).contains(&coverage), "coverage of {coverage}");
    let _ = heap.books.mallinfo();
    let _ = heap.find(Addr::NULL);
}
