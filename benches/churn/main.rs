//! Snapshots of a program whose threads allocate and free as fast as they can, each held against what was live at its stops:
//! what is called exact is so, and how far off is the rest. `docs/benchmarks.md` says how to read what this prints.
//!
//! It ends with status 1 if a snapshot that is called exact is not, or if nothing could be measured.

#[path = "../../tests/churn_support/mod.rs"]
mod churn_support;
#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "what the benchmarks have in common is more than this one needs")]
mod common;
mod modes;
mod report;

use std::process::ExitCode;

use churn_support::compare;
use common::Failure;
use modes::{MODES, Mode};
use poolscope_fixtures::{Churn, ChurnPlan};
use report::Results;

/// Of each mode, if the command line gives no other number.
const SNAPSHOTS: u32 = 1_000;

/// After so many another program is started, with other random numbers.
const OF_ONE_PROGRAM: u32 = 50;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        // `cargo test --all-targets` runs benchmarks, too, but without this argument.
        println!("churn measures for most of an hour: run it with `cargo bench --bench churn`");
        return ExitCode::SUCCESS;
    }
    let count = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(SNAPSHOTS);
    let named = |mode: &&Mode| arguments.iter().any(|argument| argument == mode.label);
    let mut modes: Vec<&Mode> = MODES.iter().filter(named).collect();
    if modes.is_empty() {
        modes = MODES.iter().collect();
    }
    match measure(&modes, count) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("churn: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// True if what is called exact is so.
fn measure(modes: &[&Mode], count: u32) -> Result<bool, Failure> {
    println!("{}", report::machine());
    let mut all = Vec::new();
    for mode in modes.iter().copied() {
        let results = run(mode, count)?;
        println!("{}: {}", mode.label, results.in_short());
        all.push((mode, results));
        // A mode takes up to half an hour: what one has found is shown even if the next is not waited for.
        println!("\n{}", report::table(&all));
    }
    Ok(report::judge(&all))
}

fn run(mode: &Mode, count: u32) -> Result<Results, Failure> {
    let mut results = Results::default();
    let mut seed: u64 = 0;
    while results.tries() < count as usize {
        seed += 1;
        let plan = ChurnPlan { seed, one_arena: seed.is_multiple_of(2), ..mode.plan() };
        let mut churn = Churn::start(&plan)?;
        for _ in 0..OF_ONE_PROGRAM.min(count - results.tries() as u32) {
            results.add(compare(&mut churn, mode.max_pause), u64::from(plan.threads) + 1);
        }
        eprintln!("{}: {} of {count}, {}", mode.label, results.tries(), results.in_short());
    }
    Ok(results)
}
