//! How a command ended.

use crate::report::scope::Scope;
use crate::report::text::{keep_start, printable};
use crate::snapshot::model::{ProcessInfo, Snapshot};
use std::io;
use std::process::ExitCode;

/// How a command ended; 2, wrong usage, is told by clap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Everything was done.
    Fine,
    /// It was done, but something is missing or does not agree.
    Incomplete,
    /// It was done, and more has grown than was allowed.
    Grew,
    /// It could not be done, or not for all processes that were named.
    Failed,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> ExitCode {
        match outcome {
            Outcome::Fine => ExitCode::SUCCESS,
            Outcome::Failed => ExitCode::from(1),
            Outcome::Incomplete => ExitCode::from(3),
            Outcome::Grew => ExitCode::from(4),
        }
    }
}

/// What is missing from a snapshot, in words; `None` if nothing is.
pub(super) fn shortcoming(snapshot: &Snapshot) -> Option<String> {
    let Some(coverage) = snapshot.coverage else {
        return Some("the heap was not walked".to_owned());
    };
    let mut missing = Vec::new();
    if coverage < 1.0 {
        missing.push(format!("{:.2} % of the heap was accounted for", (coverage * 10_000.0).floor() / 100.0));
    } else if !snapshot.is_complete() {
        missing.push(match snapshot.freeze.as_ref().map_or(0, |freeze| freeze.stops) {
            0 | 1 => "some of what was found does not agree".to_owned(),
            stops => format!(
                "it was read in {stops} stops, and some of it changed in between (--single-stop reads all in one)"
            ),
        });
    }
    if snapshot.source.missing > 0 {
        missing.push(format!("{} bytes of the core are missing", snapshot.source.missing));
    }
    // For every command: rows of chunks name the kind of owner, too.
    if Scope::of(snapshot) == Scope::PoolsOnly {
        missing.push("owners of pools are not known without nginx's debug info".to_owned());
    }
    (!missing.is_empty()).then(|| missing.join(", and "))
}

/// Why no pools of that process can be listed; `None` if they can.
pub(super) fn why_no_pools(snapshot: &Snapshot) -> Option<String> {
    let ProcessInfo { pid, executable, .. } = &snapshot.process;
    match Scope::of(snapshot) {
        Scope::NotNginx => Some(format!("process {pid} has no pools: {executable} is not nginx")),
        Scope::PoolsOnly | Scope::Owners => not_walked(snapshot, "pools"),
    }
}

/// Why no chunks of that process can be listed; `None` if they can.
pub(super) fn why_no_chunks(snapshot: &Snapshot) -> Option<String> {
    not_walked(snapshot, "chunks")
}

fn not_walked(snapshot: &Snapshot, what: &str) -> Option<String> {
    if snapshot.books.is_some() {
        return None;
    }
    // What keeps the heap from being walked is noted before anything about nginx.
    let reason = snapshot.notes.first().map_or("its heap could not be walked", String::as_str);
    Some(format!("no {what} of process {} can be listed: {reason}", snapshot.process.pid))
}

/// The outcome of an error that ended the command, after saying it. A reader who has seen enough (`| head`) is no error.
pub(super) fn of_error(error: anyhow::Error) -> Outcome {
    let closed = error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe));
    if closed {
        return Outcome::Fine;
    }
    eprintln!("poolscope: {}", for_terminal(&format!("{error:#}")));
    Outcome::Failed
}

/// A sentence as a terminal may be sent it: paths and versions come from files that anybody may have made.
pub(super) fn for_terminal(sentence: &str) -> String {
    const LONGEST: usize = 4000;
    keep_start(&printable(sentence, true), LONGEST, "...")
}
