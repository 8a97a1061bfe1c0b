//! The worker that all this happens to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use poolscope_fixtures::{Leak, LeakPlan, Nginx};

use super::Failure;
use super::load::{Load, answer_time};

/// A worker that stands still or is not served would let clients wait for ever; a busy machine makes them wait for some
/// hundredths of a second, and one on which far too much is at work for more than one.
const AT_ONCE: Duration = Duration::from_secs(5);

/// What the worker does after a client has gone may take this long: closing its connection, above all.
const SETTLING: Duration = Duration::from_secs(2);

/// A worker with a leak, under light load.
pub(crate) struct Subject {
    // Dropped first, while nginx is there to answer.
    load: Load,
    _leak: Leak,
    nginx: Nginx,
    worker: u32,
    fds: BTreeMap<u32, PathBuf>,
    log: usize,
}

impl Subject {
    /// Starts nginx, makes it leak and puts it under load.
    pub(crate) fn start() -> Result<Subject, Failure> {
        let nginx = Nginx::builder().start()?;
        let leak = Leak::run(&nginx, &LeakPlan::new(40, 1030), |_| ())?;
        let worker = nginx.worker_pid()?;
        let log = nginx.error_log_length();
        let load = Load::start(nginx.ports().http)?;
        let mut subject = Subject { load, _leak: leak, nginx, worker, fds: BTreeMap::new(), log };
        subject.fds = subject.fds_at_rest()?;
        Ok(subject)
    }

    /// The worker.
    pub(crate) fn worker(&self) -> u32 {
        self.worker
    }

    /// How many requests the load has had answered.
    pub(crate) fn answered(&self) -> u64 {
        self.load.answered()
    }

    /// How often the worker has noted signal `number` in its log.
    pub(crate) fn received(&self, number: i32) -> usize {
        self.nginx.received(self.worker, number)
    }

    /// Looks at the worker after poolscope has ended. Gives the time that a new client waited for its answer.
    pub(crate) fn check(&self) -> Result<Duration, Failure> {
        // The kernel lets a tracee go before the end of its tracer is to be seen.
        if let Some(fault) = fault_of_threads(self.worker) {
            return Err(fault.into());
        }
        let waited = answer_time(self.nginx.ports().http).map_err(|cause| format!("no answer: {cause}"))?;
        if waited > AT_ONCE {
            return Err(format!("the answer took {waited:?}").into());
        }
        if self.load.has_failed() {
            return Err("a request of the load failed".into());
        }
        Ok(waited)
    }

    /// Looks at what takes a moment to come to rest: the worker is the same, has the same files and sockets, and its log has
    /// no complaint.
    pub(crate) fn check_files(&self) -> Result<(), Failure> {
        if self.nginx.worker_pids() != [self.worker] {
            return Err(format!("worker {} has been replaced by {:?}", self.worker, self.nginx.worker_pids()).into());
        }
        let deadline = Instant::now() + SETTLING;
        while fds(self.worker) != self.fds {
            if Instant::now() > deadline {
                return Err(format!("files were {:?} and are {:?}", self.fds, fds(self.worker)).into());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        match self.nginx.complaints_since(self.log).first() {
            None => Ok(()),
            Some(complaint) => Err(format!("the worker complains: {complaint}").into()),
        }
    }

    /// Ends the load, which must not have seen a failure.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        Ok(self.load.stop()?)
    }

    /// How long clients wait when nobody looks at the worker, `count` times.
    pub(crate) fn undisturbed(&self, count: usize) -> Result<Vec<Duration>, Failure> {
        (0..count).map(|_| Ok(answer_time(self.nginx.ports().http)?)).collect()
    }

    /// Its files and sockets, when two looks in a row agree: a request under way has some for a moment.
    fn fds_at_rest(&self) -> Result<BTreeMap<u32, PathBuf>, Failure> {
        let deadline = Instant::now() + SETTLING;
        let mut agreed = 0;
        let mut before = fds(self.worker);
        while agreed < 10 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
            let now = fds(self.worker);
            agreed = if now == before { agreed + 1 } else { 0 };
            before = now;
        }
        if agreed < 10 { Err("the worker's files never came to rest".into()) } else { Ok(before) }
    }
}

/// Open files and sockets by number.
fn fds(pid: u32) -> BTreeMap<u32, PathBuf> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, std::fs::read_link(entry.path()).ok()?)))
        .collect()
}

/// Whether somebody traces the main thread of a process just now.
pub(crate) fn is_traced(pid: u32) -> bool {
    field(pid, pid, "TracerPid").is_some_and(|tracer| tracer != "0")
}

/// What is wrong with the threads of a process that was let go: one is traced, or stands still.
pub(crate) fn fault_of_threads(pid: u32) -> Option<String> {
    fault_of_threads_in(pid, &['R', 'S', 'D', 'I', 'X', 'Z'])
}

/// The same for threads that have to be in one of `states`.
pub(crate) fn fault_of_threads_in(pid: u32, states: &[char]) -> Option<String> {
    let tasks: Vec<_> = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten().collect();
    if tasks.is_empty() {
        return Some(format!("process {pid} is gone"));
    }
    tasks.iter().filter_map(|task| task.file_name().to_str()?.parse().ok()).find_map(|tid: u32| {
        // A thread that has ended since is none to ask for.
        let (tracer, state) = (field(pid, tid, "TracerPid")?, field(pid, tid, "State")?);
        match tracer == "0" && state.starts_with(states) {
            true => None,
            false => Some(format!("thread {tid} of {pid} is in state {state}, traced by {tracer}")),
        }
    })
}

/// A field of `/proc/PID/task/TID/status`.
fn field(pid: u32, tid: u32, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}
