//! One traced thread: its stops, the signals that arrive meanwhile, and where it stands.

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// `PTRACE_EVENT_STOP` of Linux' `include/uapi/linux/ptrace.h`: the stop that `PTRACE_INTERRUPT` asks for.
const EVENT_STOP: i32 = 128;

/// How a wait for a stop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Stopped because we asked, or by a group-stop that was there already.
    Interrupted,
    /// Stopped at the entry or exit of a system call.
    Syscall,
    /// About to receive a signal, which is kept and delivered when the thread goes on.
    Signal,
    /// The thread is gone.
    Gone,
    /// It did not stop in time.
    TimedOut,
}

/// A thread that we have seized.
#[derive(Debug)]
pub(super) struct TracedThread {
    pub(super) tid: Pid,
    /// A signal taken off the thread by a signal-delivery-stop; it goes back with the next resume or the detach, so that
    /// it is delivered exactly once.
    pending: Option<Signal>,
    /// Since when it has been standing still; `None` while it runs.
    stopped_at: Option<Instant>,
    longest_stop: Duration,
    gone: bool,
}

impl TracedThread {
    /// Attaches without stopping. `Ok(None)` if the thread has exited in the meantime.
    pub(super) fn seize(tid: Pid) -> Result<Option<TracedThread>, Errno> {
        match ptrace::seize(tid, ptrace::Options::PTRACE_O_TRACESYSGOOD) {
            Ok(()) => Ok(Some(TracedThread {
                tid,
                pending: None,
                stopped_at: None,
                longest_stop: Duration::ZERO,
                gone: false,
            })),
            Err(Errno::ESRCH) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped_at.is_some()
    }

    pub(super) fn longest_stop(&self) -> Duration {
        self.longest_stop
    }

    /// Asks the thread to stop; [`TracedThread::wait`] tells when it has.
    pub(super) fn interrupt(&mut self) {
        if ptrace::interrupt(self.tid) == Err(Errno::ESRCH) {
            self.gone = true;
        }
    }

    /// Waits for the next stop. Polls with a short sleep instead of blocking: a thread in uninterruptible sleep (a hung
    /// NFS mount, say) would otherwise hold us, and with us all threads that have stopped already.
    pub(super) fn wait(&mut self, deadline: Instant) -> Stop {
        let mut nap = Duration::from_micros(2);
        loop {
            if self.gone {
                return Stop::Gone;
            }
            match waitpid(self.tid, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => {}
                Ok(status) => return self.note(status),
                Err(Errno::EINTR) => continue,
                Err(_) => self.gone = true,
            }
            if Instant::now() >= deadline {
                return Stop::TimedOut;
            }
            std::thread::sleep(nap);
            nap = (nap * 2).min(Duration::from_micros(200));
        }
    }

    fn note(&mut self, status: WaitStatus) -> Stop {
        match status {
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => {
                self.gone = true;
                self.stopped_at = None;
                return Stop::Gone;
            }
            _ => self.stopped_at = Some(Instant::now()),
        }
        match status {
            WaitStatus::PtraceSyscall(_) => Stop::Syscall,
            WaitStatus::Stopped(_, signal) => {
                self.pending = Some(signal);
                Stop::Signal
            }
            WaitStatus::PtraceEvent(_, _, EVENT_STOP) => Stop::Interrupted,
            _ => Stop::Interrupted,
        }
    }

    /// Lets the thread run to its next system call, with the signal that it was about to receive.
    pub(super) fn resume_to_syscall(&mut self) {
        let signal = self.pending.take();
        self.close_stop();
        if ptrace::syscall(self.tid, signal).is_err() {
            self.gone = true;
        }
    }

    /// Lets the thread go for good. Works only on a stopped thread; a running one must be interrupted first.
    pub(super) fn detach(&mut self) {
        if self.gone {
            return;
        }
        let signal = self.pending.take();
        // ESRCH means that it was killed in the meantime; there is nothing left to let go.
        let _ = ptrace::detach(self.tid, signal);
        self.close_stop();
        self.gone = true;
    }

    fn close_stop(&mut self) {
        if let Some(since) = self.stopped_at.take() {
            self.longest_stop = self.longest_stop.max(since.elapsed());
        }
    }

    /// The number of the system call the thread stands in; `None` in user code, or if the kernel does not tell.
    pub(super) fn system_call(&self) -> Option<i64> {
        let line = std::fs::read_to_string(format!("/proc/{0}/task/{0}/syscall", self.tid)).ok()?;
        line.split(' ').next()?.trim().parse::<i64>().ok().filter(|number| *number >= 0)
    }
}

/// Where the thread's own data begins: the value of the register that thread-local variables are addressed by. `None` if
/// the thread is gone. It must be stopped and traced by the calling thread.
#[cfg(target_arch = "x86_64")]
pub(super) fn thread_pointer(tid: Pid) -> Option<u64> {
    ptrace::getregs(tid).ok().map(|registers| registers.fs_base)
}

/// Where the thread's own data begins. `None` on this architecture, whose register nix does not give out: thread caches
/// are then not found, which the report says.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn thread_pointer(_tid: Pid) -> Option<u64> {
    None
}
