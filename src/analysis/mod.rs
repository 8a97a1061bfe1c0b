//! From a pid or a core to a snapshot. Of a live process: prepare while it runs, rehearse, stop, read, let go, and only then
//! think. Of a core: read. What is read, and what is made of it, is the same code.

mod around;
mod assemble;
mod breakdown;
mod capture;
mod core;
pub mod doctor;
mod error;
mod evidence;
mod explain;
mod explore;
mod findings;
mod footprint;
mod free_slots;
mod freed;
mod holders;
mod known;
mod live;
mod lost;
mod modules;
mod names;
mod place;
mod pools;
mod prepared;
pub mod processes;
mod reading;
mod referrers;
mod reused;
mod whereabouts;
mod words;

pub use error::SnapshotError;
pub use modules::KnownFiles;

use crate::addr::AddrRange;
use crate::debug::SearchOptions;
use crate::snapshot::explanation::Explanation;
use crate::snapshot::model::{CONTRADICTED, Snapshot};
use crate::target::maps::Backing;
use crate::target::registers::ThreadRegisters;
use crate::target::resident::Resident;
use crate::target::stops::StopLog;
use around::{Around, Stacks};
use core::CoreTarget;
use evidence::{Evidence, Wanted};
use explain::Context;
use footprint::Footprint;
use live::LiveTarget;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// What to do besides the ordinary.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where to look for debug info.
    pub debug: SearchOptions,
    /// Keep a row for every chunk.
    pub with_chunks: bool,
    /// Where the files are that a core is of.
    pub core_files: CoreFiles,
    /// How long the target may stand still at a time: what takes longer is read in several stops. `None` for one stop of any
    /// length, which alone gives an exact picture of one moment.
    pub max_pause: Option<Duration>,
    /// Bytes of memory that this process may take in all; `None` for as many as it needs. What would take more is refused
    /// before the target is stopped.
    pub memory_limit: Option<u64>,
    /// Tell clients' addresses and what they asked for. Otherwise these are not even read.
    pub show_clients: bool,
    /// Kinds of owners that are not looked for, by what their finder calls them
    /// ([`what`](crate::nginx::owner::OwnerFinder::what)): "dyups upstreams". For tests, and for when a finder's answer is
    /// in doubt: the general way then names their pools by types alone.
    pub without: Vec<String>,
}

/// Where the files are that the process of a core ran.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CoreFiles {
    /// Its binary, if it is not where it was.
    pub exe: Option<PathBuf>,
    /// The root of the files of its machine, if that is not this one.
    pub sysroot: Option<PathBuf>,
}

/// Told what is being done, for people who wait.
pub trait Progress {
    /// A step begins: "reading debug info", "walking the heap".
    fn step(&self, what: &str);

    /// The target was stopped and runs again: when, and where it stood. For who holds against a snapshot what else is known
    /// of these moments.
    fn stopped(&self, _log: &StopLog) {}
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
    take_knowing(pid, options, &KnownFiles::default(), progress)
}

/// The same of one of several processes, also at once: what the debug info of their files says is read only once. They are
/// stopped one after the other. `options` are the same for all that share `known`.
///
/// # Errors
/// Those of [`take`].
pub fn take_knowing(
    pid: i32,
    options: &Options,
    known: &KnownFiles,
    progress: &dyn Progress,
) -> Result<Snapshot, SnapshotError> {
    let target = live::prepare(pid, options, known, progress)?;
    let wanted = Wanted { chunks: options.with_chunks, addresses: &[] };
    Ok(take_of(&target, wanted, progress)?.0)
}

/// A snapshot, and what was found out on the way to it.
type Taken = (Snapshot, Evidence);

fn take_of(target: &LiveTarget, wanted: Wanted<'_>, progress: &dyn Progress) -> Result<Taken, SnapshotError> {
    let Some(glibc) = &target.prepared.glibc else {
        return Ok((assemble::without_heap(&target.prepared), Evidence::default()));
    };
    let capture = capture::capture(target, glibc, target.max_pause, progress)?;
    progress.stopped(&capture.log);
    progress.step("putting it together");
    let (mut freeze, threads) = (capture.freeze_info(), capture.threads());
    let taken_at = capture.taken_at();
    let registers = capture.registers().to_vec();
    let pagemap = |ranges: &[AddrRange]| capture::read_pagemap(target, ranges);
    let files = target.prepared.maps.0.iter().filter(|mapping| matches!(mapping.backing, Backing::File { .. }));
    let files: Vec<AddrRange> = files.map(|mapping| mapping.range).collect();
    let state = pagemap(&files);
    let memory = Resident::new(&target.memory, target.prepared.page_size, files, state);
    let around = Around {
        prepared: &target.prepared,
        glibc,
        memory: &memory,
        pagemap: &pagemap,
        registers: registers.iter().flat_map(|thread| &thread.words).copied().collect(),
        stacks: Stacks::Live(target.process.pid, registers.iter().map(|thread| thread.tid).collect()),
        is_whole: true,
        looks: AtomicU32::new(0),
        footprint: target.footprint,
    };
    let (mut snapshot, mut evidence) = assemble::with_heap(&around, capture.reading, Some(&pagemap), wanted);
    evidence.threads = registers;
    snapshot.process.threads = threads;
    if let Some(taken_at) = taken_at {
        assemble::set_taken_at(&mut snapshot, taken_at);
    }
    if freeze.is_exact() && snapshot.books.as_ref().is_none_or(|books| !books.problems.is_empty()) {
        freeze.consistency = CONTRADICTED.to_owned();
    }
    snapshot.freeze = Some(freeze);
    Ok((snapshot, evidence))
}

/// Takes a snapshot of the process that a core was saved of.
///
/// # Errors
/// [`SnapshotError`]. What can be told of a core in part (it was cut off, no debug info) is a snapshot with notes, not an
/// error.
pub fn read_core(path: &Path, options: &Options, progress: &dyn Progress) -> Result<Snapshot, SnapshotError> {
    CoreReader::new(options.clone()).read(path, progress)
}

/// Reads cores one after the other, or several at once: what the debug info of a file says is read only once.
#[derive(Debug)]
pub struct CoreReader {
    options: Options,
    known: KnownFiles,
}

impl CoreReader {
    /// A reader that has read nothing.
    pub fn new(options: Options) -> CoreReader {
        CoreReader { options, known: KnownFiles::default() }
    }

    /// Takes a snapshot of the process that a core was saved of.
    ///
    /// # Errors
    /// Those of [`read_core`].
    pub fn read(&self, path: &Path, progress: &dyn Progress) -> Result<Snapshot, SnapshotError> {
        let target = core::prepare(path, &self.options, &self.known, progress)?;
        let wanted = Wanted { chunks: self.options.with_chunks, addresses: &[] };
        Ok(read_core_of(&target, wanted, progress)?.0)
    }
}

fn read_core_of(target: &CoreTarget, wanted: Wanted<'_>, progress: &dyn Progress) -> Result<Taken, SnapshotError> {
    let registers: Vec<ThreadRegisters> = target.core.threads().iter().map(ThreadRegisters::from).collect();
    let Some(glibc) = &target.prepared.glibc else {
        let evidence = Evidence { threads: registers, ..Evidence::default() };
        return Ok((assemble::without_heap(&target.prepared), evidence));
    };
    progress.step("reading its heap");
    let reading = core::read(target, glibc)?;
    progress.step("putting it together");
    let pagemap = |ranges: &[AddrRange]| target.core.pagemap(ranges);
    let threads = target.core.threads();
    let around = Around {
        prepared: &target.prepared,
        glibc,
        memory: &target.core,
        pagemap: &pagemap,
        registers: threads.iter().flat_map(|thread| &thread.registers).copied().collect(),
        stacks: Stacks::Still(threads.iter().map(|thread| thread.sp).collect()),
        is_whole: target.prepared.source.missing == 0 && !target.core.lacks_writable_memory(),
        looks: AtomicU32::new(0),
        footprint: Footprint::default(),
    };
    let (snapshot, mut evidence) = assemble::with_heap(&around, reading, None, wanted);
    evidence.threads = registers;
    Ok((snapshot, evidence))
}

/// A snapshot, and what is at some addresses.
pub type Explained = (Snapshot, Vec<Explanation>);

/// Explains addresses of a live process. It is stopped for the snapshot; who points there is searched while it runs.
///
/// # Errors
/// Those of [`take`].
pub fn explain_live(
    pid: i32,
    addresses: &[u64],
    options: &Options,
    progress: &dyn Progress,
) -> Result<Explained, SnapshotError> {
    let target = live::prepare(pid, options, &KnownFiles::default(), progress)?;
    let (snapshot, evidence) = take_of(&target, Wanted { chunks: true, addresses }, progress)?;
    progress.step("looking who points there");
    let pagemap = |ranges: &[AddrRange]| capture::read_pagemap(&target, ranges);
    let context = Context {
        prepared: &target.prepared,
        memory: &target.memory,
        pagemap: &pagemap,
        is_still: false,
        evidence: &evidence,
    };
    let explained = explain::explain(&snapshot, addresses, Some(&context));
    Ok((snapshot, explained))
}

/// Explains addresses of the process that a core was saved of.
///
/// # Errors
/// Those of [`read_core`].
pub fn explain_core(
    path: &Path,
    addresses: &[u64],
    options: &Options,
    progress: &dyn Progress,
) -> Result<Explained, SnapshotError> {
    let target = core::prepare(path, options, &KnownFiles::default(), progress)?;
    let (snapshot, evidence) = read_core_of(&target, Wanted { chunks: true, addresses }, progress)?;
    progress.step("looking who points there");
    let pagemap = |ranges: &[AddrRange]| target.core.pagemap(ranges);
    let context = Context {
        prepared: &target.prepared,
        memory: &target.core,
        pagemap: &pagemap,
        is_still: true,
        evidence: &evidence,
    };
    let explained = explain::explain(&snapshot, addresses, Some(&context));
    Ok((snapshot, explained))
}

/// Explains addresses by what a saved snapshot holds.
pub fn explain_saved(snapshot: &Snapshot, addresses: &[u64]) -> Vec<Explanation> {
    explain::explain(snapshot, addresses, None)
}
