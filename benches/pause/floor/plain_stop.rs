//! All threads of a process stopped with `PTRACE_SEIZE` and `PTRACE_INTERRUPT`, wherever they are.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::common::Failure;

/// A stopped process. Its threads run again when this is dropped, or when the thread that made it ends.
pub(super) struct PlainStop {
    threads: Vec<Pid>,
    since: Instant,
}

impl PlainStop {
    /// Stops the threads that there are.
    pub(super) fn begin(pid: Pid) -> Result<PlainStop, Failure> {
        let mut threads = Vec::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let thread = Pid::from_raw(entry?.file_name().to_string_lossy().parse()?);
            ptrace::seize(thread, ptrace::Options::empty())
                .map_err(|errno| format!("attaching to {thread}: {errno}"))?;
            threads.push(thread);
        }
        let stop = PlainStop { threads, since: Instant::now() };
        for &thread in &stop.threads {
            ptrace::interrupt(thread).map_err(|errno| format!("stopping {thread}: {errno}"))?;
        }
        for &thread in &stop.threads {
            waitpid(thread, Some(WaitPidFlag::__WALL)).map_err(|errno| format!("waiting for {thread}: {errno}"))?;
        }
        Ok(stop)
    }

    /// Lets them go. Returns the time since the first was stopped.
    pub(super) fn end(self) -> Duration {
        self.detach();
        self.since.elapsed()
    }

    fn detach(&self) {
        for &thread in &self.threads {
            // One that has ended needs it no more.
            let _ = ptrace::detach(thread, None);
        }
    }
}

impl Drop for PlainStop {
    fn drop(&mut self) {
        self.detach();
    }
}
