//! Whether what a tool says of its longest stop is what the program saw.

use std::time::Duration;

use poolscope_fixtures::Beats;

use crate::Measured;
use crate::common::spread::Spread;
use crate::common::table::Table;
use crate::common::verdict;
use crate::series::{Round, Series};

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
    let (mut ours, mut longer) = (0, 0);
    for one in all {
        for series in one.all.iter().filter(|series| series.tool.role.tells()) {
            let counts = [count(series, seen), count(series, stood)];
            if series.tool.role.is_ours() {
                ours += series.rounds.len();
                longer += counts[1];
            }
            table.row(row(one, series, counts));
        }
    }
    println!("{table}");
    println!(
        "Longer: rounds in which the program saw a longer gap than the tool told of, by more than the longest gap at rest right \
         after that round.\nWithout waits: gaps less the time for which the heartbeat waited for a processor, which is after the tool has let it \
         go.\n"
    );
    let got = format!("{longer} of {ours} rounds");
    verdict("a printed pause is never shorter than what the target saw, beyond its resolution", &got, longer == 0);
}

fn seen(beats: &Beats) -> Duration {
    beats.longest
}

fn stood(beats: &Beats) -> Duration {
    beats.stood
}

/// Rounds with a longer gap than the tool told of and the heartbeat's resolution explain.
fn count(series: &Series, of: fn(&Beats) -> Duration) -> usize {
    let is_longer = |round: &&Round| round.beyond(of).is_some_and(|beyond| beyond > of(&round.quiet).as_secs_f64());
    series.rounds.iter().filter(is_longer).count()
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
