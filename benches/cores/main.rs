//! What it costs to find every chunk of a core with ten million: poolscope, gdb scripts, a drgn script and chap side by side,
//! on one core. `docs/benchmarks.md` says how to read what this prints.
//!
//! It is a report, not a test: it ends with status 0 whatever the figures, and with 1 only if there was nothing to measure.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/drgn.rs"]
mod drgn;
mod figures;
mod report;
mod subject;
mod tools;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use common::{Failure, machine, run, scratch};
use figures::{Expected, Figures};
use subject::Subject;
use tools::Tool;

/// All rounds together take no longer than this: what is left of the plan is then dropped, and the report says so.
const BUDGET: Duration = Duration::from_secs(500);

/// One run of one tool takes no longer than this.
const PATIENCE: Duration = Duration::from_secs(240);

/// A tool with what its rounds came to.
pub(crate) struct Measured {
    pub(crate) tool: Tool,
    pub(crate) rounds: Vec<Round>,
    /// Why there are fewer rounds than planned, or no figures.
    pub(crate) trouble: Option<String>,
}

/// One round.
pub(crate) struct Round {
    pub(crate) wall: Duration,
    pub(crate) processor: Duration,
    /// Bytes.
    pub(crate) peak: u64,
    pub(crate) figures: Option<Figures>,
}

fn main() -> ExitCode {
    // `cargo test --all-targets` runs benchmarks, too, but without this argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("cores measures for some minutes: run it with `cargo bench --bench cores`");
        return ExitCode::SUCCESS;
    }
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("cores: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), Failure> {
    scratch::clear_on_signals()?;
    let scratch = scratch::Scratch::create()?;
    let drgn = drgn::python(&scratch);
    let subject = Subject::make(&scratch)?;
    report::subject(&machine::Machine::look(), &subject);
    let expected = Expected::of_poolscope(&subject, &scratch)?;
    let all = rounds(tools::all(&subject, drgn), &scratch);
    report::costs(&all, &subject);
    report::findings(&all, &expected, &subject);
    report::expectations(&all, &subject);
    Ok(())
}

/// Runs all tools in turn, again and again, so that what else the machine does falls on all of them.
fn rounds(tools: Vec<Tool>, scratch: &scratch::Scratch) -> Vec<Measured> {
    let deadline = Instant::now() + BUDGET;
    let measured = |tool: Tool| Measured { trouble: tool.missing.clone(), tool, rounds: Vec::new() };
    let mut all: Vec<Measured> = tools.into_iter().map(measured).collect();
    for round in 0..tools::MOST_ROUNDS {
        let in_turn = |measured: &&mut Measured| round < measured.tool.rounds && measured.trouble.is_none();
        for measured in all.iter_mut().filter(in_turn) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                measured.trouble = Some("the time for the benchmark ran out".to_owned());
                continue;
            }
            eprintln!("round {}: {}", round + 1, measured.tool.name);
            match run::run(measured.tool.command(), left.min(PATIENCE), scratch) {
                Err(reason) => measured.trouble = Some(reason),
                Ok(finished) => {
                    let figures = measured.tool.prints.and_then(|prints| prints.parse(&finished.stdout));
                    measured.rounds.push(Round {
                        wall: finished.wall,
                        processor: finished.processor,
                        peak: finished.peak,
                        figures,
                    });
                }
            }
        }
    }
    all
}
