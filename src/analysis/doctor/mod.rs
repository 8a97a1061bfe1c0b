//! What would work of a snapshot and what stands in its way, without stopping anything.

mod access;
mod files;
mod guess;
mod machine;
mod pause;

pub use pause::{ExpectedPause, OwnMemory};

use super::live::{LiveTarget, prepare_process};
use super::modules::KnownFiles;
use super::{Options, Progress, SnapshotError};
use crate::target::process::{Process, TargetError};
use serde::Serialize;

/// How much something stands in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not at all.
    Ok,
    /// Good to know: it takes longer, or something is not there that nothing needs.
    Note,
    /// A snapshot lacks something.
    Warn,
    /// There can be no snapshot.
    Stops,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What it is.
    pub what: &'static str,
    /// How it is.
    pub state: State,
    /// What was found, in words.
    pub finding: String,
    /// What to do about it.
    pub way_out: Option<String>,
    /// Places that were looked at and not taken, each with the reason.
    pub looked_at: Vec<String>,
}

impl Check {
    fn new(what: &'static str, state: State, finding: impl Into<String>) -> Check {
        Check { what, state, finding: finding.into(), way_out: None, looked_at: Vec::new() }
    }

    fn ok(what: &'static str, finding: impl Into<String>) -> Check {
        Check::new(what, State::Ok, finding)
    }

    fn way_out(self, way_out: impl Into<String>) -> Check {
        Check { way_out: Some(way_out.into()), ..self }
    }
}

/// All that was looked at for one process.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Diagnosis {
    /// The process.
    pub pid: i32,
    /// Its title, if it can be read.
    pub title: Option<String>,
    /// What comes of a snapshot: the worst of the checks.
    pub verdict: State,
    /// What was looked at.
    pub checks: Vec<Check>,
    /// How long it would stand still; `None` if that cannot be foreseen.
    pub expected_pause: Option<ExpectedPause>,
    /// Memory that poolscope would need; `None` if that cannot be foreseen.
    pub own_memory: Option<OwnMemory>,
}

/// Looks at the process `pid` and at this machine. The process is read, never stopped and never traced.
///
/// # Errors
/// [`SnapshotError`] if there is no such process, or nothing that could have a heap: a thread, a kernel thread, a zombie.
pub fn examine(
    pid: i32,
    options: &Options,
    known: &KnownFiles,
    progress: &dyn Progress,
) -> Result<Diagnosis, SnapshotError> {
    let mut diagnosis = Diagnosis {
        pid,
        title: guess::title_of(pid),
        verdict: State::Ok,
        checks: Vec::new(),
        expected_pause: None,
        own_memory: None,
    };
    let prepared = match Process::look(pid) {
        Ok(process) => prepare_process(process, options, known, progress),
        // What keeps us from reading is told; all else that can be known is told as well.
        Err(error @ (TargetError::NoPermission { .. } | TargetError::Proc { .. })) => Err(error.into()),
        Err(error) => return Err(error.into()),
    };
    let checks = &mut diagnosis.checks;
    checks.push(access::permission(pid, prepared.as_ref().err()));
    checks.push(access::tracer(pid));
    checks.extend(prepared.as_ref().ok().and_then(|target| access::stopped(&target.process)));
    match &prepared {
        Ok(target) => checks.extend(files::checks(&target.prepared)),
        Err(error) => checks.extend(guess::checks(pid, error, options)),
    }
    checks.extend(machine::checks());
    match &prepared {
        Ok(target) => foresee(target, options, progress, &mut diagnosis),
        Err(_) => checks.push(pause::unknown("the process cannot be read")),
    }
    diagnosis.verdict = diagnosis.checks.iter().map(|check| check.state).max().unwrap_or(State::Ok);
    Ok(diagnosis)
}

/// Adds what a rehearsal tells.
fn foresee(target: &LiveTarget, options: &Options, progress: &dyn Progress, diagnosis: &mut Diagnosis) {
    let Some(glibc) = &target.prepared.glibc else {
        diagnosis.checks.push(pause::unknown("the heap cannot be walked, so that nothing is stopped for it"));
        return;
    };
    progress.step("rehearsing on the running process");
    match pause::foresee(target, glibc, options.max_pause) {
        Ok((pause, memory)) => {
            let refused = target.footprint.check(target.process.pid, pause.chunks).err();
            let memory_check = match refused {
                Some(error) => Check::new("own memory", State::Stops, error.to_string()),
                None => memory.check(),
            };
            diagnosis.checks.extend([memory_check, pause.check()]);
            (diagnosis.expected_pause, diagnosis.own_memory) = (Some(pause), Some(memory));
        }
        Err(fault) => diagnosis.checks.push(pause::unknown(&format!("malloc's state could not be read: {fault}"))),
    }
}
