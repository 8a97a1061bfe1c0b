//! One core in all forms that cores are kept in.

use crate::core_support::{Directory, Packing};
use crate::model::assert_same_core;
use crate::process::{of_core, stop};
use nix::sys::stat::Mode;
use poolscope::snapshot::model::Snapshot;
use poolscope_fixtures::{HeapProgram, Kind, gcore, kernel_core};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Reads the core from a named pipe that somebody else writes to.
fn through_pipe(directory: &Directory, bytes: &[u8]) -> Snapshot {
    let pipe = directory.path().join("pipe");
    nix::unistd::mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let snapshot = std::thread::scope(|scope| {
        // The reader need not take what comes behind the last segment.
        scope.spawn(|| std::fs::write(&pipe, bytes));
        of_core(&pipe)
    });
    std::fs::remove_file(&pipe).unwrap();
    snapshot
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// The core without holes, with holes dug into it, and copied with holes.
fn sparse(directory: &Directory, bytes: &[u8]) -> [PathBuf; 3] {
    let dense = directory.write("dense", bytes);
    let dug = directory.write("dug", bytes);
    run(Command::new("fallocate").arg("--dig-holes").arg(&dug));
    let copied = directory.path().join("copied");
    run(Command::new("cp").arg("--sparse=always").arg(&dense).arg(&copied));
    [dense, dug, copied]
}

fn on_disk(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().blocks() * 512
}

fn check(path: &Path, name: &str) {
    let directory = Directory::new();
    let bytes = std::fs::read(path).unwrap();
    let plain = of_core(path);
    for packing in Packing::ALL {
        let packed = packing.pack(&bytes);
        assert_same_core(&plain, &of_core(&directory.write("packed", &packed)), &format!("{name}, {packing:?}"));
        if packing == Packing::Zstd {
            assert_same_core(&plain, &through_pipe(&directory, &packed), &format!("{name}, {packing:?}, piped"));
        }
    }
    assert_same_core(&plain, &through_pipe(&directory, &bytes), &format!("{name}, piped"));
    let forms = sparse(&directory, &bytes);
    assert!(on_disk(&forms[1]) < on_disk(&forms[0]) && on_disk(&forms[2]) < on_disk(&forms[0]));
    for form in &forms {
        assert_same_core(&plain, &of_core(form), &format!("{name}, {}", form.display()));
    }
}

#[test]
fn packed_piped_and_sparse_cores_are_the_same() {
    let directory = Directory::new();
    let program = |kind, seed| {
        let program = HeapProgram::start(kind, seed).unwrap();
        stop(program.pid());
        program
    };
    let freed = program(Kind::Freed, 1);
    check(&gcore(freed.pid(), directory.path()).unwrap(), "freed, gcore");
    let pieces = program(Kind::Noncontiguous, 2);
    check(&kernel_core(pieces.pid(), directory.path()).unwrap(), "noncontiguous, kernel");
}
