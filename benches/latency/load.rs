//! Two wrk at once that give a worker as much to do as it can: small answers of its own, and answers that it gets from its
//! backend, both on connections that stay.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use poolscope_fixtures::{Nginx, spawn_tied};
use serde::Deserialize;

use crate::common::Failure;
use crate::common::scratch::Scratch;
use crate::histogram::Histogram;
use crate::live_tool::script;

/// Connections of each wrk.
pub(crate) const CONNECTIONS: u32 = 32;

/// wrk is ended by a signal; this is in case that never comes.
const AT_MOST: &str = "600s";

/// wrk ends a tenth of a second after it is asked to, and then looks at each latency that came once for every other one.
const PATIENCE: Duration = Duration::from_secs(60);

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// nginx answers by itself.
    Own,
    /// nginx asks its backend first, on a connection that it keeps.
    Proxied,
}

impl Traffic {
    pub(crate) const ALL: [Traffic; 2] = [Traffic::Own, Traffic::Proxied];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Traffic::Own => "own",
            Traffic::Proxied => "proxied",
        }
    }

    /// In the configuration for a mixed load. The backend answers `/gate/1` as soon as one such request waits, which is
    /// at once; nginx may keep 1024 connections to it, so that none is made anew under load.
    fn path(self) -> &'static str {
        match self {
            Traffic::Own => "/small",
            Traffic::Proxied => "/gate/1",
        }
    }
}

/// What wrk.lua prints.
#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    microseconds: u64,
    requests: u64,
    errors: Errors,
    /// Microseconds, and how often.
    latencies: Vec<(u64, u64)>,
}

/// Requests that failed, by wrk's reasons: `status` is 400 and above, `timeout` an answer after more than two seconds.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(crate) struct Errors {
    connect: u64,
    read: u64,
    write: u64,
    status: u64,
    timeout: u64,
}

impl Errors {
    pub(crate) fn sum(self) -> u64 {
        self.connect + self.read + self.write + self.status + self.timeout
    }
}

/// What clients saw in several runs.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) latencies: Histogram,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) time: Duration,
}

impl Seen {
    /// Adds a run; says what failed in it.
    pub(crate) fn add(&mut self, report: &Report) {
        report.latencies.iter().for_each(|&(microseconds, count)| self.latencies.add(microseconds, count));
        self.requests += report.requests;
        self.failed += report.errors.sum();
        self.time += Duration::from_micros(report.microseconds);
        if report.errors.sum() > 0 {
            eprintln!("requests failed: {:?}", report.errors);
        }
    }

    pub(crate) fn requests_per_second(&self) -> f64 {
        self.requests as f64 / self.time.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Both wrk, until they are stopped.
pub(crate) struct Load {
    clients: Vec<Client>,
}

impl Load {
    /// Begins.
    ///
    /// # Errors
    /// When wrk cannot be started.
    pub(crate) fn start(nginx: &Nginx, scratch: &Scratch) -> Result<Load, Failure> {
        let port = nginx.ports().http;
        let start = |traffic: Traffic| Client::start(traffic, port, scratch);
        Ok(Load { clients: Traffic::ALL.into_iter().map(start).collect::<Result<_, Failure>>()? })
    }

    /// Ends both, and gives what each has measured, in the order of [`Traffic::ALL`].
    ///
    /// # Errors
    /// When one has ended before, or says nothing.
    pub(crate) fn stop(mut self) -> Result<Vec<Report>, Failure> {
        // First both, then their reports: one alone would have the worker for itself.
        self.clients.iter_mut().try_for_each(Client::interrupt)?;
        self.clients.iter_mut().map(Client::report).collect()
    }
}

/// One wrk.
struct Client {
    traffic: Traffic,
    wrk: Child,
    output: PathBuf,
}

impl Client {
    fn start(traffic: Traffic, port: u16, scratch: &Scratch) -> Result<Client, Failure> {
        let output = scratch.disk.join(format!("wrk-{}", traffic.name()));
        let mut command = Command::new("wrk");
        command.args(["--threads", "1", "--connections", &CONNECTIONS.to_string(), "--duration", AT_MOST]);
        command.args(["--script", &script("latency/wrk.lua")]);
        command.arg(format!("http://127.0.0.1:{port}{}", traffic.path()));
        command.stdin(Stdio::null()).stdout(File::create(&output)?).stderr(Stdio::inherit());
        let wrk = spawn_tied(command, Signal::SIGKILL)
            .map_err(|cause| format!("starting wrk, which is in Debian's package wrk: {cause}"))?;
        Ok(Client { traffic, wrk, output })
    }

    fn interrupt(&mut self) -> Result<(), Failure> {
        if let Some(status) = self.wrk.try_wait()? {
            return Err(format!("wrk ({}) ended by itself: {status}", self.traffic.name()).into());
        }
        kill(Pid::from_raw(self.wrk.id().cast_signed()), Signal::SIGINT)?;
        Ok(())
    }

    fn report(&mut self) -> Result<Report, Failure> {
        let name = self.traffic.name();
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.wrk.try_wait()? {
                Some(status) => break status,
                None if Instant::now() >= deadline => {
                    return Err(format!("wrk ({name}) did not end within {} s of SIGINT", PATIENCE.as_secs()).into());
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let text = fs::read_to_string(&self.output)?;
        match text.lines().last().and_then(|line| serde_json::from_str(line).ok()) {
            Some(report) if status.success() => Ok(report),
            _ => Err(format!("wrk ({name}) ended with {status} and printed no figures:\n{text}").into()),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It has ended already, unless something went wrong.
        let _ = self.wrk.kill();
        let _ = self.wrk.wait();
    }
}
