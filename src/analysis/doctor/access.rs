//! May we look at all.

use super::{Check, State};
use crate::analysis::SnapshotError;
use crate::target::access::{self, Refusal};
use crate::target::probes;
use crate::target::process::{Process, TargetError, tracer_of};

/// Whether its memory may be read and its threads be stopped; `error` is why it could not be studied.
pub(super) fn permission(pid: i32, error: Option<&SnapshotError>) -> Check {
    const WHAT: &str = "permission";
    match error {
        Some(SnapshotError::Target(TargetError::NoPermission { refusal, .. })) => refused(WHAT, refusal),
        _ if !probes::may_call_ptrace() => Check::new(
            WHAT,
            State::Stops,
            "its memory may be read, but not stopped: a seccomp profile refuses the system call ptrace to us",
        )
        .way_out("run poolscope on the host, or in a container with --security-opt seccomp=unconfined"),
        Some(SnapshotError::Target(error)) => Check::new(WHAT, State::Stops, error.to_string()),
        // What else went wrong has a line of its own.
        _ => Check::ok(WHAT, format!("its memory may be read and it may be stopped ({})", access::reason(pid))),
    }
}

fn refused(what: &'static str, refusal: &Refusal) -> Check {
    let sentence = refusal.to_string();
    // Each says first what is missing, and then the way out.
    let (finding, way_out) = sentence.split_once(": ").unwrap_or((&sentence, ""));
    let mut finding = format!("refused: {finding}");
    let mut way_out = way_out.to_owned();
    if probes::in_user_namespace() {
        finding.push_str("; we are in a user namespace, whose capabilities do not count outside it");
        way_out.push_str("; from outside this user namespace (as root of the host)");
    }
    Check::new(what, State::Stops, finding).way_out(way_out)
}

/// Whether somebody else traces it.
pub(super) fn tracer(pid: i32) -> Check {
    const WHAT: &str = "tracer";
    match tracer_of(pid) {
        None => Check::ok(WHAT, "nobody traces it"),
        Some((_, name)) if name == "poolscope" => {
            Check::new(WHAT, State::Note, "another poolscope reads it now: they take turns")
        }
        Some((tracer, name)) => {
            Check::new(WHAT, State::Stops, format!("{tracer} ({name}) traces it, and Linux allows one tracer"))
                .way_out("detach that one first")
        }
    }
}

/// Whether a signal has stopped it; nothing if not.
pub(super) fn stopped(process: &Process) -> Option<Check> {
    let finding = process.stopped_words()?;
    Some(Check::new("stopped", State::Note, finding))
}
