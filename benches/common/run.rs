//! One run of one command: how long it took, and how much memory.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use poolscope_fixtures::spawn_tied;

use crate::common::scratch::Scratch;

/// What a run cost, and what it printed.
#[derive(Debug, Clone)]
pub(crate) struct Finished {
    pub(crate) wall: Duration,
    /// Processor time of the command and of those that it waited for: on a busy machine steadier than `wall`.
    #[allow(dead_code, reason = "not every benchmark shows it")]
    pub(crate) processor: Duration,
    /// Largest resident set of the command or of one of the processes that it started and waited for, in bytes. The
    /// kernel counts from the fork, so it is never less than the few MiB of this benchmark.
    #[allow(dead_code, reason = "not every benchmark shows it")]
    pub(crate) peak: u64,
    /// Exit status.
    #[allow(dead_code, reason = "most benchmarks accept only 0")]
    pub(crate) status: i32,
    pub(crate) stdout: String,
}

/// Runs `command` to its end, or kills it when `patience` is over.
///
/// # Errors
/// One sentence: that it could not be started, took too long, or failed, with the last line that it printed.
#[allow(dead_code, reason = "one benchmark accepts other exit statuses")]
pub(crate) fn run(command: Command, patience: Duration, scratch: &Scratch) -> Result<Finished, String> {
    run_accepting(command, &[0], patience, scratch)
}

/// The same for a command that has other exit statuses than 0 for success.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_accepting(
    mut command: Command,
    accepted: &[i32],
    patience: Duration,
    scratch: &Scratch,
) -> Result<Finished, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = |file: &str| scratch.disk.join(file);
    let create = |file: &str| File::create(output(file)).map_err(|cause| format!("creating {file}: {cause}"));
    command.stdin(Stdio::null()).stdout(create("stdout")?).stderr(create("stderr")?);
    // A group of its own, so that the gdb which gcore starts can be killed with it.
    command.process_group(0);
    // Otherwise gdb and drgn may ask servers for debug info.
    command.env_remove("DEBUGINFOD_URLS").env("PYTHONDONTWRITEBYTECODE", "1");
    let start = Instant::now();
    let child = spawn_tied(command, Signal::SIGKILL).map_err(|cause| format!("starting {name}: {cause}"))?;
    let (ended, usage, in_time) = wait_at_most(child.id().cast_signed(), patience);
    let wall = start.elapsed();
    let read = |file: &str| String::from_utf8_lossy(&fs::read(output(file)).unwrap_or_default()).into_owned();
    let (stdout, stderr) = (read("stdout"), read("stderr"));
    match ended {
        _ if !in_time => Err(format!("{name} was killed: it took longer than {} s", patience.as_secs())),
        Ok(ended) if ended.code().is_some_and(|status| accepted.contains(&status)) => {
            let status = ended.code().unwrap_or_default();
            Ok(Finished { wall, processor: usage.processor, peak: usage.peak, status, stdout })
        }
        Ok(status) => Err(format!("{name}: {status}: {}", last_line(&stderr))),
        Err(cause) => Err(format!("waiting for {name}: {cause}")),
    }
}

fn last_line(text: &str) -> &str {
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it printed no reason")
}

/// What the kernel says that a process took.
#[derive(Default)]
struct Usage {
    processor: Duration,
    /// Bytes.
    peak: u64,
}

/// Waits for `pid`, which leads a group; kills the group when `patience` is over. The last value is whether it ended by
/// itself.
fn wait_at_most(pid: i32, patience: Duration) -> (std::io::Result<ExitStatus>, Usage, bool) {
    let (done, waiting) = channel::<()>();
    std::thread::scope(|scope| {
        let watchdog = scope.spawn(move || {
            let in_time = waiting.recv_timeout(patience) != Err(RecvTimeoutError::Timeout);
            if !in_time {
                // It may have ended just now.
                let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            }
            in_time
        });
        let (status, usage) = wait(pid);
        drop(done);
        (status, usage, watchdog.join().unwrap_or(false))
    })
}

fn wait(pid: i32) -> (std::io::Result<ExitStatus>, Usage) {
    let mut status = 0;
    // SAFETY: rusage holds integers only, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to variables of ours that outlive the call.
        let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
        if waited == pid {
            // Linux gives ru_maxrss in KiB, getrusage(2).
            let processor = duration(usage.ru_utime) + duration(usage.ru_stime);
            return (
                Ok(ExitStatus::from_raw(status)),
                Usage { processor, peak: usage.ru_maxrss.unsigned_abs() * 1024 },
            );
        }
        let cause = std::io::Error::last_os_error();
        if cause.kind() != std::io::ErrorKind::Interrupted {
            return (Err(cause), Usage::default());
        }
    }
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec.unsigned_abs()) + Duration::from_micros(time.tv_usec.unsigned_abs())
}
