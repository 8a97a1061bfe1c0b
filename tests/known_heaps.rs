//! Programs that state every live pointer of their own heap, against what poolscope finds from outside.
//!
//! The equality is exact: the same addresses with the same sizes, no chunk more and none less. Chunks that a thread cache
//! or a fastbin holds look as if in use; had one been taken for that, it would be one more.

use poolscope::analysis::{Options, Silent, take};
use poolscope::debug::SearchOptions;
use poolscope::malloc::books::Mallinfo;
use poolscope::malloc::chunk::ChunkState;
use poolscope::snapshot::model::Snapshot;
use poolscope_fixtures::{HeapProgram, Kind, Truth};
use std::collections::BTreeMap;

fn snapshot_of(pid: u32) -> Snapshot {
    let options = Options { debug: SearchOptions::from_environment(), with_chunks: true, ..Options::default() };
    take(pid as i32, &options, &Silent).unwrap()
}

/// Addresses and sizes of chunks in use, without the structures of thread caches, which a program cannot know of; and how
/// many of these there are.
fn in_use(snapshot: &Snapshot) -> (BTreeMap<u64, u64>, u64) {
    let (mut chunks, mut tcaches) = (BTreeMap::new(), 0);
    for chunk in snapshot.chunks.as_ref().unwrap().iter().filter(|chunk| chunk.state == ChunkState::InUse) {
        let owner = &snapshot.owners[chunk.owner.expect("a chunk in use has an owner") as usize];
        match owner.owner.as_str() {
            "glibc.tcache" => tcaches += 1,
            _ => assert!(chunks.insert(chunk.address, chunk.size).is_none(), "{:#x} twice", chunk.address),
        }
    }
    (chunks, tcaches)
}

fn mallinfo(truth: &Truth) -> Mallinfo {
    let stated = &truth.mallinfo;
    Mallinfo {
        arena: stated.arena,
        ordblks: stated.ordblks,
        smblks: stated.smblks,
        hblks: stated.hblks,
        hblkhd: stated.hblkhd,
        fsmblks: stated.fsmblks,
        uordblks: stated.uordblks,
        fordblks: stated.fordblks,
        keepcost: stated.keepcost,
    }
}

fn check(kind: Kind, seed: u64) {
    let program = HeapProgram::start(kind, seed).unwrap();
    let truth = program.truth();
    let snapshot = snapshot_of(program.pid());
    let name = format!("{kind:?} seed {seed}");
    let books = snapshot.books.as_ref().unwrap();
    assert_eq!(books.problems, Vec::<String>::new(), "{name}");
    assert_eq!(snapshot.coverage, Some(1.0), "{name}");
    let (found, tcaches) = in_use(&snapshot);
    let stated: BTreeMap<u64, u64> = truth.live.iter().map(|pointer| (pointer.address, pointer.chunk_size())).collect();
    let missing: Vec<_> = stated.iter().filter(|(address, size)| found.get(address) != Some(size)).take(5).collect();
    let extra: Vec<_> = found.iter().filter(|(address, size)| stated.get(address) != Some(size)).take(5).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "{name}: stated and not found {missing:x?}, the reverse {extra:x?}"
    );
    assert_eq!(tcaches, truth.tcaches, "{name}");
    assert_eq!(snapshot.mallinfo, Some(mallinfo(truth)), "{name}");
    // The program holds what is in use and nothing else: all owners together say the same.
    let stated_bytes: u64 = stated.values().sum();
    let of_tcaches: u64 = snapshot.owners.iter().filter(|owner| owner.owner == "glibc.tcache").map(|o| o.bytes).sum();
    assert_eq!(snapshot.in_use_bytes(), stated_bytes + of_tcaches, "{name}");
}

#[test]
fn a_single_thread_with_mixed_sizes() {
    (0..20).for_each(|seed| check(Kind::Single, seed));
}

#[test]
fn threads_with_arenas_of_their_own() {
    (0..16).for_each(|seed| check(Kind::Threads, seed));
}

#[test]
fn chunks_with_mappings_of_their_own() {
    (0..16).for_each(|seed| check(Kind::Mmapped, seed));
}

#[test]
fn aligned_allocations() {
    (0..16).for_each(|seed| check(Kind::Aligned, seed));
}

#[test]
fn a_heap_after_many_frees() {
    (0..16).for_each(|seed| check(Kind::Freed, seed));
}

#[test]
fn a_main_arena_with_holes_and_mapped_pieces() {
    (0..12).for_each(|seed| check(Kind::Noncontiguous, seed));
}

#[test]
fn arenas_of_several_heaps() {
    (0..3).for_each(|seed| check(Kind::ManyArenas, seed));
}
