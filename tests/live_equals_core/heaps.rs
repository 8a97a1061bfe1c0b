//! Heaps of all shapes, each in three views: the stopped process, its gcore, its core by the kernel.

use crate::core_support::{Directory, Packing};
use crate::model::assert_equal;
use crate::process::{live, of_core, stop};
use poolscope::snapshot::model::Snapshot;
use poolscope_fixtures::{HeapProgram, Kind, gcore, kernel_core};
use std::path::Path;

fn check(kind: Kind, seed: u64) {
    let directory = Directory::new();
    let program = HeapProgram::start(kind, seed).unwrap();
    stop(program.pid());
    let expected = live(program.pid());
    assert!(expected.chunks.as_ref().unwrap().len() > 10);
    let of_gdb = of_core(&gcore(program.pid(), directory.path()).unwrap());
    assert_equal(&expected, &of_gdb, &format!("{kind:?} seed {seed}, gcore"));
    let core = kernel_core(program.pid(), directory.path()).unwrap();
    assert_equal(&expected, &of_core(&core), &format!("{kind:?} seed {seed}, kernel"));
    if seed == 0 {
        check_packed(&expected, &core, kind);
    }
}

fn check_packed(expected: &Snapshot, core: &Path, kind: Kind) {
    let directory = Directory::new();
    let bytes = std::fs::read(core).unwrap();
    for packing in Packing::ALL {
        let packed = directory.write("packed", &packing.pack(&bytes));
        assert_equal(expected, &of_core(&packed), &format!("{kind:?}, kernel, {packing:?}"));
    }
}

#[test]
fn a_single_thread() {
    (0..4).for_each(|seed| check(Kind::Single, seed));
}

/// Chunks in the caches of threads that live count as free, and those are found through the threads' registers.
#[test]
fn several_threads() {
    (0..6).for_each(|seed| check(Kind::Threads, seed));
}

#[test]
fn chunks_with_mappings_of_their_own() {
    (0..4).for_each(|seed| check(Kind::Mmapped, seed));
}

#[test]
fn aligned_chunks() {
    (0..4).for_each(|seed| check(Kind::Aligned, seed));
}

#[test]
fn freed_chunks() {
    (0..4).for_each(|seed| check(Kind::Freed, seed));
}

#[test]
fn a_main_arena_in_pieces() {
    (0..6).for_each(|seed| check(Kind::Noncontiguous, seed));
}

#[test]
fn many_arenas() {
    (0..2).for_each(|seed| check(Kind::ManyArenas, seed));
}
