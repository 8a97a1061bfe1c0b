//! Cores of a leaking worker that were cut off: as much is told as is there, and what is missing is said.

use crate::core_support::{Directory, Packing};
use crate::layout::loads;
use crate::process::{options, stop};
use assert_cmd::Command;
use poolscope::analysis::{Silent, read_core};
use poolscope::snapshot::finding::Finding;
use poolscope::snapshot::model::Snapshot;
use poolscope::target::maps::Maps;
use poolscope_fixtures::{Leak, LeakPlan, Nginx, kernel_core};
use std::path::{Path, PathBuf};

const GENERATIONS: u64 = 24;

/// A core of a leaking worker by the kernel, and where in the file its brk heap ends.
struct Scene {
    directory: Directory,
    core: PathBuf,
    bytes: Vec<u8>,
    heap_end: u64,
}

fn scene() -> Scene {
    let directory = Directory::new();
    let nginx = Nginx::builder().start().unwrap();
    let _leak = Leak::run(&nginx, &LeakPlan::new(GENERATIONS as usize, 60), |_| ()).unwrap();
    let worker = nginx.worker_pid().unwrap();
    stop(worker);
    // What a worker adds to the heap that it got from its master is often a mapping of its own.
    let heap = *Maps::read_ranges(worker.cast_signed()).unwrap().heap_ranges().last().unwrap();
    let core = kernel_core(worker, directory.path()).unwrap();
    let bytes = std::fs::read(&core).unwrap();
    let (_, loads) = loads(&bytes);
    let heap_end = loads.iter().find(|load| load.address + load.saved == heap.end.0).unwrap().bytes().end;
    Scene { directory, core, bytes, heap_end }
}

/// Pools of the module that leaks; `None` if nothing could be told, and a sentence said why.
fn leaked(path: &Path) -> Option<(u64, Snapshot)> {
    match read_core(path, &options(), &Silent) {
        Ok(snapshot) => {
            let leaked = snapshot.pools.iter().filter(|pool| pool.owner.kind.starts_with("dyups.")).count();
            Some((leaked as u64, snapshot))
        }
        Err(error) => {
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
            None
        }
    }
}

/// That a part says what it lacks.
fn check_part(snapshot: &Snapshot, length: u64) {
    assert!(snapshot.source.missing > 0, "{length}");
    assert!(snapshot.notes.iter().any(|note| note.contains("bytes of memory are missing")), "{:?}", snapshot.notes);
}

/// The leak is named, with each of its pools.
fn check_leak(snapshot: &Snapshot) {
    let Some(Finding::DeletedButReferenced { upstream, pools, .. }) = snapshot.findings.first() else {
        panic!("{:?}", snapshot.findings)
    };
    assert_eq!((upstream.as_str(), *pools), ("svc", GENERATIONS - 1));
}

/// Reads what is left at each of `lengths`, which are in falling order. Pools get fewer only.
fn cut_down(path: &Path, lengths: &[u64], mut check: impl FnMut(u64, u64, &Snapshot)) -> usize {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let (mut before, mut told) = (u64::MAX, 0);
    for length in lengths {
        file.set_len(*length).unwrap();
        let pools = leaked(path).map_or(0, |(pools, snapshot)| {
            check(*length, pools, &snapshot);
            told += 1;
            pools
        });
        assert!(pools <= before, "{length}: {pools} pools, and {before} in a longer part");
        before = pools;
    }
    told
}

/// Every 1/64 of the file, and both sides of each border of a segment, from the longest down.
fn lengths(bytes: &[u8]) -> Vec<u64> {
    let total = bytes.len() as u64;
    let (_, loads) = loads(bytes);
    let borders = loads.iter().flat_map(|load| [load.bytes().start, load.bytes().end]);
    let mut lengths: Vec<u64> =
        (0..64).map(|part| total * part / 64).chain(borders.flat_map(|at| [at - 1, at])).collect();
    lengths.retain(|length| *length < total);
    lengths.sort_unstable_by(|a, b| b.cmp(a));
    lengths.dedup();
    lengths
}

#[test]
fn what_is_left_of_a_core_is_told_and_what_is_missing_is_said() {
    let Scene { directory, core, bytes, heap_end } = scene();
    let (pools, whole) = leaked(&core).unwrap();
    assert_eq!(pools, GENERATIONS);
    check_leak(&whole);
    assert!(whole.is_complete() && whole.coverage == Some(1.0));
    let path = directory.write("cut", &bytes);
    let all = lengths(&bytes);
    let mut without_books = 0;
    let told = cut_down(&path, &all, |length, pools, snapshot| {
        check_part(snapshot, length);
        if length >= heap_end {
            assert_eq!(pools, GENERATIONS, "{length}");
            check_leak(snapshot);
        }
        let books = snapshot.books.as_ref().unwrap();
        without_books += usize::from(books.problems.iter().any(|problem| problem.contains("books are not there")));
        assert!(length >= heap_end || !snapshot.is_complete(), "{length}");
    });
    assert!(told > 20 && without_books > 10, "{told} of {} told, {without_books} without books", all.len());
}

#[test]
fn what_is_left_of_a_packed_core_is_told() {
    let Scene { directory, bytes, .. } = scene();
    let packed = Packing::Zstd.pack(&bytes);
    let path = directory.write("cut.zst", &packed);
    let lengths: Vec<u64> = (0..64).rev().map(|part| packed.len() as u64 * part / 64).collect();
    let mut most = 0;
    let told = cut_down(&path, &lengths, |length, pools, snapshot| {
        check_part(snapshot, length);
        assert!(snapshot.notes[0].contains("zstd data is cut off"), "{:?}", snapshot.notes);
        most = most.max(pools);
    });
    assert!(told > 20 && most == GENERATIONS, "{told}, {most}");
}

/// Status 3, and a report on standard output, for each part; 0 for the whole.
#[test]
fn the_status_tells_that_something_is_missing() {
    let Scene { directory, bytes, heap_end, .. } = scene();
    let status = |length: u64| {
        let path = directory.write("cut", &bytes[..length as usize]);
        let mut command = Command::cargo_bin("poolscope").unwrap();
        let output = command.args(["snapshot", "--core"]).arg(&path).output().unwrap();
        let report = String::from_utf8(output.stdout).unwrap();
        assert!(report.contains("dyups"), "{report}");
        output.status.code().unwrap()
    };
    let total = bytes.len() as u64;
    let statuses = [heap_end * 3 / 4, heap_end, total - 4096, total].map(status);
    assert_eq!(statuses, [3, 3, 3, 0]);
}
