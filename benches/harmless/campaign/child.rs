//! One poolscope at work, which is going to be ended.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::signal::Signal;
use poolscope_fixtures::spawn_tied;

use super::Failure;

/// No run takes longer, whatever happens to it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts `poolscope snapshot` on `worker`. Its output fits into a pipe's buffer: it need not be read meanwhile.
pub(crate) fn start(binary: &Path, worker: u32, options: &[&str]) -> Result<Child, Failure> {
    let mut command = Command::new(binary);
    command.args(["snapshot", &worker.to_string()]).args(options);
    // Whoever runs the tests may want backtraces of those; a user of poolscope has not asked for any.
    command.env_remove("RUST_BACKTRACE");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: the closure only makes the system call setrlimit, which is async-signal-safe.
    unsafe { command.pre_exec(without_core) };
    // SAFETY: the closure only makes the system call rt_sigaction, which is async-signal-safe.
    unsafe { command.pre_exec(with_all_signals) };
    spawn_tied(command, Signal::SIGKILL).map_err(|cause| format!("starting {}: {cause}", binary.display()).into())
}

/// `SIGQUIT` and an abort would leave a core in the current folder each time.
fn without_core() -> std::io::Result<()> {
    let nothing = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel reads `nothing`, which outlives the call.
    match unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const nothing) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Whoever is started in the background, or by nohup, ignores some signals, and hands that on.
fn with_all_signals() -> std::io::Result<()> {
    for signal in [libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: the default disposition is no function of ours.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    Ok(())
}

/// Waits for its end; gives its status and what it wrote to standard error.
pub(crate) fn end_of(mut child: Child) -> Result<(ExitStatus, String), Failure> {
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if Instant::now() >= deadline => {
                child.kill()?;
                child.wait()?;
                return Err(format!("poolscope went on for {} s", PATIENCE.as_secs()).into());
            }
            None => std::thread::sleep(Duration::from_micros(200)),
        }
    };
    let mut errors = Vec::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_end(&mut errors)?;
    }
    Ok((status, String::from_utf8_lossy(&errors).into_owned()))
}
