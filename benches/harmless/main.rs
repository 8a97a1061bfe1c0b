//! Thousands of poolscopes, each ended in the middle of its work, and what became of the worker each time. `docs/safety.md`
//! has what came out.
//!
//! Unlike the other benchmarks it is a test: it ends with status 1 if any worker was left traced, stopped, without an answer,
//! or changed, or if poolscope ended in a way that it should not.

mod campaign;
#[path = "../common/machine.rs"]
mod machine;
mod report;
#[path = "../common/table.rs"]
mod table;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use poolscope_fixtures::build;

use campaign::Failure;
use campaign::end::End;
use campaign::round::{Aim, Campaign, Round, Stops};

/// How often each end comes at any moment, unless `--rounds` says otherwise. A quarter as many come in a stop.
const ROUNDS: usize = 1000;

/// A part of the rounds of one end that follow each other: so that what else the machine does falls on all ends.
const TURN: usize = 20;

/// It ends after this many minutes, unless `--minutes` says otherwise, with what was done by then.
const MINUTES: u64 = 120;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --all-targets` runs benchmarks, too, but without this argument.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("harmless takes an hour: run it with `cargo bench --bench harmless`");
        return ExitCode::SUCCESS;
    }
    let number = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1)?.parse::<u64>().ok()
    };
    let plan = Plan {
        rounds: number("--rounds").map_or(ROUNDS, |rounds| rounds as usize),
        seed: number("--seed").unwrap_or_else(now),
        ends: End::ALL.into_iter().filter(|end| is_wanted(*end, &arguments)).collect(),
        longest: Duration::from_secs(60 * number("--minutes").unwrap_or(MINUTES)),
    };
    match run(&plan) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(faults) => {
            eprintln!("harmless: {faults} rounds did harm");
            ExitCode::FAILURE
        }
        Err(failure) => {
            eprintln!("harmless: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// True unless other ends were named, as in `--end SIGKILL`.
fn is_wanted(end: End, arguments: &[String]) -> bool {
    let mut named = arguments.windows(2).filter(|pair| pair[0] == "--end").map(|pair| pair[1].as_str()).peekable();
    named.peek().is_none() || named.any(|name| name == end.name())
}

/// What is to be done.
pub(crate) struct Plan {
    rounds: usize,
    seed: u64,
    ends: Vec<End>,
    longest: Duration,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64)
}

/// What came of all rounds of one kind.
pub(crate) struct Tally {
    end: End,
    aim: Aim,
    wanted: usize,
    rounds: Vec<Round>,
    faults: Vec<String>,
}

impl Tally {
    fn done(&self) -> usize {
        self.rounds.len() + self.faults.len()
    }
}

/// How many rounds did harm.
fn run(plan: &Plan) -> Result<usize, Failure> {
    let begin = Instant::now();
    build::nginx::nginx(|step| eprintln!("{step}"))?;
    let mut campaign = Campaign::start(Path::new(env!("CARGO_BIN_EXE_poolscope")), plan.seed)?;
    let undisturbed = campaign.subject().undisturbed(1000)?;
    report::setting(&campaign, plan);
    let kinds = [(Aim::Anywhere, plan.rounds), (Aim::InStop, plan.rounds / 4)];
    let mut tallies: Vec<Tally> = kinds
        .into_iter()
        .flat_map(|(aim, wanted)| {
            plan.ends.iter().map(move |&end| Tally { end, aim, wanted, rounds: vec![], faults: vec![] })
        })
        .collect();
    while tallies.iter().any(|tally| tally.done() < tally.wanted) && begin.elapsed() < plan.longest {
        for tally in &mut tallies {
            turn(&mut campaign, tally);
        }
        let done: usize = tallies.iter().map(Tally::done).sum();
        eprintln!("{done} of {}", tallies.iter().map(|tally| tally.wanted).sum::<usize>());
    }
    let answered = campaign.subject().answered();
    let load = campaign.finish();
    report::results(&tallies, &undisturbed);
    println!("requests of the load: {answered} answered, {}", if load.is_ok() { "none failed" } else { "one failed" });
    Ok(tallies.iter().map(|tally| tally.faults.len()).sum::<usize>() + usize::from(load.is_err()))
}

fn turn(campaign: &mut Campaign, tally: &mut Tally) {
    for _ in 0..TURN.min(tally.wanted - tally.done()) {
        let stops = if tally.done().is_multiple_of(2) { Stops::Single } else { Stops::Several };
        match campaign.round(tally.end, stops, tally.aim) {
            Ok(round) => tally.rounds.push(round),
            Err(fault) => {
                eprintln!("{fault}");
                tally.faults.push(fault.to_string());
            }
        }
    }
}
