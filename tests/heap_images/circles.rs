//! Lists that lead in a circle end, and the report says which.

use super::glibcs::{Glibc, all, glibc_2_27, glibc_2_36, glibc_2_43};
use super::lists::link_word;
use super::process::{HEAP_MAX, HeapImage};
use super::reading::{Counting, read_with};
use super::spec::{Cell, Spec, cached, fast, free, in_use};
use poolscope::addr::Addr;
use poolscope::malloc::chunk::ChunkState;
use poolscope::malloc::heap::Heap;
use poolscope::malloc::rehearsal::Rehearsal;
use poolscope::malloc::walk::NoVisitor;
use std::sync::atomic::Ordering;

/// Far more than these heaps take, and far less than following a circle to any fixed limit.
const MOST_READS: u64 = 5_000;

fn read(target: &HeapImage) -> Heap {
    let memory = Counting::new(&target.image);
    let reading = read_with(target, &memory, &Rehearsal::default(), 1, &|| NoVisitor).unwrap();
    let reads = memory.reads.load(Ordering::Relaxed);
    assert!(reads < MOST_READS, "{reads} reads");
    Heap::settle(reading).0
}

/// Exactly one problem, which says all of that.
fn assert_one_problem(heap: &Heap, parts: &[&str]) {
    let [problem] = heap.books.problems.as_slice() else { panic!("{:#?}", heap.books.problems) };
    for part in parts {
        assert!(problem.contains(part), "no {part:?} in {problem:?}");
    }
}

fn count(heap: &Heap, state: ChunkState) -> usize {
    heap.chunks.iter().filter(|chunk| chunk.state() == state).count()
}

/// Four chunks of one size with something between them.
fn four(cell: Cell) -> Vec<Cell> {
    [in_use(0x40), cell].repeat(4)
}

/// Lets the `from`th chunk of that state be followed by the `to`th. Lists hold them in address order.
fn relink(target: &mut HeapImage, glibc: &Glibc, state: ChunkState, from: usize, to: usize, to_memory: u64) {
    let members: Vec<Addr> =
        target.chunks.iter().filter(|chunk| chunk.state() == state).map(|chunk| chunk.memory()).collect();
    let word = link_word(glibc.linking, members[from], members[to].0 - to_memory);
    target.poke(members[from], word);
}

#[test]
fn a_tcache_list_in_a_circle_holds_each_chunk_once() {
    for glibc in all() {
        for (from, to) in [(3, 0), (3, 3), (2, 1)] {
            let mut target = HeapImage::build(&glibc, &Spec::plain(&four(cached(0x60))));
            relink(&mut target, &glibc, ChunkState::Tcache, from, to, 0);
            let heap = read(&target);
            assert_eq!(count(&heap, ChunkState::Tcache), from + 1, "glibc {}", glibc.name);
            assert_one_problem(&heap, &["a tcache list of thread 100", "circle"]);
        }
    }
}

#[test]
fn a_fastbin_in_a_circle_holds_each_chunk_once() {
    for glibc in [glibc_2_27(), glibc_2_36()] {
        for (from, to) in [(3, 0), (3, 3), (3, 2)] {
            let mut target = HeapImage::build(&glibc, &Spec::plain(&four(fast(0x60))));
            relink(&mut target, &glibc, ChunkState::Fastbin, from, to, 16);
            let heap = read(&target);
            assert_eq!(count(&heap, ChunkState::Fastbin), 4);
            assert_one_problem(&heap, &["a fastbin of arena", "circle"]);
        }
    }
}

#[test]
fn a_bin_that_does_not_lead_back_to_itself_is_left() {
    for glibc in all() {
        let mut target = HeapImage::build(&glibc, &Spec::plain(&four(free(0x600))));
        let free: Vec<Addr> =
            target.chunks.iter().filter(|c| c.state() == ChunkState::Free).map(|c| c.start()).collect();
        for at in &free {
            // Each is alone in a ring of its own, so that every backward link is what it must be in there.
            target.poke(*at + 16, at.0);
            target.poke(*at + 24, at.0);
        }
        let heap = read(&target);
        assert_eq!(heap.chunks, target.chunks);
        assert!(heap.books.problems.iter().any(|problem| problem.contains("bin")), "{:?}", heap.books.problems);
        assert!(heap.books.problems.len() <= 4, "{:#?}", heap.books.problems);
    }
}

fn with_arenas() -> Spec {
    let heaps = vec![vec![in_use(0x60)], vec![in_use(0x90)], vec![in_use(0x40)]];
    Spec { arenas: vec![heaps.clone(), heaps], ..Spec::plain(&[in_use(0x50)]) }
}

#[test]
fn a_ring_of_arenas_that_does_not_close_is_followed_once() {
    let mut target = HeapImage::build(&glibc_2_36(), &with_arenas());
    let [_, first, second] = target.arenas[..] else { panic!() };
    target.poke(second + target.glibc.layout.state.next, first.0);
    let heap = read(&target);
    assert_eq!(heap.chunks, target.chunks);
    assert_one_problem(&heap, &["ring of arenas", &first.to_string()]);
}

#[test]
fn a_chain_of_heaps_in_a_circle_is_followed_once() {
    for glibc in [glibc_2_27(), glibc_2_36(), glibc_2_43()] {
        for to in 0..3 {
            let mut target = HeapImage::build(&glibc, &with_arenas());
            let base = target.arenas[1].align_down(HEAP_MAX);
            target.poke(base + glibc.layout.heap_info.previous, (base + to * HEAP_MAX).0);
            let heap = read(&target);
            let problems = &heap.books.problems;
            let says = problems.iter().any(|problem| problem.contains("heap") && problem.contains("circle"));
            assert!(says && problems.len() <= 3, "{problems:#?}");
            // The first heap, which holds the arena itself, is taken for a later one: its own walk fails, nothing else.
            let missing = target.chunks.iter().filter(|chunk| !heap.chunks.contains(chunk)).count();
            assert!(missing <= 3, "{missing} chunks are missing");
        }
    }
}
