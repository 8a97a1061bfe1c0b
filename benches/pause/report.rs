//! What the benchmark prints of each program.

use poolscope::snapshot::human::{human_bytes, human_count};

use crate::Measured;
use crate::common::spread::Spread;
use crate::common::table::Table;
use crate::floor::List;
use crate::series::Series;
use crate::units::{bytes, milliseconds, seconds};

const MISSING: &str = "not available";
const NONE: &str = "-";

/// One program, and what each tool cost it.
pub(crate) fn target(measured: &Measured) {
    let Measured { plan, resident, list, all } = measured;
    println!("({}) {}", plan.letter, plan.name);
    let of = |list: &List| format!("{} in {} reads", human_bytes(list.bytes), human_count(list.pieces));
    println!(
        "    RSS {}, {} chunks; the floor reads {}, or pages only: {}",
        human_bytes(*resident),
        human_count(list.chunks),
        of(&list.windows),
        of(&list.pages)
    );
    println!("    at rest: {}\n", quiet(all));
    let header = [
        "",
        "rounds",
        "target saw",
        "without waits",
        "own word",
        "stops",
        "sum of stops",
        "total time",
        "stolen",
        "peak memory",
    ];
    let mut table = Table::new(&header);
    all.iter().for_each(|series| table.row(row(series)));
    println!("{table}");
    for series in all {
        if let Some(trouble) = &series.trouble {
            println!("{}: {} of {} rounds: {trouble}", series.tool.name, series.rounds.len(), series.tool.rounds);
        }
    }
}

/// What the heartbeat sees without any tool: its resolution.
fn quiet(all: &[Series]) -> String {
    let rounds = || all.iter().flat_map(|series| &series.rounds);
    let spread = |value: fn(&crate::series::Round) -> f64| Spread::of(rounds().map(value).collect());
    let period = spread(|round| round.quiet.period().as_secs_f64() * 1e6);
    let longest = spread(|round| round.quiet.longest.as_secs_f64());
    let stood = spread(|round| round.quiet.stood.as_secs_f64());
    match (period, longest, stood) {
        (Some(period), Some(longest), Some(stood)) => format!(
            "a beat each {:.0} us; longest gap {}, without waits for a processor {}",
            period.median,
            range(longest, milliseconds),
            range(stood, milliseconds)
        ),
        _ => MISSING.to_owned(),
    }
}

fn row(series: &Series) -> Vec<String> {
    // It would have stood for longer.
    let at_least = if series.was_cut() { "> " } else { "" };
    let cell =
        |value: Option<Spread>, unit: fn(f64) -> String| value.map_or(NONE.to_owned(), |value| range(value, unit));
    let seen = series.seen().map_or(MISSING.to_owned(), |seen| format!("{at_least}{}", range(seen, milliseconds)));
    let count = |value: f64| format!("{value:.0}");
    vec![
        series.tool.name.to_owned(),
        series.rounds.len().to_string(),
        seen,
        cell(series.stood(), milliseconds),
        cell(series.told(), milliseconds),
        cell(series.spread(|round| round.told.map(|told| told.stops as f64)), count),
        cell(series.spread(|round| round.told.map(|told| told.sum.as_secs_f64())), milliseconds),
        series.spread(|round| Some(round.wall.as_secs_f64())).map_or(NONE.to_owned(), |wall| seconds(wall.median)),
        cell(series.spread(|round| Some(round.stolen.as_secs_f64())), milliseconds),
        series.peak().map_or(NONE.to_owned(), |peak| bytes(peak.most)),
    ]
}

/// `median (least-most)`
fn range(value: Spread, unit: fn(f64) -> String) -> String {
    let (least, most) = (unit(value.least), unit(value.most));
    let least = match (least.rsplit_once(' '), most.rsplit_once(' ')) {
        // The unit once is enough.
        (Some((number, ours)), Some((_, theirs))) if ours == theirs => number.to_owned(),
        _ => least,
    };
    format!("{} ({least}-{most})", unit(value.median))
}

/// All programs at once: what each target saw, and what the tool said, medians.
pub(crate) fn side_by_side(all: &[Measured]) {
    let mut header = vec!["target saw / own word".to_owned()];
    header.extend(all.iter().map(|one| format!("({})", one.plan.letter)));
    let mut table = Table::new(&header.iter().map(String::as_str).collect::<Vec<_>>());
    let Some(first) = all.first() else { return };
    for (index, series) in first.all.iter().enumerate() {
        let mut row = vec![series.tool.name.to_owned()];
        row.extend(all.iter().map(|one| one.all.get(index).map_or(MISSING.to_owned(), pair)));
        table.row(row);
    }
    println!("{table}");
    println!(
        "Target saw: the longest time between two looks at the clock of a thread inside the program. Without waits: the same, without \
         the time\nfor which that thread could have run and waited for a processor. Own word: the longest stop as the tool says it. \
         Medians, in brackets the least\nand the most; peak memory is the most. Stolen: processor time that the \
         hypervisor took meanwhile, of all\nprocessors, in steps of 10 ms. A floor is a plain stop by one thread that reads every \
         page with a chunk header, and does nothing else.\n"
    );
}

fn pair(series: &Series) -> String {
    let at_least = if series.was_cut() { "> " } else { "" };
    let Some(seen) = series.seen() else { return MISSING.to_owned() };
    let told = series.told().map_or(NONE.to_owned(), |told| milliseconds(told.median));
    format!("{at_least}{} / {told}", milliseconds(seen.median))
}
