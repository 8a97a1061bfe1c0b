//! What a look at a leaking worker costs: poolscope, gcore, a gdb script and a drgn script side by side, on one worker
//! of full size. `docs/benchmarks.md` says how to read what this prints.
//!
//! It is a report, not a test: it ends with status 0 whatever the figures, and with 1 only if there was nothing to
//! measure, or if a tool did harm to the worker.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/drgn.rs"]
mod drgn;
mod figures;
mod heartbeat;
#[path = "../common/live_tool.rs"]
mod live_tool;
mod report;
mod series;
mod tools;
#[path = "../common/units.rs"]
mod units;
#[path = "../common/worker.rs"]
mod worker;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use poolscope_fixtures::{Leak, LeakPlan, Nginx, build};

use common::{Failure, machine, run, scratch};
use series::Series;
use tools::Tool;
use worker::Worker;

/// All rounds together take no longer than this: what is left of the plan is then dropped, and the report says so.
const BUDGET: Duration = Duration::from_secs(120);

/// One run of one tool takes no longer than this.
const PATIENCE: Duration = Duration::from_secs(40);

/// For the worker and the disk to come to rest after a tool.
const REST: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    // `cargo test --all-targets` runs benchmarks, too, but without this argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("full_size measures for about half a minute: run it with `cargo bench --bench full_size`");
        return ExitCode::SUCCESS;
    }
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("full_size: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), Failure> {
    scratch::clear_on_signals()?;
    build::nginx::nginx(|step| eprintln!("{step}"))?;
    let scratch = scratch::Scratch::create()?;
    let tools = tools::all(&scratch, drgn::python(&scratch));
    let plan = LeakPlan::full_size();
    eprintln!("making a worker leak {} generations of {} servers", plan.generations, plan.servers);
    let nginx = Nginx::builder().start()?;
    let log_length = nginx.error_log_length();
    let leak = Leak::run(&nginx, &plan, |_| ())?;
    let worker = Worker::of(&nginx)?;
    let machine = machine::Machine::look();
    let counted = figures::of_module(&nginx.detail()?);
    let snapshot = figures::of_poolscope(&scratch, &worker)?;
    report::machine(&machine, &worker, &snapshot, &plan);
    let quiet = heartbeat::while_doing(nginx.ports().http, || std::thread::sleep(Duration::from_secs(1)))?.1;
    let series = rounds(tools, &nginx, &worker, &scratch)?;

    report::costs(&series, &quiet);
    report::expectations(&series, &worker);
    report::figures(&counted, &snapshot, &series);
    report::aftermath(&worker, leak.pinned(), &nginx.complaints_since(log_length));
    Ok(())
}

/// Runs all tools in turn, again and again, so that what else the machine does falls on all of them.
fn rounds(
    tools: Vec<Tool>,
    nginx: &Nginx,
    worker: &Worker,
    scratch: &scratch::Scratch,
) -> Result<Vec<Series>, Failure> {
    let deadline = Instant::now() + BUDGET;
    let mut all: Vec<Series> = tools.into_iter().map(Series::new).collect();
    for round in 0..tools::MOST_ROUNDS {
        // Every other round backwards: a gcore after a gcore finds memory that its forerunner has just given back.
        let mut turns: Vec<&mut Series> = all.iter_mut().filter(|series| series.wants_round(round)).collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        for series in turns {
            let left = deadline.saturating_duration_since(Instant::now());
            if left < REST * 2 {
                series.note("the time for the benchmark ran out");
                continue;
            }
            eprintln!("round {}: {}", round + 1, series.tool.name);
            let command = series.tool.recipe.command(worker.pid);
            let run = || run::run(command, left.min(PATIENCE), scratch);
            let (finished, beats) = heartbeat::while_doing(nginx.ports().http, run)?;
            series.tool.recipe.tidy();
            series.take(finished, beats);
            worker.confirm(nginx, series.tool.name)?;
            std::thread::sleep(REST);
        }
    }
    Ok(all)
}
