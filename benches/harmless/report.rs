//! What is printed.

use std::time::Duration;

use super::campaign::end::End;
use super::campaign::receipt::Receipt;
use super::campaign::round::{Aim, Campaign, Round, Stops};
use super::machine::Machine;
use super::table::Table;
use super::{Plan, Tally};

/// What it was done on.
pub(crate) fn setting(campaign: &Campaign, plan: &Plan) {
    let Machine { processors, kernel, memory, load } = Machine::look();
    println!(
        "{processors} processors, {:.1} GiB of memory, Linux {kernel}, load {load}",
        memory as f64 / f64::from(1 << 30)
    );
    println!(
        "a run takes {} ms in one stop and {} ms in stops of at most 5 ms; {} rounds, seed {}",
        campaign.usual(Stops::Single).as_millis(),
        campaign.usual(Stops::Several).as_millis(),
        plan.rounds,
        plan.seed
    );
}

/// A line for each way to end.
pub(crate) fn ends(tallies: &[Tally<(End, Aim)>], undisturbed: &[Duration]) {
    let mut table =
        Table::new(&["end", "at", "rounds", "worker held", "cut short", "answer: median", "99 %", "longest", "harm"]);
    let quiet = Answers::of(undisturbed.to_vec());
    table.row(
        ["nobody looks", "", "", "", "", &quiet.median, &quiet.late, &quiet.longest, ""].map(str::to_owned).into(),
    );
    for tally in tallies {
        let (end, aim) = tally.kind;
        let at = match aim {
            Aim::Anywhere => "any moment",
            Aim::InStop => "a stop",
        };
        table.row([end.name().to_owned(), at.to_owned()].into_iter().chain(outcome(tally)).collect());
    }
    println!("{table}");
}

/// A line for each signal that nginx receives.
pub(crate) fn receipts(tallies: &[Tally<Receipt>]) {
    let mut table =
        Table::new(&["nginx gets", "rounds", "held then", "no report", "answer: median", "99 %", "longest", "harm"]);
    for tally in tallies {
        table.row([tally.kind.name()].into_iter().chain(outcome(tally)).collect());
    }
    println!("{table}");
}

/// Rounds, how often the target was held, how often there was no report, answers, harm.
fn outcome<K>(tally: &Tally<K>) -> [String; 7] {
    let answers = Answers::of(tally.rounds.iter().map(|round| round.waited).collect());
    let count = |of: fn(&Round) -> bool| tally.rounds.iter().filter(|round| of(round)).count().to_string();
    [
        tally.done().to_string(),
        count(|round| round.held),
        count(|round| round.cut_short),
        answers.median,
        answers.late,
        answers.longest,
        tally.faults.len().to_string(),
    ]
}

/// How long new clients waited, in words.
struct Answers {
    median: String,
    late: String,
    longest: String,
}

impl Answers {
    fn of(mut times: Vec<Duration>) -> Answers {
        times.sort_unstable();
        let at = |percent: usize| {
            let place = (times.len().saturating_sub(1)) * percent / 100;
            times.get(place).map_or_else(|| "-".to_owned(), |time| format!("{:.2} ms", time.as_secs_f64() * 1e3))
        };
        Answers { median: at(50), late: at(99), longest: at(100) }
    }
}
