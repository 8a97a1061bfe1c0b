//! One traced thread: its stops, the signals that arrive meanwhile, and where it stands.

use super::tracees::{attend, has_ended, is_signal_delivery, reap_if_ended, resume, wait_without_blocking};
use nix::errno::Errno;
use nix::libc::{self, c_int, c_uint};
use nix::sys::ptrace;
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// `PTRACE_EVENT_STOP` of Linux' `include/uapi/linux/ptrace.h`: the stop that `PTRACE_INTERRUPT` asks for, and a
/// group-stop.
const EVENT_STOP: c_int = 128;

/// How often a thread that was asked to stop is asked again.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(10);

/// How a wait for a stop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Stopped because we asked, or at a system call, or about to receive a signal.
    Stopped,
    /// The thread is gone.
    Gone,
    /// It did not stop in time.
    TimedOut,
}

/// A thread that we have seized.
#[derive(Debug)]
pub(super) struct TracedThread {
    pub(super) tid: Pid,
    /// The number of a signal taken off the thread by a signal-delivery-stop, 0 if there is none. It goes back with the next
    /// resume or the detach, so that it is delivered exactly once.
    pending: c_int,
    /// The latest time that it is known to have run.
    ran_at: Instant,
    /// Since when it has been standing still at the earliest; `None` while it runs. We see a stop some time after it began:
    /// what is printed as the pause is never shorter than what the target went through.
    stopped_at: Option<Instant>,
    longest_stop: Duration,
    in_group_stop: bool,
    gone: bool,
}

impl TracedThread {
    /// One that the calling thread traces already.
    pub(super) fn traced(tid: Pid) -> TracedThread {
        TracedThread {
            tid,
            pending: 0,
            ran_at: Instant::now(),
            stopped_at: None,
            longest_stop: Duration::ZERO,
            in_group_stop: false,
            gone: false,
        }
    }

    /// Attaches without stopping. `Ok(None)` if the thread has exited in the meantime.
    pub(super) fn seize(tid: Pid) -> Result<Option<TracedThread>, Errno> {
        match ptrace::seize(tid, ptrace::Options::PTRACE_O_TRACESYSGOOD) {
            Ok(()) => Ok(Some(TracedThread::traced(tid))),
            Err(Errno::ESRCH) => Ok(None),
            // A thread that has ended and is not reaped yet is refused like one that may not be traced.
            Err(Errno::EPERM) if has_ended(tid) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped_at.is_some()
    }

    /// True if it neither stands still nor is gone, as far as we have looked.
    pub(super) fn is_running(&self) -> bool {
        !self.gone && !self.is_stopped()
    }

    /// True if the whole process was stopped by a signal (SIGSTOP, SIGTSTP…): it must not be resumed, nobody asked for
    /// that.
    pub(super) fn is_in_group_stop(&self) -> bool {
        self.in_group_stop
    }

    pub(super) fn longest_stop(&self) -> Duration {
        self.longest_stop
    }

    /// Since when it has been standing still at the earliest; `None` while it runs.
    pub(super) fn stopped_at(&self) -> Option<Instant> {
        self.stopped_at
    }

    /// Asks the thread to stop; [`TracedThread::wait`] tells when it has.
    pub(super) fn interrupt(&mut self) {
        // A signal may have stopped it since we attached: it has been standing still since then and not since now.
        if let Ok(Some(status)) = wait_without_blocking(self.tid) {
            self.note(status);
            return;
        }
        self.ran_at = Instant::now();
        if ptrace::interrupt(self.tid) == Err(Errno::ESRCH) {
            self.gone = true;
        }
    }

    /// Waits for the next stop. Polls with a short sleep instead of blocking: a thread in uninterruptible sleep (a hung
    /// NFS mount, say) would otherwise hold us, and with us all threads that have stopped already.
    ///
    /// `company` are all threads that we trace. When one of them calls `execve`, the kernel ends all others and then waits
    /// until their tracer has reaped them; a process that exits is gone for its parent only then, too. So whoever waits for one
    /// reaps what has ended of all, and sends on its way whom a signal has stopped: until we have done that it stands still.
    pub(super) fn wait(&mut self, deadline: Instant, company: &[Pid]) -> Stop {
        /// A thread that stops at all has mostly done so before the naps are as long as this.
        const LONG_NAP: Duration = Duration::from_micros(100);
        let mut nap = Duration::from_micros(2);
        if self.is_stopped() {
            return Stop::Stopped;
        }
        while !self.gone {
            let now = Instant::now();
            match wait_without_blocking(self.tid) {
                Ok(Some(status)) => return self.note(status),
                // A main thread that has ended before the others is a zombie until they have, and never stops.
                Ok(None) if now >= deadline && has_ended(self.tid) => self.gone = true,
                Ok(None) if now >= deadline => {
                    self.ran_at = now;
                    return Stop::TimedOut;
                }
                Ok(None) => {
                    self.ran_at = now;
                    if nap > LONG_NAP {
                        company.iter().filter(|tid| **tid != self.tid).for_each(|tid| attend(*tid));
                    }
                    std::thread::sleep(nap);
                    nap = (nap * 2).min(Duration::from_micros(200));
                }
                Err(Errno::EINTR) => {}
                // ECHILD: it is no tracee of ours any more.
                Err(_) => self.gone = true,
            }
        }
        Stop::Gone
    }

    /// Takes what the thread has to say by now.
    pub(super) fn look(&mut self) {
        if !self.is_running() {
            return;
        }
        let now = Instant::now();
        match wait_without_blocking(self.tid) {
            Ok(Some(status)) => drop(self.note(status)),
            Ok(None) => self.ran_at = now,
            Err(Errno::EINTR) => {}
            // ECHILD: as above.
            Err(_) => self.gone = true,
        }
    }

    /// Waits for the stop of a thread that was asked for it, and asks again and again: when another thread calls `execve`, that
    /// one has this one's id from then on, and nobody has asked it.
    pub(super) fn wait_insisting(&mut self, deadline: Instant, company: &[Pid]) -> Stop {
        loop {
            match self.wait(deadline.min(Instant::now() + ASK_AGAIN), company) {
                Stop::TimedOut if Instant::now() < deadline => self.interrupt(),
                stop => return stop,
            }
        }
    }

    fn note(&mut self, status: c_int) -> Stop {
        if !libc::WIFSTOPPED(status) {
            self.gone = true;
            self.stopped_at = None;
            return Stop::Gone;
        }
        self.stopped_at = Some(self.ran_at);
        let signal = libc::WSTOPSIG(status);
        match status >> 16 {
            EVENT_STOP => self.in_group_stop = signal != libc::SIGTRAP,
            _ if is_signal_delivery(status) => self.pending = signal,
            _ => {}
        }
        Stop::Stopped
    }

    /// Lets the thread run to its next system call, with the signal that it was about to receive.
    pub(super) fn resume_to_syscall(&mut self) {
        self.resume_by(libc::PTRACE_SYSCALL);
    }

    /// Lets the thread run, with the signal that it was about to receive, until it is interrupted.
    pub(super) fn resume(&mut self) {
        self.resume_by(libc::PTRACE_CONT);
    }

    fn resume_by(&mut self, request: c_uint) {
        let signal = std::mem::take(&mut self.pending);
        self.ran_at = Instant::now();
        if resume(request, self.tid, signal).is_err() {
            self.gone = true;
            reap_if_ended(self.tid);
        }
        self.close_stop();
    }

    /// Lets the thread go for good, with the signal that it was about to receive. Works only on a stopped thread: one that
    /// never stopped is let go by the kernel when the thread of ours that traces it ends.
    ///
    /// It is not gone then if the kernel knows no stopped thread of that id: mostly it was killed in the meantime. But when
    /// another thread has called `execve`, that one is traced by us under the id of the first from then on, and has to stop
    /// before it can be let go.
    pub(super) fn detach(&mut self) {
        if self.gone || !self.is_stopped() {
            return;
        }
        let signal = std::mem::take(&mut self.pending);
        self.gone = resume(libc::PTRACE_DETACH, self.tid, signal).is_ok();
        self.close_stop();
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

/// The general registers of a thread, which must be stopped and traced by the calling thread; none if it is gone.
pub(super) fn registers(tid: Pid) -> Vec<u64> {
    /// More words than any machine has general registers.
    const MOST: usize = 64;
    /// `NT_PRSTATUS` of Linux' `include/uapi/linux/elf.h`: the general registers.
    const GENERAL: usize = 1;
    let mut words = [0u64; MOST];
    let mut place = libc::iovec { iov_base: words.as_mut_ptr().cast(), iov_len: size_of_val(&words) };
    // SAFETY: the kernel writes at most `iov_len` bytes to `words` and the length to `place`; both outlive the call.
    let answer = unsafe { libc::ptrace(libc::PTRACE_GETREGSET, tid.as_raw(), GENERAL, &raw mut place) };
    let filled = if answer < 0 { 0 } else { place.iov_len / size_of::<u64>() };
    words.into_iter().take(filled).collect()
}
