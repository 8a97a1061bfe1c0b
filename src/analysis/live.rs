//! A live process, prepared while it runs: who it is, what it runs, and what its debug info says.

use super::footprint::Footprint;
use super::modules::{KnownFiles, load_both, load_others};
use super::prepared::{About, Prepared};
use super::{Options, Progress, SnapshotError};
use crate::malloc::allocator::is_glibc;
use crate::snapshot::model::{Limits, ProcessInfo, SourceInfo};
use crate::target::limits::MemoryLimits;
use crate::target::live::LiveMemory;
use crate::target::maps::Maps;
use crate::target::modules::{open_executable, open_library, open_others};
use crate::target::process::{Process, TargetError};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// A live process that is ready to be stopped.
pub struct LiveTarget {
    /// Who it is.
    pub process: Process,
    /// Its memory.
    pub memory: LiveMemory,
    /// What is known of it.
    pub prepared: Prepared,
    /// How long it may stand still at a time.
    pub max_pause: Option<Duration>,
    /// What this process may take of memory.
    pub footprint: Footprint,
}

/// Prepares `pid` for a snapshot, without stopping it.
///
/// # Errors
/// [`SnapshotError`] if the target cannot be studied at all.
pub fn prepare(
    pid: i32,
    options: &Options,
    known: &KnownFiles,
    progress: &dyn Progress,
) -> Result<LiveTarget, SnapshotError> {
    prepare_process(Process::find(pid)?, options, known, progress)
}

/// The same of a process that was looked up.
///
/// # Errors
/// Those of [`prepare`].
pub fn prepare_process(
    process: Process,
    options: &Options,
    files: &KnownFiles,
    progress: &dyn Progress,
) -> Result<LiveTarget, SnapshotError> {
    let pid = process.pid;
    progress.step("reading its mappings");
    let open = |what, source| not_opened(&process, what, source);
    let memory = LiveMemory::open(pid).map_err(|error| open("memory", error))?;
    let maps = Maps::read(pid).map_err(|error| TargetError::from_proc(pid, "smaps", error))?;
    let binary = open_executable(pid, &maps).map_err(|error| open("binary", error))?;
    let library = open_library(pid, &maps, is_glibc).map_err(|error| open("C library", error))?;
    progress.step("reading debug info");
    let mut search = options.debug.clone();
    search.root = root_of(pid);
    let known: Vec<_> = [Some(&binary), library.as_ref()].into_iter().flatten().collect();
    let others = open_others(pid, &maps, &known);
    let (binary, library) = load_both(binary, library, &search, files)?;
    let others = load_others(others, &search, files);
    let about = About {
        source: SourceInfo { kind: "process".to_owned(), ..SourceInfo::default() },
        process: describe(&process),
        limits: Some(limits_of(pid)),
        taken_at: Some(SystemTime::now()),
        maps,
        page_size: crate::target::page_size(),
        notes: process.stopped_words().into_iter().collect(),
        show_clients: options.show_clients,
        without: options.without.clone(),
    };
    Ok(LiveTarget {
        max_pause: options.max_pause,
        footprint: Footprint { limit: options.memory_limit, with_chunks: options.with_chunks },
        prepared: Prepared::new(about, &memory, binary, library, others),
        process,
        memory,
    })
}

fn describe(process: &Process) -> ProcessInfo {
    ProcessInfo {
        host: crate::target::process::host(),
        pid: process.pid,
        parent: process.parent,
        title: process.title.clone(),
        executable: process.executable.display().to_string(),
        age_seconds: Some(process.age_seconds),
        started_at: process.started_at,
        start_ticks: Some(process.start_ticks),
        parent_start_ticks: process.parent_start_ticks,
        boot_id: crate::target::process::boot_id(),
        resident: Some(process.resident),
        ..ProcessInfo::default()
    }
}

fn limits_of(pid: i32) -> Limits {
    let MemoryLimits { machine_total, machine_available, cgroup } = MemoryLimits::of(pid);
    Limits {
        machine_total,
        machine_available,
        cgroup_limit: cgroup.as_ref().map(|group| group.limit),
        cgroup_usage: cgroup.as_ref().and_then(|group| group.usage),
        cgroup: cgroup.map(|group| group.path),
    }
}

/// The target's root as seen from here; `None` if it has the same as we: paths are then shown as everybody knows them.
fn root_of(pid: i32) -> Option<PathBuf> {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let root = |pid: &str| std::fs::metadata(format!("/proc/{pid}/root/")).ok().map(|root| (root.dev(), root.ino()));
    let target = pid.to_string();
    let is_same = |ours: Option<_>, its: Option<_>| ours.is_some() && ours == its;
    let shares_root = is_same(namespace("self"), namespace(&target)) && root("self") == root(&target);
    (!shares_root).then(|| format!("/proc/{pid}/root").into())
}

/// Why a file of the process could not be opened. Of a process that ends meanwhile its memory is "no such process" and its
/// binary and libraries are "no such file", which would send its reader to look for the file: that it ended is what is said.
fn not_opened(process: &Process, what: &'static str, source: std::io::Error) -> SnapshotError {
    let pid = process.pid;
    match (process.confirm(), what, source.kind()) {
        (Err(ended), ..) => ended.into(),
        (Ok(()), ..) if !has_memory(pid) => TargetError::Exited(pid).into(),
        (Ok(()), "memory", std::io::ErrorKind::PermissionDenied) => {
            TargetError::NoPermission { pid, name: process.name.clone(), refusal: crate::target::access::explain(pid) }
                .into()
        }
        (Ok(()), ..) => SnapshotError::Open { pid, what, source },
    }
}

/// Whether a process still has memory: on its way out it gives that back before it becomes a zombie, and `/proc/PID/exe`
/// is no link from then on (Linux 6.1 fs/proc/base.c `proc_exe_link`).
fn has_memory(pid: i32) -> bool {
    let link = std::fs::read_link(format!("/proc/{pid}/exe"));
    !link.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Silent;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    #[test]
    fn a_process_that_ends_while_it_is_opened_has_exited() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let process = Process::find(child.id() as i32).unwrap();
        drop(child.stdin.take());
        let unreaped = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            !has_memory(process.pid)
        });
        assert!(unreaped, "cat ends with its input");
        for what in ["memory", "binary"] {
            let error = not_opened(&process, what, std::io::ErrorKind::NotFound.into());
            assert!(matches!(error, SnapshotError::Target(TargetError::Exited(_))), "{error}");
        }
        let prepared = prepare_process(process, &Options::default(), &KnownFiles::default(), &Silent);
        assert!(matches!(prepared, Err(SnapshotError::Target(TargetError::Exited(_)))));
        child.wait().unwrap();
    }
}
