//! Thousands of poolscopes, each ended in the middle of its work, and what became of the worker each time; then thousands of
//! signals to nginx while poolscope is at work on it. `docs/safety.md` has what came out.
//!
//! Unlike the other benchmarks it is a test: it ends with status 1 if any process was left traced, stopped, without an answer,
//! or changed, if a signal was lost or came twice, or if poolscope ended in a way that it should not.

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
use campaign::receipt::{Receipt, Receiver};
use campaign::round::{Aim, Campaign, Round, Stops};

/// How often each end, or each signal to nginx, comes, unless `--rounds` says otherwise. A quarter as many ends more come in a stop.
const ROUNDS: usize = 1000;

/// A part of the rounds of one kind that follow each other: so that what else the machine does falls on all kinds.
const TURN: usize = 20;

/// Each of the two parts ends after this many minutes, unless `--minutes` says otherwise, with what was done by then.
const MINUTES: u64 = 120;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --all-targets` runs benchmarks, too, but without this argument.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("harmless takes two hours: run it with `cargo bench --bench harmless`");
        return ExitCode::SUCCESS;
    }
    let number = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1)?.parse::<u64>().ok()
    };
    let plan = Plan {
        rounds: number("--rounds").map_or(ROUNDS, |rounds| rounds as usize),
        seed: number("--seed").unwrap_or_else(now),
        ends: End::ALL.into_iter().filter(|end| is_wanted("--end", end.name(), &arguments)).collect(),
        receipts: Receipt::ALL.into_iter().filter(|kind| is_wanted("--signal", &kind.name(), &arguments)).collect(),
        longest: Duration::from_secs(60 * number("--minutes").unwrap_or(MINUTES)),
    };
    if plan.ends.is_empty() && plan.receipts.is_empty() {
        eprintln!("harmless: no such end or signal: see the table of a run with `-- --rounds 0`");
        return ExitCode::FAILURE;
    }
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

/// True unless others were named, as in `--end SIGKILL` or `--signal SIGSTOP`.
fn is_wanted(option: &str, name: &str, arguments: &[String]) -> bool {
    let mut named = arguments.windows(2).filter(|pair| ["--end", "--signal"].contains(&pair[0].as_str())).peekable();
    named.peek().is_none() || named.any(|pair| pair[0] == option && pair[1] == name)
}

/// What is to be done.
pub(crate) struct Plan {
    rounds: usize,
    seed: u64,
    ends: Vec<End>,
    receipts: Vec<Receipt>,
    longest: Duration,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64)
}

/// What came of all rounds of one kind.
pub(crate) struct Tally<K> {
    kind: K,
    wanted: usize,
    rounds: Vec<Round>,
    faults: Vec<String>,
}

impl<K> Tally<K> {
    fn new(kind: K, wanted: usize) -> Tally<K> {
        Tally { kind, wanted, rounds: vec![], faults: vec![] }
    }

    fn done(&self) -> usize {
        self.rounds.len() + self.faults.len()
    }
}

/// How many rounds did harm.
fn run(plan: &Plan) -> Result<usize, Failure> {
    build::nginx::nginx(|step| eprintln!("{step}"))?;
    let binary = Path::new(env!("CARGO_BIN_EXE_poolscope"));
    let mut faults = 0;
    if !plan.ends.is_empty() {
        faults += ends(plan, binary)?;
    }
    if !plan.receipts.is_empty() {
        faults += receipts(plan, binary)?;
    }
    Ok(faults)
}

/// Poolscope is ended.
fn ends(plan: &Plan, binary: &Path) -> Result<usize, Failure> {
    let mut campaign = Campaign::start(binary, plan.seed)?;
    let undisturbed = campaign.subject().undisturbed(1000)?;
    report::setting(&campaign, plan);
    let aims = [(Aim::Anywhere, plan.rounds), (Aim::InStop, plan.rounds / 4)];
    let of_aim = |(aim, wanted)| plan.ends.iter().map(move |end| Tally::new((*end, aim), wanted));
    let mut tallies: Vec<Tally<(End, Aim)>> = aims.into_iter().flat_map(of_aim).collect();
    let faults = fill(&mut tallies, plan.longest, |(end, aim), stops, _| campaign.round(end, stops, aim));
    let answered = campaign.subject().answered();
    let load = campaign.finish();
    report::ends(&tallies, &undisturbed);
    println!("requests of the load: {answered} answered, {}", if load.is_ok() { "none failed" } else { "one failed" });
    Ok(faults + usize::from(load.is_err()))
}

/// nginx receives signals.
fn receipts(plan: &Plan, binary: &Path) -> Result<usize, Failure> {
    let mut receiver = Receiver::start(binary, plan.seed)?;
    report::setting(receiver.campaign(), plan);
    let mut tallies: Vec<_> = plan.receipts.iter().map(|receipt| Tally::new(*receipt, plan.rounds)).collect();
    let faults = fill(&mut tallies, plan.longest, |receipt, stops, round| {
        let aim = if round % 4 < 2 { Aim::Anywhere } else { Aim::InStop };
        receiver.round(receipt, stops, aim)
    });
    let load = receiver.finish();
    report::receipts(&tallies);
    println!("requests of the load: {}", if load.is_ok() { "none failed" } else { "one failed" });
    Ok(faults + usize::from(load.is_err()))
}

/// Does the rounds of all kinds, in turns. Says how many did harm.
fn fill<K: Copy>(
    tallies: &mut [Tally<K>],
    longest: Duration,
    mut round: impl FnMut(K, Stops, usize) -> Result<Round, Failure>,
) -> usize {
    let begin = Instant::now();
    while tallies.iter().any(|tally| tally.done() < tally.wanted) && begin.elapsed() < longest {
        for tally in &mut *tallies {
            turn(tally, &mut round);
        }
        let done: usize = tallies.iter().map(Tally::done).sum();
        eprintln!("{done} of {}", tallies.iter().map(|tally| tally.wanted).sum::<usize>());
    }
    tallies.iter().map(|tally| tally.faults.len()).sum()
}

fn turn<K: Copy>(tally: &mut Tally<K>, round: &mut impl FnMut(K, Stops, usize) -> Result<Round, Failure>) {
    for _ in 0..TURN.min(tally.wanted - tally.done()) {
        let stops = if tally.done().is_multiple_of(2) { Stops::Single } else { Stops::Several };
        match round(tally.kind, stops, tally.done()) {
            Ok(round) => tally.rounds.push(round),
            Err(fault) => {
                eprintln!("{fault}");
                tally.faults.push(fault.to_string());
            }
        }
    }
}
