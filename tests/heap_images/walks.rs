//! Every heap is found as it was laid, with any rehearsal or none.

use super::glibcs::{all, glibc_2_31, glibc_2_36, glibc_2_43};
use super::process::HeapImage;
use super::reading::{assert_found, rehearse, settle};
use super::spec::{Cell, Spec, State, cached, fast, free, in_use, spec};
use poolscope::malloc::chunk::ChunkState;
use poolscope::malloc::rehearsal::Rehearsal;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn every_heap_is_found_as_it_was_laid(spec in spec(), release in 0usize..4) {
        let target = HeapImage::build(&all()[release], &spec);
        assert_found(&target, &settle(&target, &Rehearsal::default(), 1));
        for threads in [1, 3] {
            let rehearsal = rehearse(&target, threads);
            assert_found(&target, &settle(&target, &rehearsal, threads));
        }
    }

    #[test]
    fn a_rehearsal_of_another_heap_changes_nothing(before in spec(), after in spec(), release in 0usize..4) {
        let glibc = &all()[release];
        let (before, after) = (HeapImage::build(glibc, &before), HeapImage::build(glibc, &after));
        for threads in [1, 3] {
            assert_found(&after, &settle(&after, &rehearse(&before, threads), threads));
        }
    }
}

/// 6 MiB: long enough for its rehearsal to cut it into many stretches.
fn long_heap(odd: u64) -> Spec {
    let cells = (0..12_000u64).map(|n| {
        let state = [State::InUse, State::InUse, State::Tcache(0), State::Free, State::Fastbin][(n * odd % 5) as usize];
        Cell { size: 16 * (2 + n * odd % 61), state }
    });
    Spec { sbrk_offset: 0x290, ..Spec::plain(&cells.collect::<Vec<_>>()) }
}

#[test]
fn a_long_heap_is_the_same_in_one_stretch_and_in_many() {
    for glibc in all() {
        let target = HeapImage::build(&glibc, &long_heap(7));
        let stale = HeapImage::build(&glibc, &long_heap(9));
        assert_found(&target, &settle(&target, &Rehearsal::default(), 1));
        for threads in [1, 2, 3] {
            assert_found(&target, &settle(&target, &rehearse(&target, threads), threads));
            assert_found(&target, &settle(&target, &rehearse(&stale, threads), threads));
        }
    }
}

#[test]
fn each_state_is_told_from_the_others() {
    let cells = [in_use(0x40), free(0x500), in_use(0x20), cached(0x20), fast(0x40), in_use(0x60)];
    for glibc in all() {
        let target = HeapImage::build(&glibc, &Spec::plain(&cells));
        let heap = settle(&target, &Rehearsal::default(), 1);
        assert_found(&target, &heap);
        let states: Vec<ChunkState> = heap.chunks.iter().map(|chunk| chunk.state()).collect();
        let binned = if glibc.layout.is_without_fastbins() { ChunkState::InUse } else { ChunkState::Fastbin };
        use ChunkState::{Free, InUse, Tcache, Top};
        assert_eq!(states, [InUse, InUse, Free, InUse, Tcache, binned, InUse, Top], "glibc {}", glibc.name);
    }
}

#[test]
fn mapped_pieces_of_the_main_arena_may_have_mapped_chunks_between_them() {
    let mapped = super::spec::Mapped { pages: 50, alignment: None };
    let spec = Spec {
        pieces: vec![vec![in_use(0x40)], vec![in_use(0x80)], vec![in_use(0x90), free(0x200), in_use(0x20)]],
        mapped: vec![mapped; 3],
        ..Spec::plain(&[in_use(0x100)])
    };
    for glibc in [glibc_2_31(), glibc_2_36(), glibc_2_43()] {
        let target = HeapImage::build(&glibc, &spec);
        let heap = settle(&target, &Rehearsal::default(), 1);
        assert_found(&target, &heap);
        assert_found(&target, &settle(&target, &rehearse(&target, 2), 2));
    }
}

#[test]
fn a_process_that_has_allocated_nothing_has_an_empty_heap() {
    let mut target = HeapImage::build(&glibc_2_36(), &Spec::plain(&[]));
    let zeroes = vec![0; 0x4000];
    let libc = target.roots.main_arena.align_down(0x1000);
    assert!(target.image.write(libc, &zeroes));
    target.poke(target.roots.main_arena + target.glibc.layout.state.next, target.roots.main_arena.0);
    target.threads.clear();
    let heap = settle(&target, &Rehearsal::default(), 1);
    assert_eq!((heap.chunks.len(), heap.books.coverage()), (0, 1.0));
    assert_eq!(heap.books.problems, Vec::<String>::new());
}
