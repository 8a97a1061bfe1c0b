//! What clients of a worker under full load notice of snapshots: how long they wait for answers with and without. Two wrk load
//! it, with answers of its own and with answers of its backend; snapshots follow each other without a rest. `docs/benchmarks.md`
//! says how to read what this prints.
//!
//! It ends with status 1 if a request or a snapshot failed, or if the worker was harmed.

#[path = "../common/mod.rs"]
mod common;
mod histogram;
#[allow(dead_code, reason = "only poolscope is called here, not the tools that it is compared with elsewhere")]
#[path = "../common/live_tool.rs"]
mod live_tool;
mod load;
mod modes;
mod report;
#[allow(dead_code, reason = "not every benchmark shows sizes")]
#[path = "../common/units.rs"]
mod units;
#[path = "../common/worker.rs"]
mod worker;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use poolscope_fixtures::{Leak, LeakPlan, MIXED, Nginx, build};

use common::{Failure, run, scratch};
use load::Load;
use modes::{INCOMPLETE, Mode, Taken, Tally};
use worker::Worker;

/// wrk has made all its connections and is at full speed.
const LEAD: Duration = Duration::from_millis(300);

/// One snapshot takes no longer than this.
const PATIENCE: Duration = Duration::from_secs(60);

/// With so many failed snapshots in one mode nothing new is learnt from more.
const MOST_FAILURES: u64 = 10;

/// What is to be done.
pub(crate) struct Plan {
    /// Of all modes together, at least.
    pub(crate) snapshots: u64,
    /// How long a mode has the worker before the next one.
    pub(crate) turn: Duration,
    leak: LeakPlan,
}

impl Plan {
    fn of(arguments: &[String]) -> Result<Plan, Failure> {
        let (snapshots, seconds, generations) = match arguments.iter().any(|argument| argument == "--quick") {
            true => (12, 3, 20),
            false => (2_000, 30, 120),
        };
        Ok(Plan {
            snapshots: number(arguments, "--snapshots")?.unwrap_or(snapshots),
            turn: Duration::from_secs(number(arguments, "--turn")?.unwrap_or(seconds)),
            leak: LeakPlan::new(generations, 1030),
        })
    }
}

/// What follows `name`, if that was given.
fn number(arguments: &[String], name: &str) -> Result<Option<u64>, Failure> {
    let Some(place) = arguments.iter().position(|argument| argument == name) else { return Ok(None) };
    match arguments.get(place + 1).and_then(|number| number.parse().ok()).filter(|number| *number > 0) {
        Some(number) => Ok(Some(number)),
        None => Err(format!("{name} is followed by a number above 0").into()),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --all-targets` runs benchmarks, too, but without this argument.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("latency measures for half an hour: run it with `cargo bench --bench latency`");
        return ExitCode::SUCCESS;
    }
    match Plan::of(&arguments).and_then(|plan| measure(&plan)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("latency: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// What all turns have in common.
struct Bench<'a> {
    nginx: &'a Nginx,
    worker: &'a Worker,
    scratch: &'a scratch::Scratch,
    turn: Duration,
}

/// True if nothing failed.
fn measure(plan: &Plan) -> Result<bool, Failure> {
    scratch::clear_on_signals()?;
    build::nginx::nginx(|step| eprintln!("{step}"))?;
    let scratch = scratch::Scratch::create()?;
    let nginx = Nginx::builder().config(MIXED).start()?;
    let _leak = Leak::run(&nginx, &plan.leak, |_| ())?;
    let log_length = nginx.error_log_length();
    let worker = Worker::of(&nginx)?;
    report::setting(plan, &worker);
    let bench = Bench { nginx: &nginx, worker: &worker, scratch: &scratch, turn: plan.turn };
    let tallies = rounds(&bench, plan)?;
    report::tables(&tallies);
    Ok(report::judge(&tallies, &nginx.complaints_since(log_length), plan))
}

/// All modes in turn, so that what else the machine does falls on all of them, until there are enough snapshots. Each mode gets
/// the same time, also in the last round: there may be some snapshots more.
fn rounds(bench: &Bench<'_>, plan: &Plan) -> Result<Vec<Tally>, Failure> {
    let mut tallies: Vec<Tally> = Mode::ALL.into_iter().map(Tally::new).collect();
    let tried = |tallies: &[Tally]| tallies.iter().map(Tally::tried).sum::<u64>();
    while tried(&tallies) < plan.snapshots && tallies.iter().all(|tally| tally.failed < MOST_FAILURES) {
        for tally in &mut tallies {
            turn(bench, tally)?;
        }
        // Every other round backwards: no mode always follows the same one.
        tallies.reverse();
        eprintln!("{} of {} snapshots", tried(&tallies), plan.snapshots);
    }
    tallies.sort_by_key(|tally| Mode::ALL.iter().position(|mode| *mode == tally.mode));
    Ok(tallies)
}

/// One mode, under load all the time.
fn turn(bench: &Bench<'_>, tally: &mut Tally) -> Result<(), Failure> {
    let load = Load::start(bench.nginx, bench.scratch)?;
    std::thread::sleep(LEAD);
    let end = Instant::now() + bench.turn;
    match tally.mode.recipe() {
        None => std::thread::sleep(bench.turn),
        Some(recipe) => {
            while Instant::now() < end && tally.failed < MOST_FAILURES {
                let command = recipe.command(bench.worker.pid);
                let finished = run::run_accepting(command, &[0, INCOMPLETE], PATIENCE, bench.scratch);
                tally.take(finished.and_then(|finished| Taken::of(&finished)));
            }
        }
    }
    tally.see(&load.stop()?);
    bench.worker.confirm(bench.nginx, tally.mode.name())
}
