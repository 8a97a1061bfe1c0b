//! Signals that reach nginx while poolscope is at work on it.

use std::path::Path;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use poolscope_fixtures::{DaemonNginx, Nginx};

use super::end::is_for_want_of_time;
use super::load::answer_time;
use super::round::{Aim, Campaign, Round, Run, Stops, is_whole};
use super::subject::{fault_of_threads, fault_of_threads_in, is_traced};
use super::{Failure, child};

/// No effect of a signal takes longer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// One of some processes that are looked at in turns is stopped again before that, if it is there at all.
const NEXT_STOP: Duration = Duration::from_secs(3);

/// What a target receives at a moment that poolscope does not choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Receipt {
    /// The worker gets a signal that it notes in its log, once for each delivery, and does nothing about.
    Noted(Signal),
    /// The worker gets `SIGSTOP`: it stays stopped until it is continued.
    Stopped,
    /// The worker, stopped before, gets `SIGCONT`.
    Continued,
    /// The master gets `SIGHUP`, and another worker takes the place of the one it had. Poolscope looks at one of the two.
    Reload,
    /// A binary upgrade: the master gets `SIGUSR2`, `SIGWINCH` and `SIGQUIT`. Poolscope looks at the old master, its worker and their
    /// successors, one after the other.
    Upgrade,
}

impl Receipt {
    /// All of them.
    pub(crate) const ALL: [Receipt; 7] = [
        Receipt::Noted(Signal::SIGHUP),
        Receipt::Noted(Signal::SIGWINCH),
        Receipt::Noted(Signal::SIGUSR2),
        Receipt::Stopped,
        Receipt::Continued,
        Receipt::Reload,
        Receipt::Upgrade,
    ];

    /// What it is called in the report.
    pub(crate) fn name(self) -> String {
        match self {
            Receipt::Noted(signal) => signal.as_str().to_owned(),
            Receipt::Stopped => "SIGSTOP".to_owned(),
            Receipt::Continued => "SIGCONT".to_owned(),
            Receipt::Reload => "reload".to_owned(),
            Receipt::Upgrade => "upgrade".to_owned(),
        }
    }
}

/// The nginxes that receive signals.
pub(crate) struct Receiver {
    campaign: Campaign,
    reloaded: Nginx,
    upgraded: DaemonNginx,
}

impl Receiver {
    /// Starts them.
    pub(crate) fn start(binary: &Path, seed: u64) -> Result<Receiver, Failure> {
        Ok(Receiver {
            campaign: Campaign::start(binary, seed)?,
            reloaded: Nginx::builder().start()?,
            upgraded: DaemonNginx::start()?,
        })
    }

    /// What receives all but reloads and upgrades.
    pub(crate) fn campaign(&self) -> &Campaign {
        &self.campaign
    }

    /// Lets the load of the first worker end, which must not have seen a failure.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        self.campaign.finish()
    }

    /// One signal, or one upgrade, while poolscope is at work, and what became of nginx.
    pub(crate) fn round(&mut self, receipt: Receipt, stops: Stops, aim: Aim) -> Result<Round, Failure> {
        let round = match receipt {
            Receipt::Noted(signal) => self.noted(signal, stops, aim),
            Receipt::Stopped => self.stopped(stops, aim),
            Receipt::Continued => self.continued(stops, aim),
            Receipt::Reload => self.reload(stops, aim),
            Receipt::Upgrade => self.upgrade(stops, aim),
        };
        if round.is_err() && receipt == Receipt::Upgrade {
            // One that did not come to its end leaves two masters, of which the new one takes part in no other.
            self.upgraded = DaemonNginx::start()?;
        }
        round.map_err(|fault| format!("{}: {fault}", receipt.name()).into())
    }

    fn noted(&mut self, signal: Signal, stops: Stops, aim: Aim) -> Result<Round, Failure> {
        let worker = self.campaign.subject().worker();
        let before = self.campaign.subject().received(signal as i32);
        let run = self.campaign.run(worker, stops, aim, |_| send(worker, signal))?;
        let waited = self.campaign.subject().check()?;
        let received = || self.campaign.subject().received(signal as i32) - before;
        wait_for(|| received() > 0);
        match received() {
            1 => finished(&run, false, waited),
            count => Err(format!("the worker has noted {count} signals instead of one").into()),
        }
    }

    fn stopped(&mut self, stops: Stops, aim: Aim) -> Result<Round, Failure> {
        let worker = self.campaign.subject().worker();
        let continued = ContinuedWhenDropped(worker);
        let run = self.campaign.run(worker, stops, aim, |_| send(worker, Signal::SIGSTOP))?;
        stays_stopped(worker)?;
        drop(continued);
        finished(&run, false, self.campaign.subject().check()?)
    }

    fn continued(&mut self, stops: Stops, aim: Aim) -> Result<Round, Failure> {
        let worker = self.campaign.subject().worker();
        send(worker, Signal::SIGSTOP);
        let _continued = ContinuedWhenDropped(worker);
        stays_stopped(worker)?;
        let run = self.campaign.run(worker, stops, aim, |_| send(worker, Signal::SIGCONT))?;
        finished(&run, false, self.campaign.subject().check()?)
    }

    fn reload(&mut self, stops: Stops, aim: Aim) -> Result<Round, Failure> {
        let (master, worker) = (self.reloaded.master_pid(), self.reloaded.worker_pid()?);
        let before = self.reloaded.received(master, Signal::SIGHUP as i32);
        // The worker ends in the middle of some looks, the master of none. Four rounds have each way to look once.
        let looked_at = if (before / 4).is_multiple_of(4) { master } else { worker };
        let run = self.campaign.run(looked_at, stops, aim, |_| send(master, Signal::SIGHUP))?;
        let is_done = || {
            let workers = self.reloaded.worker_pids();
            workers.len() == 1 && !workers.contains(&worker) && !Path::new(&format!("/proc/{worker}")).exists()
        };
        if !wait_for(is_done) {
            return Err(format!("worker {worker} has not been replaced: {:?}", self.reloaded.worker_pids()).into());
        }
        let received = self.reloaded.received(master, Signal::SIGHUP as i32) - before;
        if received != 1 {
            return Err(format!("the master has noted {received} signals instead of one").into());
        }
        runs([master, self.reloaded.worker_pid()?])?;
        finished(&run, looked_at == worker, answer_time(self.reloaded.ports().http)?)
    }

    fn upgrade(&mut self, stops: Stops, aim: Aim) -> Result<Round, Failure> {
        let (old, old_workers) = (self.upgraded.master_pid()?, self.upgraded.worker_pids());
        let (campaign, nginx) = (&mut self.campaign, &self.upgraded);
        let binary = campaign.binary().to_owned();
        let (over, whole) = (AtomicBool::new(false), AtomicU32::new(0));
        let mut held = false;
        const STEPS: [Signal; 3] = [Signal::SIGUSR2, Signal::SIGWINCH, Signal::SIGQUIT];
        // Pids come back: an earlier master may have had this one.
        let noted = || STEPS.map(|signal| nginx.received(old, signal as i32));
        let before = noted();
        let looks = std::thread::scope(|scope| {
            let looks = scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let new = nginx.master_pid().into_iter().chain(nginx.worker_pids());
                    for pid in old_workers.iter().copied().chain(new) {
                        for pid in [old, pid] {
                            whole.fetch_add(u32::from(look(&binary, pid, stops)?), Ordering::Relaxed);
                        }
                    }
                }
                Ok::<(), String>(())
            });
            let mut rest = || {
                std::thread::sleep(campaign.some_of_a_run(stops));
                let deadline = Instant::now() + NEXT_STOP;
                let is_awaited = || aim == Aim::InStop && Path::new(&format!("/proc/{old}")).exists();
                while is_awaited() && !is_traced(old) && Instant::now() < deadline {
                    std::thread::sleep(Duration::from_micros(20));
                }
                held |= is_traced(old);
            };
            rest();
            let upgraded = nginx.upgrade(rest);
            over.store(true, Ordering::Relaxed);
            upgraded.map_err(|cause| cause.to_string())?;
            looks.join().unwrap_or_else(|_| Err("who looks has panicked".to_owned()))
        });
        looks?;
        let after = noted();
        if after != before.map(|count| count + 1) {
            return Err(format!("the old master noted {before:?} of {STEPS:?} before, and {after:?} after").into());
        }
        runs(nginx.master_pid().into_iter().chain(nginx.worker_pids()))?;
        let begin = Instant::now();
        nginx.get()?;
        Ok(Round { held, cut_short: whole.into_inner() == 0, waited: begin.elapsed() })
    }
}

fn send(pid: u32, signal: Signal) {
    // It may have ended just now.
    let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
}

/// A process that is not stopped any more once this is dropped.
struct ContinuedWhenDropped(u32);

impl Drop for ContinuedWhenDropped {
    fn drop(&mut self) {
        send(self.0, Signal::SIGCONT);
    }
}

/// One run of poolscope, to its end, on a process that may end at any time. True if it gave a report.
fn look(binary: &Path, pid: u32, stops: Stops) -> Result<bool, String> {
    let run = child::start(binary, pid, stops.options()).and_then(child::end_of);
    let (status, errors) = run.map_err(|cause| cause.to_string())?;
    fault_of_run(status, &errors, true).map_or(Ok(is_whole(status)), Err)
}

/// What is wrong with how a run ended, if anything is. That of a target that ends, or has yet to become nginx, ends with an error.
fn fault_of_run(status: ExitStatus, errors: &str, may_exit: bool) -> Option<String> {
    let is_gone = || {
        ["exited", "there is no process", "is a zombie", "became another program"]
            .iter()
            .any(|why| errors.contains(why))
    };
    let is_expected = is_whole(status)
        || is_for_want_of_time(status, errors)
        || may_exit && status.code() == Some(1) && errors.starts_with("poolscope: ") && is_gone();
    (!is_expected || errors.contains("panicked")).then(|| format!("poolscope: {status}: {}", errors.trim()))
}

fn finished(run: &Run, may_exit: bool, waited: Duration) -> Result<Round, Failure> {
    match fault_of_run(run.status, &run.errors, may_exit) {
        Some(fault) => Err(fault.into()),
        None => Ok(Round { held: run.held, cut_short: !is_whole(run.status), waited }),
    }
}

fn stays_stopped(pid: u32) -> Result<(), Failure> {
    wait_for(|| fault_of_threads_in(pid, &['T']).is_none());
    fault_of_threads_in(pid, &['T']).map_or(Ok(()), |fault| Err(format!("it is not stopped: {fault}").into()))
}

fn runs(pids: impl IntoIterator<Item = u32>) -> Result<(), Failure> {
    pids.into_iter().find_map(fault_of_threads).map_or(Ok(()), |fault| Err(fault.into()))
}

fn wait_for(mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match done() {
            true => return true,
            false if Instant::now() >= deadline => return false,
            false => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}
