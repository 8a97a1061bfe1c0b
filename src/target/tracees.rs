//! What tracees have to say, and who has to listen: ended ones are reaped, and ones that a signal has stopped go on with it.
//!
//! Waiting and resuming go to the kernel directly. nix knows signals 1 to 31 only: a real-time signal that stops a thread
//! would come back as an error, and the signal would be lost with the detach.

use nix::errno::Errno;
use nix::libc::{self, c_int, c_long, c_uint};
use nix::unistd::Pid;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// `PTRACE_O_TRACESYSGOOD` sets this bit in the signal number of system call stops.
const SYSCALL_STOP: c_int = 0x80;

/// The status of a thread that has stopped or ended; `Ok(None)` if it has not.
pub(super) fn wait_without_blocking(tid: Pid) -> Result<Option<c_int>, Errno> {
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

/// Reaps a tracee if it has ended; leaves alone what it has to say otherwise.
pub(super) fn reap_if_ended(tid: Pid) {
    if matches!(news_of(tid), Some(News::Ended)) {
        take_news(tid);
    }
}

/// The same, and resumes a tracee that has stopped because it is about to receive a signal, with that signal. One that has
/// stopped because we or somebody else wanted it to is left alone.
pub(super) fn attend(tid: Pid) {
    match news_of(tid) {
        Some(News::Ended) => take_news(tid),
        Some(News::Signal) => {
            if let Ok(Some(status)) = wait_without_blocking(tid)
                && is_signal_delivery(status)
            {
                // It may be killed at any time.
                let _ = resume(libc::PTRACE_CONT, tid, libc::WSTOPSIG(status));
            }
        }
        Some(News::Other) | None => {}
    }
}

/// What a tracee has to say.
enum News {
    Ended,
    /// It is about to receive a signal.
    Signal,
    Other,
}

/// What a tracee has to say, which it says again when it is asked the next time. (`waitid` tells of its stops also where only
/// ends were asked for.)
fn news_of(tid: Pid) -> Option<News> {
    let news = wait_for_news(tid, libc::WSTOPPED | libc::WNOWAIT)?;
    // SAFETY: a siginfo_t that `waitid` has filled has the fields of SIGCHLD.
    let status = unsafe { news.si_status() };
    match news.si_code {
        libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED => Some(News::Ended),
        libc::CLD_TRAPPED if is_signal_delivery(status << 8 | 0x7f) => Some(News::Signal),
        // Nothing.
        0 => None,
        _ => Some(News::Other),
    }
}

/// Reaps a tracee that has ended.
fn take_news(tid: Pid) {
    wait_for_news(tid, 0);
}

fn wait_for_news(tid: Pid, how: c_int) -> Option<libc::siginfo_t> {
    // SAFETY: a siginfo_t is made of integers and pointers, for which zero is a value.
    let mut news: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let how = libc::WEXITED | libc::WNOHANG | libc::__WALL | how;
    // SAFETY: `news` is a valid place for what the kernel writes, for as long as the call takes.
    let answer = unsafe { libc::waitid(libc::P_PID, tid.as_raw().cast_unsigned(), &raw mut news, how) };
    (answer == 0).then_some(news)
}

/// True for the wait status of a thread that has stopped because it is about to receive a signal (`ptrace(2)`,
/// signal-delivery-stop).
pub(super) fn is_signal_delivery(status: c_int) -> bool {
    libc::WIFSTOPPED(status) && status >> 16 == 0 && libc::WSTOPSIG(status) != libc::SIGTRAP | SYSCALL_STOP
}

/// True for a thread that is a zombie, or is no more.
pub(super) fn has_ended(tid: Pid) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{tid}/stat")) else { return true };
    // The name stands in parentheses and may hold spaces and parentheses itself.
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}

/// Resumes a stopped tracee by `request` and delivers `signal` to it, unless that is 0.
pub(super) fn resume(request: c_uint, tid: Pid, signal: c_int) -> Result<(), Errno> {
    // SAFETY: PTRACE_SYSCALL, PTRACE_CONT and PTRACE_DETACH take no pointer: the address is ignored, and the data is a signal number.
    let answer = unsafe { libc::ptrace(request, tid.as_raw(), 0 as c_long, c_long::from(signal)) };
    Errno::result(answer).map(drop)
}
