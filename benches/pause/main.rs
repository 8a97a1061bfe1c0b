//! How long a program stands still while somebody looks at its heap: poolscope in one stop and in several, gcore, a gdb script, and
//! the least that one stop can take, side by side, on three programs, each of which says itself how long it stood still.
//! `docs/benchmarks.md` says how to read what this prints.
//!
//! It is a report, not a test: it ends with status 0 whatever the figures, and with 1 only if there was nothing to measure,
//! or if a tool did harm to a program.

#[path = "../common/mod.rs"]
mod common;
mod compare;
mod floor;
#[path = "../common/live_tool.rs"]
mod live_tool;
mod plan;
mod report;
mod series;
mod stolen;
mod target;
mod tools;
#[path = "../common/units.rs"]
mod units;
mod verdicts;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use common::{Failure, machine, run, scratch};
use plan::{Plan, Size};
use series::Series;
use target::Target;

/// A program stands still no longer than this, whatever a tool does.
const PATIENCE: Duration = Duration::from_secs(90);

/// For the program and the disk to come to rest after a tool.
const REST: Duration = Duration::from_millis(300);

/// A look at the heartbeat without any tool is as long as the run of the tool before it, but for these limits.
const LEAST_QUIET: Duration = Duration::from_millis(300);
const MOST_QUIET: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["--list", pid, folder] => floor::list(pid, folder.as_ref()),
        ["--floor", pid, list] => floor::stop_and_read(pid, list.as_ref()),
        _ if words.contains(&"--bench") => {
            measure(&words, if words.contains(&"--quick") { Size::Quick } else { Size::Full })
        }
        _ => {
            // `cargo test --all-targets` runs benchmarks, too, but without this argument.
            println!("pause measures for some minutes: run it with `cargo bench --bench pause`");
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("pause: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// A program that is gone, and what looking at it came to.
pub(crate) struct Measured {
    pub(crate) plan: Plan,
    /// Resident bytes before any tool looked.
    pub(crate) resident: u64,
    pub(crate) list: floor::Listed,
    pub(crate) all: Vec<Series>,
}

/// Of the programs those whose letters are among `words`; all of them if none is.
fn measure(words: &[&str], size: Size) -> Result<(), Failure> {
    scratch::clear_on_signals()?;
    let scratch = scratch::Scratch::create()?;
    let machine = machine::Machine::look();
    println!("Machine: {machine}; load average {} before the start\n", machine.load);
    let mut measured = Vec::new();
    let mut plans = plan::all(size);
    if plans.iter().any(|plan| words.contains(&plan.letter)) {
        plans.retain(|plan| words.contains(&plan.letter));
    }
    // One after the other: three programs at once would have 5 GB, and more to do.
    for plan in plans {
        let one = measure_one(plan, &scratch)?;
        report::target(&one);
        measured.push(one);
    }
    report::side_by_side(&measured);
    compare::own_words(&measured);
    verdicts::expectations(&measured, &machine);
    Ok(())
}

fn measure_one(plan: Plan, scratch: &scratch::Scratch) -> Result<Measured, Failure> {
    eprintln!("making {}", plan.name);
    let target = Target::start(&plan)?;
    let list = floor::list_in_child(target.pid(), scratch)?;
    let all = rounds(tools::all(&plan, scratch, &list)?, &plan, &target, scratch)?;
    Ok(Measured { resident: target.resident(), plan, list, all })
}

/// Runs all tools in turn, again and again, so that what else the machine does falls on all of them.
fn rounds(
    tools: Vec<tools::Tool>,
    plan: &Plan,
    target: &Target,
    scratch: &scratch::Scratch,
) -> Result<Vec<Series>, Failure> {
    let deadline = Instant::now() + plan.budget;
    let mut all: Vec<Series> = tools.into_iter().map(Series::new).collect();
    for round in 0..tools::MOST_ROUNDS {
        // Every other round backwards: who follows a gcore finds memory that it has just given back.
        let mut turns: Vec<&mut Series> = all.iter_mut().filter(|series| series.wants_round(round)).collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        for series in turns {
            if Instant::now() >= deadline {
                series.trouble = Some("the time for the benchmark ran out".to_owned());
                continue;
            }
            eprintln!("{}, round {}: {}", plan.letter, round + 1, series.tool.name);
            target.heartbeat().take()?;
            let stolen = stolen::stolen();
            let finished = run::run(series.tool.recipe.command(target.pid()), PATIENCE, scratch);
            let stolen = stolen::stolen().saturating_sub(stolen);
            let beats = target.heartbeat().take()?;
            series.tool.recipe.tidy();
            target.confirm(series.tool.name)?;
            std::thread::sleep(REST);
            let quiet = finished.as_ref().map_or(LEAST_QUIET, |finished| finished.wall.clamp(LEAST_QUIET, MOST_QUIET));
            target.heartbeat().take()?;
            std::thread::sleep(quiet);
            series.take(finished, stolen, beats, target.heartbeat().take()?);
        }
    }
    Ok(all)
}
