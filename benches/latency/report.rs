//! What is printed.

use poolscope::snapshot::human::{human_bytes, human_count};

use crate::Plan;
use crate::common::machine::Machine;
use crate::common::table::Table;
use crate::common::verdict;
use crate::load::{CONNECTIONS, Seen, Traffic};
use crate::modes::{Mode, Tally};
use crate::units::{milliseconds, seconds};
use crate::worker::Worker;

/// Where and on what it is measured.
pub(crate) fn setting(plan: &Plan, worker: &Worker) {
    let machine = Machine::look();
    println!("Machine: {machine}; load average {} before the start", machine.load);
    println!(
        "Worker:  RSS {}; {CONNECTIONS} connections for each kind of request. The worker, two wrk, the backend and poolscope share \
         the {} processors.",
        human_bytes(worker.resident),
        machine.processors
    );
    println!("{} snapshots in turns of {} s for each mode\n", human_count(plan.snapshots), plan.turn.as_secs());
}

/// What clients saw, mode by mode; then what poolscope says of its snapshots.
pub(crate) fn tables(tallies: &[Tally]) {
    let mut seen = Table::new(&["clients saw", "requests", "per second", "p50", "p99", "p99.9", "longest", "failed"]);
    for traffic in Traffic::ALL {
        for tally in tallies {
            let name = format!("{}: {}", traffic.name(), tally.mode.name());
            match traffic {
                Traffic::Own => seen.row(latencies(name, &tally.own)),
                Traffic::Proxied => seen.row(latencies(name, &tally.proxied)),
            }
        }
    }
    let header =
        ["poolscope says", "snapshots", "failed", "incomplete", "stops", "pause", "longest pause", "stopped", "time"];
    let mut taken = Table::new(&header);
    tallies.iter().filter(|tally| tally.mode != Mode::Alone).for_each(|tally| taken.row(snapshots(tally)));
    println!("{seen}\n{taken}");
    println!(
        "stops, pause (the longest stop of a snapshot) and time (of the whole command): medians of all snapshots of the mode. \
         stopped: share of the time under load."
    );
}

fn latencies(name: String, seen: &Seen) -> Vec<String> {
    let time = |microseconds: Option<u64>| {
        microseconds.map_or_else(|| "-".to_owned(), |time| format!("{:.2} ms", time as f64 / 1e3))
    };
    let quantile = |of_million| time(seen.latencies.quantile(of_million));
    vec![
        name,
        human_count(seen.requests),
        human_count(seen.requests_per_second() as u64),
        quantile(500_000),
        quantile(990_000),
        quantile(999_000),
        time(seen.latencies.longest()),
        human_count(seen.failed),
    ]
}

fn snapshots(tally: &Tally) -> Vec<String> {
    let shown = |value: Option<f64>, show: fn(f64) -> String| value.map_or_else(|| "-".to_owned(), show);
    let pause = tally.spread(|taken| taken.freeze.pause_microseconds as f64 / 1e6);
    let stops = tally.spread(|taken| taken.freeze.stops as f64);
    let wall = tally.spread(|taken| taken.wall.as_secs_f64());
    vec![
        tally.mode.name().to_owned(),
        human_count(tally.taken.len() as u64),
        human_count(tally.failed),
        human_count(tally.incomplete() as u64),
        shown(stops.map(|stops| stops.median), |median| format!("{median:.0}")),
        shown(pause.map(|pause| pause.median), milliseconds),
        shown(pause.map(|pause| pause.most), milliseconds),
        format!("{:.1} %", tally.stood_still() * 100.0),
        shown(wall.map(|wall| wall.median), seconds),
    ]
}

/// Whether nothing failed, and nginx had nothing to complain about.
pub(crate) fn judge(tallies: &[Tally], complaints: &[String], plan: &Plan) -> bool {
    let requests: u64 = tallies.iter().map(Tally::failed_requests).sum();
    let failed: u64 = tallies.iter().map(|tally| tally.failed).sum();
    let tried: u64 = tallies.iter().map(Tally::tried).sum();
    let all_taken = failed == 0 && tried >= plan.snapshots;
    println!();
    verdict("no failed request", &human_count(requests), requests == 0);
    let taken = format!("{} taken, {} failed", human_count(tried - failed), human_count(failed));
    verdict(&format!("{} snapshots, none failed", human_count(plan.snapshots)), &taken, all_taken);
    verdict("no complaint in nginx's error log", &human_count(complaints.len() as u64), complaints.is_empty());
    complaints.iter().take(10).for_each(|line| eprintln!("{line}"));
    requests == 0 && all_taken && complaints.is_empty()
}
