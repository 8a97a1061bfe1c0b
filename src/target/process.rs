//! Who the target is, and whether it can be looked at: checked before anything touches it.

use crate::target::access;
use procfs::process::Stat;
use std::path::PathBuf;
use thiserror::Error;

/// Why a pid cannot be studied. Each message names the thing, the cause and the way out.
#[derive(Debug, Error)]
pub enum TargetError {
    /// No such pid.
    #[error("there is no process {0}: `poolscope ps` lists the nginx workers")]
    NoSuchProcess(i32),
    /// A thread's id was given.
    #[error("{tid} is a thread of process {pid} ({name}): give {pid}, all its threads are looked at together")]
    Thread {
        /// The number that was given.
        tid: i32,
        /// The process it belongs to.
        pid: i32,
        /// The process's name.
        name: String,
    },
    /// A kernel thread.
    #[error("{pid} ({name}) is a kernel thread, which has no heap: give the pid of an nginx worker")]
    KernelThread {
        /// Its pid.
        pid: i32,
        /// Its name.
        name: String,
    },
    /// A process that has exited and was not waited for.
    #[error(
        "{pid} ({name}) is a zombie, its memory is already gone: it waits only for its parent {parent} to collect it"
    )]
    Zombie {
        /// Its pid.
        pid: i32,
        /// Its name.
        name: String,
        /// Its parent.
        parent: i32,
    },
    /// Somebody else traces it.
    #[error(
        "{pid} ({name}) is already traced by {tracer} ({tracer_name}), and Linux allows one tracer: detach that one first"
    )]
    AlreadyTraced {
        /// The target.
        pid: i32,
        /// Its name.
        name: String,
        /// Who traces it.
        tracer: i32,
        /// The tracer's name.
        tracer_name: String,
    },
    /// The kernel refused.
    #[error("may not read the memory of {pid} ({name}): {refusal}")]
    NoPermission {
        /// The target.
        pid: i32,
        /// Its name.
        name: String,
        /// Which permission is missing, and the way out.
        refusal: access::Refusal,
    },
    /// The process ended while it was looked at.
    #[error("process {0} exited while it was being read: nothing was left behind; give another worker's pid")]
    Exited(i32),
    /// The pid now names another process.
    #[error("process {0} exited and another one has got its pid: look up the worker's pid again")]
    Reused(i32),
    /// The same process runs another program now.
    #[error("process {0} became another program (execve) while it was being read: nothing was left behind; try again")]
    Replaced(i32),
    /// Other failures of reading `/proc`.
    #[error("cannot read {file} of process {pid}: {source}")]
    Proc {
        /// The target.
        pid: i32,
        /// Which file.
        file: &'static str,
        /// The cause.
        source: procfs::ProcError,
    },
}

impl TargetError {
    /// The error of a failed read of `/proc/PID/file`: a vanished file means a vanished process.
    pub fn from_proc(pid: i32, file: &'static str, source: procfs::ProcError) -> TargetError {
        let name = || comm(pid).unwrap_or_else(|| "?".to_owned());
        match source {
            procfs::ProcError::NotFound(_) => TargetError::Exited(pid),
            procfs::ProcError::PermissionDenied(_) => {
                TargetError::NoPermission { pid, name: name(), refusal: access::explain(pid) }
            }
            procfs::ProcError::Io(error, _) if error.raw_os_error() == Some(nix::errno::Errno::ESRCH as i32) => {
                TargetError::Exited(pid)
            }
            source => TargetError::Proc { pid, file, source },
        }
    }
}

/// A process that can be studied.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its pid in our pid namespace.
    pub pid: i32,
    /// Its parent's pid.
    pub parent: i32,
    /// The name the kernel shows (`comm`).
    pub name: String,
    /// Its command line as one string; nginx writes its role there ("nginx: worker process").
    pub title: String,
    /// Where its binary is, as the link `/proc/PID/exe` says, in its own mount namespace.
    pub executable: PathBuf,
    /// When it started, in clock ticks after boot: with the pid this names the process for good.
    pub start_ticks: u64,
    /// When its parent started, if that is in sight.
    pub parent_start_ticks: Option<u64>,
    /// When it started, in seconds since 1970, to some hundredths.
    pub started_at: Option<f64>,
    /// Seconds since it started.
    pub age_seconds: u64,
    /// Resident bytes.
    pub resident: u64,
    /// True if a signal has stopped it (SIGSTOP, or one of those of its terminal): a tracer's stop is not meant.
    pub is_stopped: bool,
}

/// PF_KTHREAD of Linux' `include/linux/sched.h`, in field 9 of `/proc/PID/stat`.
const PF_KTHREAD: u32 = 0x0020_0000;

impl Process {
    /// Looks the pid up and refuses what cannot be studied, without touching the process.
    ///
    /// # Errors
    /// [`TargetError`], one variant for each cause.
    pub fn find(pid: i32) -> Result<Process, TargetError> {
        Process::look_up(pid, true)
    }

    /// The same for who only looks and stops nothing: also of a process that somebody traces.
    ///
    /// # Errors
    /// As [`Process::find`], but never [`TargetError::AlreadyTraced`].
    pub fn look(pid: i32) -> Result<Process, TargetError> {
        Process::look_up(pid, false)
    }

    fn look_up(pid: i32, is_to_be_traced: bool) -> Result<Process, TargetError> {
        let entry = procfs::process::Process::new(pid).map_err(|_| TargetError::NoSuchProcess(pid))?;
        let status = entry.status().map_err(|error| TargetError::from_proc(pid, "status", error))?;
        let name = status.name.clone();
        if status.tgid != pid {
            let name = comm(status.tgid).unwrap_or(name);
            return Err(TargetError::Thread { tid: pid, pid: status.tgid, name });
        }
        let stat = entry.stat().map_err(|error| TargetError::from_proc(pid, "stat", error))?;
        if stat.flags & PF_KTHREAD != 0 {
            return Err(TargetError::KernelThread { pid, name });
        }
        if matches!(stat.state, 'Z' | 'X') {
            return Err(TargetError::Zombie { pid, name, parent: stat.ppid });
        }
        // Another poolscope will let go in some milliseconds: the stop waits for it. A debugger will not.
        let tracer = is_to_be_traced.then(|| tracer_of(pid)).flatten();
        if let Some((tracer, tracer_name)) = tracer.filter(|(_, tracer)| tracer != OURSELVES) {
            return Err(TargetError::AlreadyTraced { pid, name, tracer, tracer_name });
        }
        let executable = entry.exe().map_err(|error| TargetError::from_proc(pid, "exe", error))?;
        let title = entry.cmdline().map(|words| words.join(" ").trim_end().to_owned()).unwrap_or_default();
        Ok(Process {
            pid,
            parent: stat.ppid,
            title: if title.is_empty() { name.clone() } else { title },
            name,
            executable,
            start_ticks: stat.starttime,
            parent_start_ticks: start_ticks_of(stat.ppid),
            started_at: started_at(&stat),
            age_seconds: age_seconds(&stat),
            resident: status.vmrss.unwrap_or(0) * 1024,
            // A stop of a tracer is a `t` (Linux 2.6.33, proc_pid_stat(5)).
            is_stopped: stat.state == 'T',
        })
    }

    /// What a stop by a signal means for whoever waits for an answer.
    pub fn stopped_words(&self) -> Option<String> {
        let Process { pid, .. } = self;
        self.is_stopped.then(|| {
            format!(
                "process {pid} was stopped before poolscope came, by a signal (SIGSTOP, SIGTSTP), and stays so: it answers \
                 nobody until `kill -CONT {pid}`"
            )
        })
    }

    /// Confirms that the pid still names the same process.
    ///
    /// # Errors
    /// [`TargetError::Exited`] or [`TargetError::Reused`].
    pub fn confirm(&self) -> Result<(), TargetError> {
        let stat = procfs::process::Process::new(self.pid)
            .and_then(|entry| entry.stat())
            .map_err(|_| TargetError::Exited(self.pid))?;
        match stat.starttime == self.start_ticks {
            true => Ok(()),
            false => Err(TargetError::Reused(self.pid)),
        }
    }
}

/// When a process started, in clock ticks after boot.
fn start_ticks_of(pid: i32) -> Option<u64> {
    procfs::process::Process::new(pid).and_then(|entry| entry.stat()).ok().map(|stat| stat.starttime)
}

/// The name of this machine.
pub fn host() -> Option<String> {
    trimmed("/proc/sys/kernel/hostname")
}

/// The kernel's name for the time since this machine was booted.
pub fn boot_id() -> Option<String> {
    trimmed("/proc/sys/kernel/random/boot_id")
}

fn trimmed(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim_end().to_owned()).filter(|text| !text.is_empty())
}

/// The kernel's own boot time (`btime` in `/proc/stat`) is in whole seconds: now and the time since the boot tell more.
fn started_at(stat: &Stat) -> Option<f64> {
    let up: f64 = std::fs::read_to_string("/proc/uptime").ok()?.split(' ').next()?.parse().ok()?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?.as_secs_f64();
    let since_boot = stat.starttime as f64 / procfs::ticks_per_second().max(1) as f64;
    Some(((now - up + since_boot) * 100.0).round() / 100.0)
}

pub(crate) fn age_seconds(stat: &Stat) -> u64 {
    let Ok(uptime) = std::fs::read_to_string("/proc/uptime") else { return 0 };
    let up = uptime.split(' ').next().and_then(|seconds| seconds.parse::<f64>().ok()).unwrap_or(0.0);
    let since_boot = stat.starttime as f64 / procfs::ticks_per_second().max(1) as f64;
    (up - since_boot).max(0.0) as u64
}

/// The name of this very program, as `comm` has it.
const OURSELVES: &str = "poolscope";

/// The process that traces a thread, with its name. `TracerPid` names the one thread that does.
pub(crate) fn tracer_of(tid: i32) -> Option<(i32, String)> {
    let status = |tid| procfs::process::Process::new(tid).and_then(|entry| entry.status());
    let tracer = status(tid).ok()?.tracerpid;
    let process = (tracer != 0).then(|| status(tracer).map_or(tracer, |status| status.tgid))?;
    Some((process, comm(process).unwrap_or_else(|| "?".to_owned())))
}

/// The name of any process or thread.
pub(crate) fn comm(pid: i32) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_find_ourselves() {
        let process = Process::find(std::process::id() as i32).unwrap();
        assert!(process.resident > 0);
        assert_eq!(process.executable, std::env::current_exe().unwrap());
        process.confirm().unwrap();
    }

    #[test]
    fn another_start_time_is_another_process() {
        let mut process = Process::find(std::process::id() as i32).unwrap();
        process.start_ticks += 1;
        assert!(matches!(process.confirm(), Err(TargetError::Reused(_))));
    }

    #[test]
    fn a_thread_names_its_process() {
        let (send, receive) = std::sync::mpsc::channel();
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            send.send(nix::unistd::gettid().as_raw()).unwrap();
            wait.recv().unwrap();
        });
        let error = Process::find(receive.recv().unwrap()).unwrap_err();
        done.send(()).unwrap();
        thread.join().unwrap();
        assert!(matches!(error, TargetError::Thread { pid, .. } if pid == std::process::id() as i32));
    }

    #[test]
    fn the_kernels_threads_are_recognised() {
        // pid 2 is kthreadd wherever the pid namespace is the machine's own; in a container it is something else.
        if comm(2).as_deref() == Some("kthreadd") {
            assert!(matches!(Process::find(2), Err(TargetError::KernelThread { .. })));
        }
    }
}
