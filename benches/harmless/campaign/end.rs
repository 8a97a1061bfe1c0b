//! The ways in which poolscope is ended, and how it may end then.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::round::is_whole;

/// What befalls poolscope at a moment that it does not choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It gets a signal.
    Signal(Signal),
    /// Whoever read its standard output has gone.
    ClosedOutput,
    /// From now on it gets no more memory: what it asks the kernel for is refused. (What the kernel's own OOM killer does is
    /// `SIGKILL`.)
    NoMemory,
}

impl End {
    /// All of them.
    pub(crate) const ALL: [End; 9] = [
        End::Signal(Signal::SIGKILL),
        End::Signal(Signal::SIGINT),
        End::Signal(Signal::SIGTERM),
        End::Signal(Signal::SIGHUP),
        End::Signal(Signal::SIGPIPE),
        End::Signal(Signal::SIGQUIT),
        End::Signal(Signal::SIGXCPU),
        End::ClosedOutput,
        End::NoMemory,
    ];

    /// What it is called in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            End::Signal(signal) => signal.as_str(),
            End::ClosedOutput => "standard output closed",
            End::NoMemory => "no more memory",
        }
    }

    /// Lets it happen to `child`; it may have ended already.
    pub(crate) fn befall(self, child: &mut Child) {
        let pid = child.id().cast_signed();
        match self {
            End::Signal(signal) => drop(kill(Pid::from_raw(pid), signal)),
            End::ClosedOutput => drop(child.stdout.take()),
            End::NoMemory => forbid_more_memory(pid),
        }
    }

    /// What is wrong with how it ended, if anything is: a run ends as if nothing had happened, by that very signal, or, without
    /// memory, with one sentence.
    pub(crate) fn fault(self, status: ExitStatus, errors: &str) -> Option<String> {
        let told = |what: &str| Some(format!("{}: {what}: {status}; it said: {}", self.name(), errors.trim()));
        if self == End::NoMemory && is_for_want_of_memory(status, errors) {
            return None;
        }
        if errors.contains("panicked") || errors.contains("backtrace") {
            return told("a panic");
        }
        match (status.signal(), self) {
            _ if is_whole(status) || is_for_want_of_time(status, errors) => None,
            (Some(number), End::Signal(signal)) if number == signal as i32 => None,
            _ => told("not an end to expect"),
        }
    }
}

/// On a machine that others keep busy the worker may not come to its stop in time; it was let go.
pub(crate) fn is_for_want_of_time(status: ExitStatus, errors: &str) -> bool {
    status.code() == Some(1)
        && ["did not stop within", "could not be read in stops"].iter().any(|why| errors.contains(why))
}

/// Rust's library aborts where an allocation fails, and panics where a new thread gets no stack, or none for its signal handlers;
/// what else fails without memory is an error in one sentence.
fn is_for_want_of_memory(status: ExitStatus, errors: &str) -> bool {
    let is_told = ["memory allocation of ", "Cannot allocate memory", "failed to spawn thread"]
        .iter()
        .any(|words| errors.contains(words));
    match (status.code(), status.signal()) {
        (Some(1), _) => errors.starts_with("poolscope: "),
        (Some(101), _) | (_, Some(libc::SIGABRT)) => is_told,
        // The program is not loaded yet: the loader of shared libraries gives up.
        (Some(127), _) => errors.contains("shared libraries"),
        _ => false,
    }
}

/// Makes every further request of the process for address space fail, as `RLIMIT_AS` does.
fn forbid_more_memory(pid: i32) {
    let nothing = libc::rlimit { rlim_cur: 4096, rlim_max: 4096 };
    // SAFETY: the kernel reads `nothing`, which outlives the call, and writes nothing where the last pointer is null.
    let _ = unsafe { libc::prlimit(pid, libc::RLIMIT_AS, &raw const nothing, std::ptr::null_mut()) };
}
