//! Whether what a tool says of its longest stop is what the program saw.

use std::time::Duration;

use poolscope_fixtures::Beats;

use crate::Measured;
use crate::common::spread::Spread;
use crate::common::table::Table;
use crate::common::verdict;
use crate::series::{Round, Series};
use crate::units::milliseconds;

/// Prints by how much programs stood still for longer than they were said to, and how often that was more than a heartbeat sees
/// at rest.
pub(crate) fn own_words(all: &[Measured]) {
    let header = [
        "target saw minus own word",
        "rounds",
        "least",
        "median",
        "most",
        "without waits: least",
        "median",
        "most",
        "longer",
        "without waits",
    ];
    let mut table = Table::new(&header);
    let mut ours = 0;
    let mut longer = Vec::new();
    for one in all {
        for series in one.all.iter().filter(|series| series.tool.role.tells()) {
            let beyond = [seen as fn(&Beats) -> Duration, stood].map(|of| unexplained(series, of));
            table.row(row(one, series, [beyond[0].len(), beyond[1].len()]));
            if series.tool.role.is_ours() {
                ours += series.rounds.len();
                let name = format!("({}) {}", one.plan.letter, series.tool.name);
                longer.extend(beyond[1].iter().map(|round| format!("    {name}: {}", in_words(round))));
            }
        }
    }
    println!("{table}");
    println!(
        "Longer: rounds in which the program saw a longer gap than the tool told of, by more than the longest gap at rest right \
         after that round.\nWithout waits: gaps less the time for which the heartbeat waited for a processor, which is after the tool has let it \
         go.\n"
    );
    let got = format!("{} of {ours} rounds", longer.len());
    verdict(
        "a printed pause is never shorter than what the target saw, beyond its resolution",
        &got,
        longer.is_empty(),
    );
    // Where a hypervisor took the heartbeat's processor, the program stood still without being stopped.
    longer.iter().for_each(|line| println!("{line}"));
}

fn in_words(round: &Round) -> String {
    let told = round.told.map_or_else(|| "-".to_owned(), |told| milliseconds(told.longest.as_secs_f64()));
    format!(
        "without waits {}, own word {told}; the hypervisor took {} meanwhile",
        milliseconds(round.beats.stood.as_secs_f64()),
        milliseconds(round.stolen.as_secs_f64())
    )
}

fn seen(beats: &Beats) -> Duration {
    beats.longest
}

fn stood(beats: &Beats) -> Duration {
    beats.stood
}

/// Rounds with a longer gap than the tool told of and the heartbeat's resolution explain.
fn unexplained(series: &Series, of: fn(&Beats) -> Duration) -> Vec<&Round> {
    let is_longer = |round: &&Round| round.beyond(of).is_some_and(|beyond| beyond > of(&round.quiet).as_secs_f64());
    series.rounds.iter().filter(is_longer).collect()
}

fn row(one: &Measured, series: &Series, counts: [usize; 2]) -> Vec<String> {
    let mut row = vec![format!("({}) {}", one.plan.letter, series.tool.name), series.rounds.len().to_string()];
    for of in [seen, stood] {
        let spread = series.spread(|round| round.beyond(of));
        let cell =
            |value: fn(Spread) -> f64| spread.map_or("-".to_owned(), |spread| format!("{:.2} ms", value(spread) * 1e3));
        row.extend([cell(|spread| spread.least), cell(|spread| spread.median), cell(|spread| spread.most)]);
    }
    row.extend(counts.map(|count| count.to_string()));
    row
}
