//! From a pid to a snapshot: prepare while the target runs, rehearse, stop, read, let go, and only then think.

mod assemble;
mod breakdown;
mod capture;
mod error;
mod findings;
mod live;
mod modules;
mod pools;
mod prepared;
mod reading;

pub use error::SnapshotError;

use crate::addr::AddrRange;
use crate::debug::SearchOptions;
use crate::snapshot::model::Snapshot;

/// What to do besides the ordinary.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where to look for debug info.
    pub debug: SearchOptions,
    /// Keep a row for every chunk.
    pub with_chunks: bool,
}

/// Told what is being done, for people who wait.
pub trait Progress {
    /// A step begins: "reading debug info", "walking the heap".
    fn step(&self, what: &str);
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _what: &str) {}
}

/// Takes a snapshot of the process `pid`: the main job.
///
/// # Errors
/// [`SnapshotError`]; the target then runs on, untraced. What can be told of a target in part (not nginx, not glibc, no
/// debug info) is a snapshot with notes, not an error.
pub fn take(pid: i32, options: &Options, progress: &dyn Progress) -> Result<Snapshot, SnapshotError> {
    let target = live::prepare(pid, options, progress)?;
    let Some(glibc) = &target.prepared.glibc else { return Ok(assemble::without_heap(&target.prepared)) };
    let capture = capture::capture(&target, glibc, progress)?;
    progress.step("putting it together");
    let freeze = capture.freeze_info();
    let pagemap = |ranges: &[AddrRange]| capture::read_pagemap(&target, ranges);
    let mut snapshot = assemble::with_heap(&target.prepared, capture.reading, Some(&pagemap), options.with_chunks);
    snapshot.process.threads = capture.threads;
    snapshot.freeze = Some(freeze);
    Ok(snapshot)
}
