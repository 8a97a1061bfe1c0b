//! Who is compared with whom: the same process, another worker of the same master, or something else. Only within one
//! process do single pools mean anything, and only there is a difference a growth over time.

use super::cycle::CyclePool;
use crate::snapshot::model::{ProcessInfo, Snapshot};
use serde::Serialize;

/// How two processes are related.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// One process, with one configuration.
    SameProcess,
    /// One process that has read its configuration again: a master, or nginx without one.
    ReloadedInPlace,
    /// Two workers of one master and configuration, both there when the older snapshot was taken.
    Sibling,
    /// The newer one was started by the same master with the same configuration, after the older snapshot.
    Respawned,
    /// Another worker of the same master, with another configuration.
    AfterReload,
    /// Another master on the same machine since its boot, same binary: nginx was restarted, or it is another instance.
    OtherMaster,
    /// Another master and another binary: nginx was upgraded or replaced.
    OtherBinary,
    /// The same machine after a reboot.
    Rebooted,
    /// Another machine.
    OtherMachine,
    /// Processes that do different things, such as a master and a worker, or nginx and something else.
    NotComparable,
    /// Nothing is known that would tell.
    Unknown,
}

/// How they are related, and how sure that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Related {
    /// How they are related.
    pub relation: Relation,
    /// What it was assumed from, if the snapshots do not hold what would prove it (cores do not tell start times).
    pub assumed_from: Option<String>,
    /// The relation in words.
    pub sentence: String,
}

/// Time in seconds by which a start may seem later than it was: ages are whole seconds.
const AGE_PRECISION: f64 = 1.0;

impl Relation {
    /// True if both snapshots show one process: then single pools can be matched, and differences have a rate.
    pub fn is_same_process(self) -> bool {
        matches!(self, Relation::SameProcess | Relation::ReloadedInPlace)
    }
}

impl Related {
    /// How the processes of two snapshots are related.
    pub fn of(old: &Snapshot, new: &Snapshot) -> Related {
        let facts = Facts::of(old, new);
        let (relation, assumed_from) = match facts.same_process() {
            Sure(true) => (facts.within_process(), None),
            Assumed(true, from) => (facts.within_process(), Some(from)),
            Sure(false) | Assumed(false, _) => facts.between_processes(),
        };
        Related { relation, sentence: facts.sentence(relation, assumed_from.as_deref()), assumed_from }
    }
}

/// What is known, and whether it is proven.
enum Answer {
    Sure(bool),
    Assumed(bool, String),
}
use Answer::{Assumed, Sure};

/// What tells one process from another.
struct Facts<'a> {
    old: &'a Snapshot,
    new: &'a Snapshot,
    /// Whether both run the same configuration: the pool of the cycle is the same one. `None` if one side has none.
    same_cycle: Option<bool>,
}

/// Whether two values that may be unknown are equal.
fn equal<T: PartialEq>(old: &Option<T>, new: &Option<T>) -> Option<bool> {
    Some(old.as_ref()? == new.as_ref()?)
}

impl<'a> Facts<'a> {
    fn of(old: &'a Snapshot, new: &'a Snapshot) -> Facts<'a> {
        let same_cycle = CyclePool::of(old).zip(CyclePool::of(new)).map(|(old, new)| old.is(new));
        Facts { old, new, same_cycle }
    }

    fn processes(&self) -> (&'a ProcessInfo, &'a ProcessInfo) {
        (&self.old.process, &self.new.process)
    }

    /// Where the kernel told when each started, that decides. Cores do not tell; then the same pid of the same binary is
    /// taken for the same process, unless it is a worker with another cycle, which a worker keeps for life.
    fn same_process(&self) -> Answer {
        let (old, new) = self.processes();
        let boot = equal(&old.boot_id, &new.boot_id);
        if boot == Some(false) || old.pid != new.pid {
            return Sure(false);
        }
        if let (Some(true), Some(started)) = (boot, equal(&old.start_ticks, &new.start_ticks)) {
            return Sure(started);
        }
        let worker_of_other_cycle = is_worker(old) && is_worker(new) && self.same_cycle == Some(false);
        let same = self.same_binary() != Some(false) && equal(&old.host, &new.host) != Some(false);
        let mut from = vec!["the same pid"];
        if self.same_binary() == Some(true) {
            from.push(if old.build_id.is_some() { "the same build-id" } else { "the same binary" });
        }
        if self.same_cycle == Some(true) {
            from.push("the cycle's pool at the same address");
        }
        Assumed(same && !worker_of_other_cycle, list(&from))
    }

    /// Whether both run the same build, as far as that is known.
    fn same_binary(&self) -> Option<bool> {
        let (old, new) = self.processes();
        let named = || {
            let unknown = old.executable.is_empty() || new.executable.is_empty();
            (!unknown).then(|| old.executable == new.executable && old.server == new.server)
        };
        equal(&old.build_id, &new.build_id).or_else(named)
    }

    fn within_process(&self) -> Relation {
        match self.same_cycle {
            Some(false) => Relation::ReloadedInPlace,
            _ => Relation::SameProcess,
        }
    }

    fn between_processes(&self) -> (Relation, Option<String>) {
        let (old, new) = self.processes();
        if !self.comparable() {
            return (Relation::NotComparable, None);
        }
        match (equal(&old.host, &new.host), equal(&old.boot_id, &new.boot_id)) {
            (Some(true), Some(false)) => (Relation::Rebooted, None),
            (_, Some(false)) => (Relation::OtherMachine, None),
            (_, Some(true)) => self.on_same_boot(),
            (Some(false), None) => (Relation::OtherMachine, None),
            (_, None) => self.without_boot(),
        }
    }

    /// The kernel told when masters started, or one of them is out of sight.
    fn on_same_boot(&self) -> (Relation, Option<String>) {
        let (old, new) = self.processes();
        let same_master = old.parent == new.parent && old.parent > 0;
        match equal(&old.parent_start_ticks, &new.parent_start_ticks) {
            Some(started) if is_worker(old) => self.of_masters(same_master && started, None),
            None if is_worker(old) && same_master => self.of_masters(true, Some("the same parent".to_owned())),
            _ => self.of_masters(false, None),
        }
    }

    /// Cores: pids are all there is, and where the configuration lies, which differs between masters.
    fn without_boot(&self) -> (Relation, Option<String>) {
        let (old, new) = self.processes();
        let same_parent = old.parent == new.parent && old.parent > 1 && is_worker(old);
        match (self.same_binary(), self.same_cycle, same_parent) {
            (Some(false), ..) => (Relation::OtherBinary, Some("another build-id".to_owned())),
            (_, Some(true), true) => {
                self.of_masters(true, Some("the same parent and the cycle's pool at the same address".to_owned()))
            }
            (_, _, true) => self.of_masters(true, Some("the same parent".to_owned())),
            (_, _, false) => (Relation::Unknown, None),
        }
    }

    fn of_masters(&self, same_master: bool, from: Option<String>) -> (Relation, Option<String>) {
        let relation = match (same_master, self.same_cycle, self.same_binary()) {
            (true, Some(false), _) => Relation::AfterReload,
            (true, ..) if self.started_since() == Some(true) => Relation::Respawned,
            (true, ..) => Relation::Sibling,
            (false, _, Some(false)) => Relation::OtherBinary,
            (false, ..) => Relation::OtherMaster,
        };
        let unknown_configuration = same_master && self.same_cycle.is_none();
        let from = from.or_else(|| {
            unknown_configuration.then(|| "the master alone: which configuration they have is not known".to_owned())
        });
        (relation, from)
    }

    /// Whether the newer one started after the older snapshot was taken; `None` if it does not tell when it started.
    fn started_since(&self) -> Option<bool> {
        let process = &self.new.process;
        let by_age = || Some(self.new.taken_at - process.age_seconds? as f64 - AGE_PRECISION);
        process.started_at.or_else(by_age).map(|started| started > self.old.taken_at)
    }

    /// Workers with workers, nginx with nginx.
    fn comparable(&self) -> bool {
        let (old, new) = self.processes();
        let product = |process: &ProcessInfo| {
            process.server.as_deref().map(|server| server.split('/').next().unwrap_or(server).to_owned())
        };
        let role = |process: &ProcessInfo| process.role.split(" shutting").next().map(str::to_owned);
        let is_other_program = old.server.is_none() && new.server.is_none() && old.executable != new.executable;
        role(old) == role(new) && equal(&product(old), &product(new)) != Some(false) && !is_other_program
    }

    fn sentence(&self, relation: Relation, assumed: Option<&str>) -> String {
        let (old, new) = self.processes();
        let who = if is_worker(new) { "worker" } else { "process" };
        let sentence = match relation {
            Relation::SameProcess => "the same process".to_owned(),
            Relation::ReloadedInPlace => {
                "the same process, which has read its configuration again in between".to_owned()
            }
            Relation::Sibling => format!(
                "another {who} of the same master{}. The difference is not growth over time",
                match self.started_since() {
                    Some(_) => format!(": {} was there already when {} was looked at", new.pid, old.pid),
                    None =>
                        format!("; whether {} was there already when {} was looked at is not known", new.pid, old.pid),
                }
            ),
            Relation::Respawned => format!(
                "{who} {} was started by the same master after {} was looked at{}. The difference is not growth over time",
                new.pid,
                old.pid,
                if self.same_cycle.is_some() { ", with the configuration that it had" } else { "" }
            ),
            Relation::AfterReload => format!(
                "nginx was reloaded: {who} {} runs another configuration of the same master than {}. The difference is \
                 not growth over time",
                new.pid, old.pid
            ),
            Relation::OtherMaster => format!(
                "nginx was restarted, or it is another instance: {} and {} have different masters with the same binary. \
                 The difference is not growth over time",
                old.pid, new.pid
            ),
            Relation::OtherBinary => format!(
                "nginx was upgraded or replaced: {} and {} run different binaries{}. The difference is not growth over \
                 time",
                old.pid,
                new.pid,
                versions(old, new)
            ),
            Relation::Rebooted => {
                "the machine was rebooted in between. The difference is not growth over time".to_owned()
            }
            Relation::OtherMachine => format!(
                "processes on different machines{}. The difference is not growth over time",
                match (&old.host, &new.host) {
                    (Some(old), Some(new)) if old != new => format!(" ({old}, {new})"),
                    _ => String::new(),
                }
            ),
            Relation::NotComparable => format!(
                "not comparable: {} with {}. The figures stand side by side, and their difference means nothing",
                described(old),
                described(new)
            ),
            Relation::Unknown => format!(
                "{} and {} are different processes, and nothing in the snapshots tells how they are related. The \
                 difference is not growth over time",
                old.pid, new.pid
            ),
        };
        match assumed {
            Some(from) => format!("assumed from {from}: {sentence}"),
            None => sentence,
        }
    }
}

fn is_worker(process: &ProcessInfo) -> bool {
    process.role.starts_with("worker")
}

/// `a worker of nginx/1.28.3`, `cat`.
fn described(process: &ProcessInfo) -> String {
    match &process.server {
        Some(server) => format!("a {} of {server}", process.role),
        None => format!("{} ({})", process.role, process.title),
    }
}

fn versions(old: &ProcessInfo, new: &ProcessInfo) -> String {
    match (&old.server, &new.server) {
        (Some(old), Some(new)) if old != new => format!(" ({old}, {new})"),
        (Some(server), Some(_)) => format!(" (both call themselves {server})"),
        _ => String::new(),
    }
}

/// `a`, `a and b`, `a, b and c`.
fn list(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
