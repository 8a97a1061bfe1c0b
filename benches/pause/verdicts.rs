//! What was hoped for, and what came out.

use poolscope::snapshot::human::human_bytes;

use crate::Measured;
use crate::common::machine::Machine;
use crate::common::spread::Spread;
use crate::common::verdict;
use crate::series::{Round, Series};
use crate::tools::Role;
use crate::units::milliseconds;

/// What poolscope may take besides what it takes for each chunk.
const BASE: u64 = 64 << 20;
const OF_EACH_CHUNK: u64 = 16;

/// Of the stops of `--max-pause 5ms`: what counts as near it, in seconds.
const NEAR_FIVE: f64 = 0.006;

/// Prints all of them, for each program.
pub(crate) fn expectations(all: &[Measured], machine: &Machine) {
    for one in all {
        let what = |text: &str| format!("({}) {text}", one.plan.letter);
        if let (Some(ours), Some(floor)) = (told(one, Role::SingleStop), told(one, Role::FloorWindows)) {
            let part = ours.median / floor.median.max(f64::MIN_POSITIVE);
            let got = format!("{part:.2} of it: {} of {}", milliseconds(ours.median), milliseconds(floor.median));
            verdict(&what("--single-stop at most the floor"), &got, part <= 1.0);
            if machine.processors >= 2 {
                verdict(&what("--single-stop at most half of it where two processors are free"), &got, part <= 0.5);
            }
        }
        if let Some(floor) = told(one, Role::FloorWindows) {
            let elsewhere = one.plan.known_floor.map_or(String::new(), |known| format!("; elsewhere {known:.0} ms"));
            println!("the floor of ({}): {}{elsewhere}", one.plan.letter, milliseconds(floor.median));
        }
        let processors = machine.processors;
        limit(&what("default settings never above 20 ms"), series(one, Role::Default), 0.020, processors);
        limit(&what("near 5 ms with --max-pause 5ms"), series(one, Role::FiveMilliseconds), NEAR_FIVE, processors);
        let allowed = BASE + OF_EACH_CHUNK * one.list.chunks;
        let ours = one.all.iter().filter(|series| series.tool.role.is_ours());
        if let Some(peak) = ours.filter_map(|series| Some(series.peak()?.most)).reduce(f64::max) {
            let got = human_bytes(peak as u64);
            let text = format!("peak memory at most 64 MiB and 16 bytes for each chunk, {}", human_bytes(allowed));
            verdict(&what(&text), &got, peak <= allowed as f64);
        }
    }
}

/// A round counts as undisturbed if the hypervisor took no more than this part of the processors' time.
const UNDISTURBED: f64 = 0.005;

/// Of all rounds, by the tool's own word and by the program's.
fn limit(what: &str, series: Option<&Series>, most: f64, processors: usize) {
    let Some((series, told)) = series.and_then(|series| Some((series, series.told()?))) else { return };
    let above = |value: &dyn Fn(&Round) -> f64| series.rounds.iter().filter(|round| value(round) > most).count();
    let printed = above(&|round| round.told.map_or(0.0, |told| told.longest.as_secs_f64()));
    let seen = above(&|round| round.beats.longest.as_secs_f64());
    let stood = above(&|round| round.beats.stood.as_secs_f64());
    let got = format!(
        "at most {} by its own word; above it in {printed} of {} rounds, by what the target saw {seen}, without its waits {stood}",
        milliseconds(told.most),
        series.rounds.len()
    );
    verdict(what, &got, printed + stood == 0);
    let undisturbed = || series.rounds.iter().filter(|round| round.stolen_part(processors) <= UNDISTURBED);
    let told = undisturbed().filter_map(|round| Some(round.told?.longest.as_secs_f64()));
    let took = format!("the hypervisor took at most {} % of the processors' time", 100.0 * UNDISTURBED);
    match told.reduce(f64::max) {
        Some(longest) => {
            println!("    in the {} rounds in which {took}: at most {}", undisturbed().count(), milliseconds(longest));
        }
        None => println!("    there was no round in which {took}"),
    }
}

fn series(one: &Measured, role: Role) -> Option<&Series> {
    one.all.iter().find(|series| series.tool.role == role)
}

fn told(one: &Measured, role: Role) -> Option<Spread> {
    series(one, role)?.told()
}
