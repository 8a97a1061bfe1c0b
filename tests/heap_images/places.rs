//! Where regions and thread caches are looked for.

use super::glibcs::{all, glibc_2_36};
use super::process::{BRK, HEAP_MAX, HeapImage, mapping};
use super::spec::{Spec, in_use};
use poolscope::addr::{Addr, AddrRange};
use poolscope::malloc::arena::{Par, read_arenas};
use poolscope::malloc::region::{heap_max_size, heaps, main_piece};
use poolscope::malloc::tls::find_tcaches;
use poolscope::target::maps::{Backing, Maps};

fn maps(ranges: &[(u64, u64, Backing)]) -> Maps {
    Maps(
        ranges
            .iter()
            .map(|(start, end, backing)| mapping(AddrRange::new(Addr(*start), Addr(*end)), backing.clone()))
            .collect(),
    )
}

#[test]
fn the_main_arena_reaches_over_all_heap_lines_that_touch() {
    let maps = maps(&[
        (0x1000, 0x3000, Backing::Heap),
        (0x3000, 0x5000, Backing::Heap),
        (0x5000, 0x6000, Backing::Anonymous),
        (0x8000, 0x9000, Backing::Heap),
        (0xa000, 0xc000, Backing::Anonymous),
        (0xc000, 0xd000, Backing::Stack),
    ]);
    let piece = |start| main_piece(&maps, Addr(start)).map(|piece| (piece.chunks, piece.overhead, piece.is_brk));
    let range = |start, end| AddrRange::new(Addr(start), Addr(end));
    assert_eq!(piece(0x1290), Some((range(0x1290, 0x5000), 0, true)));
    assert_eq!(piece(0x2ff8), Some((range(0x3000, 0x5000), 8, true)));
    assert_eq!(piece(0x8000), Some((range(0x8000, 0x9000), 0, true)));
    assert_eq!(piece(0xa000), Some((range(0xa000, 0xc000), 0, false)));
    for nowhere in [0, 0x7000, 0xc000, 0x9000, u64::MAX, u64::MAX - 20] {
        assert_eq!(piece(nowhere), None, "{nowhere:#x}");
    }
}

#[test]
fn heaps_of_other_arenas_come_oldest_first_without_what_is_malloc_s_own() {
    for glibc in all() {
        let heap = |size| vec![in_use(size)];
        let spec = Spec { arenas: vec![vec![heap(0x60), heap(0x3000), heap(0x90)]], ..Spec::plain(&[]) };
        let target = HeapImage::build(&glibc, &spec);
        let (arenas, problem) = read_arenas(&target.image, &glibc.layout, target.roots.main_arena).unwrap();
        assert_eq!((arenas.len(), problem), (2, None));
        let par = Par::read(&target.image, &glibc.layout, target.roots.par).unwrap();
        let (regions, problem) = heaps(&target.image, &glibc.layout, &par, 1, &arenas[1]);
        assert_eq!(problem, None);
        let bases: Vec<Addr> = regions.iter().map(|region| region.chunks.start.align_down(HEAP_MAX)).collect();
        let first = target.arenas[1].align_down(HEAP_MAX);
        assert_eq!(bases, [first, first + HEAP_MAX, first + 2 * HEAP_MAX]);
        let info = glibc.layout.heap_info.size;
        let state = (info + glibc.layout.state.size).next_multiple_of(16);
        assert_eq!(regions.iter().map(|region| region.overhead).collect::<Vec<_>>(), [state, info, info]);
        let whole: u64 = regions.iter().map(|region| region.chunks.len() + region.overhead).sum();
        assert_eq!(whole, arenas[1].system_mem);
    }
}

#[test]
fn heaps_of_huge_pages_are_as_large_as_glibc_makes_them() {
    let size = |hp_pagesize| heap_max_size(&Par { hp_pagesize, ..Par::default() });
    assert_eq!((size(0), size(2 << 20), size(1 << 30)), (64 << 20, 8 << 20, 4 << 30));
    // What cannot be a page size is not believed.
    for odd in [3, 1 << 63, u64::MAX] {
        assert_eq!(size(odd), 64 << 20);
    }
}

fn three_threads() -> HeapImage {
    let spec = Spec { arenas: vec![vec![vec![in_use(0x60)]]; 2], threads: 3, ..Spec::plain(&[in_use(0x40)]) };
    HeapImage::build(&glibc_2_36(), &spec)
}

fn found(target: &HeapImage) -> Vec<(i32, Addr)> {
    find_tcaches(&target.image, target.glibc.tcache(), target.roots.tcache_offset.unwrap(), &target.threads).caches
}

#[test]
fn every_thread_s_cache_is_found_through_its_vector() {
    for glibc in all() {
        let spec = Spec { arenas: vec![vec![vec![in_use(0x60)]]; 2], threads: 3, ..Spec::plain(&[in_use(0x40)]) };
        let target = HeapImage::build(&glibc, &spec);
        let expected: Vec<_> = (100..).zip(target.tcaches.iter().copied()).collect();
        assert_eq!(found(&target), expected, "glibc {}", glibc.name);
    }
}

#[test]
fn a_thread_that_has_no_cache_yet_does_not_hide_the_others() {
    for thread in 0..3 {
        let mut target = three_threads();
        let block = target.threads[thread].1 + 0x800;
        target.poke(block + target.roots.tcache_offset.unwrap(), 0);
        let expected: Vec<_> =
            (100..).zip(target.tcaches.iter().copied()).filter(|(id, _)| *id != 100 + thread as i32).collect();
        assert_eq!(found(&target), expected);
    }
}

#[test]
fn what_another_module_keeps_at_that_offset_is_no_cache() {
    let mut target = three_threads();
    let pointer = target.threads[0].1;
    // The block of the first module: at the same offset there is a pointer to a chunk of another size.
    target.poke(pointer + 0x200 + 16, pointer.0 + 0xc00);
    target.poke(pointer + 0xc00 + target.roots.tcache_offset.unwrap(), target.chunks[1].memory().0);
    assert_eq!(found(&target).len(), 3);
    // And to one of the same size whose words are no lists.
    let mut lookalike = three_threads();
    let memory = Addr(BRK.0 + 0x800);
    lookalike.poke(memory - 8, 0x291);
    lookalike.poke(pointer + 0x200 + 16, pointer.0 + 0xc00);
    lookalike.poke(pointer + 0xc00 + lookalike.roots.tcache_offset.unwrap(), memory.0);
    let expected: Vec<_> = (100..).zip(lookalike.tcaches.iter().copied()).collect();
    assert_eq!(found(&lookalike), expected);
}

#[test]
fn threads_whose_vectors_lead_nowhere_have_no_caches() {
    let mut target = three_threads();
    for thread in 0..3 {
        target.poke(target.threads[thread].1 + if cfg!(target_arch = "x86_64") { 8 } else { 0 }, u64::MAX - 7);
    }
    target.threads.push((200, Addr(0)));
    target.threads.push((201, Addr(u64::MAX - 3)));
    assert_eq!(found(&target), []);
}
