//! One traced thread: its stops, the signals that arrive meanwhile, and where it stands.
//!
//! Waiting and resuming go to the kernel directly. nix knows signals 1 to 31 only: a real-time signal that stops a thread
//! would come back as an error, and the signal would be lost with the detach.

use nix::errno::Errno;
use nix::libc::{self, c_int, c_long, c_uint};
use nix::sys::ptrace;
use nix::unistd::Pid;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// `PTRACE_EVENT_STOP` of Linux' `include/uapi/linux/ptrace.h`: the stop that `PTRACE_INTERRUPT` asks for, and a
/// group-stop.
const EVENT_STOP: c_int = 128;

/// `PTRACE_O_TRACESYSGOOD` sets this bit in the signal number of system call stops.
const SYSCALL_STOP: c_int = 0x80;

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
    /// Attaches without stopping. `Ok(None)` if the thread has exited in the meantime.
    pub(super) fn seize(tid: Pid) -> Result<Option<TracedThread>, Errno> {
        match ptrace::seize(tid, ptrace::Options::PTRACE_O_TRACESYSGOOD) {
            Ok(()) => Ok(Some(TracedThread {
                tid,
                pending: 0,
                ran_at: Instant::now(),
                stopped_at: None,
                longest_stop: Duration::ZERO,
                in_group_stop: false,
                gone: false,
            })),
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
    /// reaps what has ended of all.
    pub(super) fn wait(&mut self, deadline: Instant, company: &[Pid]) -> Stop {
        /// A thread that stops at all has mostly done so before the naps are as long as this.
        const LONG_NAP: Duration = Duration::from_micros(100);
        let mut nap = Duration::from_micros(2);
        while !self.gone {
            let now = Instant::now();
            match wait_without_blocking(self.tid) {
                Ok(Some(status)) => return self.note(status),
                Ok(None) if now >= deadline => return Stop::TimedOut,
                Ok(None) => {
                    self.ran_at = now;
                    if nap > LONG_NAP {
                        company.iter().filter(|tid| **tid != self.tid).for_each(|tid| reap_if_ended(*tid));
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
            0 if signal != libc::SIGTRAP | SYSCALL_STOP => self.pending = signal,
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
    pub(super) fn detach(&mut self, company: &[Pid]) {
        if self.gone || !self.is_stopped() {
            return;
        }
        let signal = std::mem::take(&mut self.pending);
        let detached = resume(libc::PTRACE_DETACH, self.tid, signal);
        self.close_stop();
        if detached.is_err() {
            self.detach_running(company);
        }
        self.gone = true;
    }

    /// Lets go of what has this thread's id and is not stopped: mostly nothing, the thread was killed in the meantime. But when
    /// another thread has called `execve`, that one is traced by us under the id of the first from then on.
    fn detach_running(&mut self, company: &[Pid]) {
        const PATIENCE: Duration = Duration::from_millis(200);
        self.interrupt();
        if self.wait(Instant::now() + PATIENCE, company) == Stop::Stopped {
            let signal = std::mem::take(&mut self.pending);
            // It may be killed at any time.
            let _ = resume(libc::PTRACE_DETACH, self.tid, signal);
            self.close_stop();
        }
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

/// The status of a thread that has stopped or ended; `Ok(None)` if it has not.
fn wait_without_blocking(tid: Pid) -> Result<Option<c_int>, Errno> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the one int that the kernel writes, for as long as the call takes.
    let answer = unsafe { libc::waitpid(tid.as_raw(), &raw mut status, libc::__WALL | libc::WNOHANG) };
    Errno::result(answer).map(|found| (found != 0).then_some(status))
}

/// The threads that we have attached to so far, for who reaps them.
#[derive(Debug, Default)]
pub(super) struct Company(Mutex<Vec<Pid>>);

impl Company {
    pub(super) fn add(&self, tid: Pid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(tid);
    }

    fn reap(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|tid| reap_if_ended(*tid));
    }
}

/// Sets a flag at the end, also at that of a panic.
struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Attaches to several threads of one process; meanwhile another thread of ours reaps what ends of them. A thread of the target
/// that calls `execve` keeps everybody from attaching until the other threads are gone, of which ours are gone only when they
/// are reaped: whoever attached to one and attaches to the next would wait for it, and it for us, for ever.
pub(super) fn while_reaping<R>(attach: impl FnOnce(&Company) -> R) -> R {
    const NAP: Duration = Duration::from_millis(2);
    let (company, is_over) = (Company::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let reaper = std::thread::Builder::new().spawn_scoped(scope, || {
            while !is_over.load(Ordering::Acquire) {
                std::thread::park_timeout(NAP);
                company.reap();
            }
        });
        let over = SetWhenDropped(&is_over);
        let answer = attach(&company);
        drop(over);
        // Without a further thread it is a rare process that comes to harm.
        if let Ok(reaper) = reaper {
            reaper.thread().unpark();
        }
        answer
    })
}

/// Reaps a tracee if it has ended; leaves alone what it has to say otherwise: `waitid` tells of a tracee's stops also where
/// only ends were asked for, so it must not take away what it tells at first.
fn reap_if_ended(tid: Pid) {
    let look = |how: c_int| {
        // SAFETY: a siginfo_t is made of integers and pointers, for which zero is a value.
        let mut news: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let how = libc::WEXITED | libc::WNOHANG | libc::__WALL | how;
        // SAFETY: `news` is a valid place for what the kernel writes, for as long as the call takes.
        let answer = unsafe { libc::waitid(libc::P_PID, tid.as_raw().cast_unsigned(), &raw mut news, how) };
        answer == 0 && matches!(news.si_code, libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED)
    };
    if look(libc::WNOWAIT) {
        look(0);
    }
}

/// True for a thread that is a zombie, or is no more.
fn has_ended(tid: Pid) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{tid}/stat")) else { return true };
    // The name stands in parentheses and may hold spaces and parentheses itself.
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}

/// Resumes a stopped tracee by `request` and delivers `signal` to it, unless that is 0.
fn resume(request: c_uint, tid: Pid, signal: c_int) -> Result<(), Errno> {
    // SAFETY: PTRACE_SYSCALL, PTRACE_CONT and PTRACE_DETACH take no pointer: the address is ignored, and the data is a signal number.
    let answer = unsafe { libc::ptrace(request, tid.as_raw(), 0 as c_long, c_long::from(signal)) };
    Errno::result(answer).map(drop)
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
