//! How a command ended.

use crate::snapshot::model::Snapshot;
use std::io;
use std::process::ExitCode;

/// How a command ended; 2, wrong usage, is told by clap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Everything was done.
    Fine,
    /// It was done, but something is missing or does not agree.
    Incomplete,
    /// It could not be done, or not for all processes that were named.
    Failed,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> ExitCode {
        match outcome {
            Outcome::Fine => ExitCode::SUCCESS,
            Outcome::Failed => ExitCode::from(1),
            Outcome::Incomplete => ExitCode::from(3),
        }
    }
}

/// What is missing from a snapshot, in words; `None` if nothing is.
pub(super) fn shortcoming(snapshot: &Snapshot) -> Option<String> {
    let Some(coverage) = snapshot.coverage else {
        return Some("the heap was not walked".to_owned());
    };
    if coverage < 1.0 {
        return Some(format!("{:.2} % of the heap was accounted for", (coverage * 10_000.0).floor() / 100.0));
    }
    if !snapshot.is_complete() || !snapshot.pool_check.only_by_name.is_empty() {
        return Some("some of what was found does not agree".to_owned());
    }
    // A server without layouts has pools that nobody could see.
    let blind = snapshot.process.server.is_some() && snapshot.layouts.nginx.kind == "none";
    blind.then(|| "its pools could not be recognised without nginx's debug info".to_owned())
}

/// The outcome of an error that ended the command, after saying it. A reader who has seen enough (`| head`) is no error.
pub(super) fn of_error(error: anyhow::Error) -> Outcome {
    let closed = error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe));
    if closed {
        return Outcome::Fine;
    }
    eprintln!("poolscope: {error:#}");
    Outcome::Failed
}
