//! What the benchmark prints.

use poolscope::snapshot::human::{human_bytes, human_count};
use poolscope_fixtures::LeakPlan;

use crate::common::machine::Machine;
use crate::common::spread::Spread;
use crate::common::table::Table;
use crate::common::verdict;
use crate::figures::{DELETING, Figures, LIVE, OTHER, Tally};
use crate::heartbeat::Beats;
use crate::series::Series;
use crate::units::{bytes, milliseconds, seconds};
use crate::worker::Worker;

const MISSING: &str = "not available";
const NONE: &str = "-";

/// Where and on what it is measured.
pub(crate) fn machine(machine: &Machine, worker: &Worker, snapshot: &Figures, plan: &LeakPlan) {
    let glibc = snapshot.glibc.as_deref().unwrap_or("unknown");
    println!("Machine: {machine}, glibc {glibc}; load average {} before the start", machine.load);
    let in_use = snapshot.main_heap.unwrap_or_default();
    println!(
        "Worker:  RSS {}, {} in use in {} chunks of the main heap; {} generations of {} servers",
        human_bytes(worker.resident),
        human_bytes(in_use.bytes),
        human_count(in_use.chunks),
        human_count(plan.generations as u64),
        human_count(plan.servers as u64)
    );
}

/// What each tool cost: medians, how many times poolscope's they are, and each round.
pub(crate) fn costs(all: &[Series], quiet: &Beats) {
    let header = ["medians", "rounds", "pause", "ratio", "its own word", "total time", "ratio", "peak memory", "ratio"];
    let mut medians = Table::new(&header);
    all.iter().for_each(|series| medians.row(cost_row(series, all.first())));
    let mut rounds = Table::new(&["each round", "pause", "its own word", "total time", "peak memory"]);
    for series in all {
        for (index, round) in series.rounds.iter().enumerate() {
            rounds.row(vec![
                format!("{} {}", series.tool.name, index + 1),
                milliseconds(round.pause.as_secs_f64()),
                round.own_pause.map_or(NONE.to_owned(), milliseconds),
                seconds(round.wall.as_secs_f64()),
                human_bytes(round.peak),
            ]);
        }
    }
    println!("\n{medians}\n{rounds}");
    println!(
        "Pause: the longest that a client of the worker waited for the answer to a small request, one each millisecond, \
         minus the median.\nWith no tool running it was {}. drgn does not stop the worker: it may read a heap in the \
         middle of a change.",
        milliseconds(quiet.pause().as_secs_f64())
    );
    for series in all {
        if let Some(trouble) = &series.trouble {
            println!("{}: {} of {} rounds: {trouble}", series.tool.name, series.rounds.len(), series.tool.rounds);
        }
    }
}

fn cost_row(series: &Series, poolscope: Option<&Series>) -> Vec<String> {
    let base = |value: fn(&Series) -> Option<Spread>| poolscope.and_then(value);
    let mut row = vec![series.tool.name.to_owned(), series.rounds.len().to_string()];
    row.extend(cells(series.pause(), base(Series::pause), milliseconds));
    row.push(series.own_pause().map_or(NONE.to_owned(), |pause| milliseconds(pause.median)));
    row.extend(cells(series.wall(), base(Series::wall), seconds));
    row.extend(cells(series.peak(), base(Series::peak), bytes));
    row
}

fn cells(value: Option<Spread>, base: Option<Spread>, unit: fn(f64) -> String) -> [String; 2] {
    let Some(value) = value else { return [MISSING.to_owned(), NONE.to_owned()] };
    let ratio = base.filter(|base| base.median > 0.0).map(|base| value.median / base.median);
    let digits = if ratio.is_some_and(|ratio| ratio < 0.95) { 2 } else { 1 };
    [unit(value.median), ratio.map_or(NONE.to_owned(), |ratio| format!("{ratio:.digits$}"))]
}

/// What was hoped for, and what came out.
pub(crate) fn expectations(all: &[Series], worker: &Worker) {
    let Some(poolscope) = all.first() else { return };
    println!();
    for gcore in all.iter().filter(|series| series.tool.name.starts_with("gcore")) {
        let what = format!("pause at most 1/20 of that of {}", gcore.tool.name);
        match (poolscope.pause(), gcore.pause()) {
            (Some(ours), Some(theirs)) => {
                let part = theirs.median / ours.median.max(f64::MIN_POSITIVE);
                let got = format!("1/{part:.1}: {} of {}", milliseconds(ours.median), milliseconds(theirs.median));
                verdict(&what, &got, part >= 20.0);
            }
            _ => println!("expected: {what}; got: {MISSING}"),
        }
    }
    if let Some(wall) = poolscope.wall() {
        verdict(
            "the whole command below 1 s",
            &format!("{}, at most {}", seconds(wall.median), seconds(wall.most)),
            wall.most < 1.0,
        );
    }
    if let Some(peak) = poolscope.peak() {
        let part = peak.most / worker.resident.max(1) as f64;
        let got = format!("{:.0} %: {} of {}", part * 100.0, bytes(peak.most), human_bytes(worker.resident));
        verdict("peak memory below 25 % of the worker's RSS", &got, part < 0.25);
    }
}

/// What the tools found, side by side.
pub(crate) fn figures(module: &Figures, poolscope: &Figures, all: &[Series]) {
    let scripts: Vec<&Series> = all.iter().filter(|series| series.figures.is_some()).collect();
    let mut columns = vec![("nginx module itself", module), ("poolscope", poolscope)];
    columns.extend(scripts.iter().filter_map(|series| Some((series.tool.name, series.figures.as_ref()?))));
    let mut header = vec![""];
    header.extend(columns.iter().map(|(name, _)| *name));
    let mut table = Table::new(&header);
    let mut add = |label: &str, value: &dyn Fn(&Figures) -> Option<u64>| {
        let mut row = vec![label.to_owned()];
        row.extend(columns.iter().map(|(_, figures)| value(figures).map_or(NONE.to_owned(), human_count)));
        table.row(row);
    };
    add("main heap: chunks in use or cached", &|figures| figures.main_heap.map(|tally| tally.chunks));
    add("main heap: bytes in use or cached", &|figures| figures.main_heap.map(|tally| tally.bytes));
    add("of these, chunks in tcache or fastbins", &|figures| figures.cached.map(|tally| tally.chunks));
    add("of these, bytes in tcache or fastbins", &|figures| figures.cached.map(|tally| tally.bytes));
    for owner in [DELETING, LIVE, OTHER] {
        let of = |figures: &Figures| figures.owners.get(owner).copied();
        let mut part = |what: &str, value: fn(Tally) -> u64| {
            add(&format!("{owner}: {what}"), &|figures| of(figures).map(value));
        };
        part("pools", |tally| tally.pools);
        part("chunks", |tally| tally.chunks);
        part("bytes", |tally| tally.bytes);
    }
    println!("\n{table}");
    println!(
        "By PREV_INUSE alone, as the scripts go, freed chunks that wait in a tcache or a fastbin count as in use, and a pool \
         that was\nfreed into one still looks like a pool; poolscope finds such chunks and counts neither. The worker answers \
         requests all along,\nso a few chunks come and go between two tools. gcore leaves a core file, without figures."
    );
}

/// That nothing was harmed.
pub(crate) fn aftermath(worker: &Worker, pinned: usize, complaints: &[String]) {
    println!(
        "\nAfterwards: worker {} alive, untraced and answering after every tool; {} clients still connected; {} lines above \
         `info` in nginx's error log",
        worker.pid,
        human_count(pinned as u64),
        complaints.len()
    );
    complaints.iter().take(10).for_each(|line| println!("  {line}"));
}
