//! What the benchmark prints.

use poolscope::snapshot::human::{human_bytes, human_count};

use crate::Measured;
use crate::common::machine::Machine;
use crate::common::spread::Spread;
use crate::common::table::Table;
use crate::common::verdict;
use crate::figures::{Expected, Prints, Tally};
use crate::subject::Subject;
use crate::tools::Role;

const MISSING: &str = "not available";

/// Where and on what it is measured.
pub(crate) fn subject(machine: &Machine, subject: &Subject) {
    println!("Machine: {machine}; load average {} before the start", machine.load);
    println!(
        "Program: RSS {}, {} live chunks of {} by its own count\nCore:    {} by gcore, {} packed with zstd; both in the page cache",
        human_bytes(subject.resident),
        human_count(subject.live),
        human_bytes(subject.live_bytes),
        human_bytes(subject.core_size),
        human_bytes(subject.packed_size)
    );
}

impl Measured {
    fn wall(&self) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(|round| round.wall.as_secs_f64()).collect())
    }

    fn processor(&self) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(|round| round.processor.as_secs_f64()).collect())
    }

    fn peak(&self) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(|round| round.peak as f64).collect())
    }

    /// Seconds for the whole core: for a walk that ended early, as if it had gone on at the same pace.
    fn whole_time(&self, chunks: u64) -> Option<f64> {
        let wall = self.wall()?.median;
        match self.rounds.last().and_then(|round| round.figures) {
            Some(figures) if !figures.is_whole => {
                let walk = figures.walked_for.unwrap_or(wall);
                Some(wall - walk + walk / figures.found.chunks.max(1) as f64 * chunks as f64)
            }
            _ => Some(wall),
        }
    }
}

fn of(all: &[Measured], role: Role) -> impl Iterator<Item = &Measured> {
    all.iter().filter(move |measured| measured.tool.role == role)
}

/// What each tool cost: medians, and how many times poolscope's they are.
pub(crate) fn costs(all: &[Measured], subject: &Subject) {
    let ours = of(all, Role::Poolscope).next();
    let base = ours.and_then(|ours| ours.whole_time(subject.live));
    let mut table = Table::new(&[
        "medians",
        "rounds",
        "time",
        "from",
        "to",
        "ratio",
        "processor time",
        "peak memory",
        "of the core",
    ]);
    for measured in all {
        let (Some(time), Some(peak)) = (measured.whole_time(subject.live), measured.peak()) else {
            let mut row = vec![measured.tool.name.to_owned(), "0".to_owned()];
            row.extend(std::iter::repeat_n(MISSING.to_owned(), 7));
            table.row(row);
            continue;
        };
        let extrapolated = measured.rounds.iter().filter_map(|round| round.figures).any(|figures| !figures.is_whole);
        let walls = || measured.rounds.iter().map(|round| round.wall.as_secs_f64());
        table.row(vec![
            measured.tool.name.to_owned(),
            measured.rounds.len().to_string(),
            format!("{}{time:.2} s", if extrapolated { "~" } else { "" }),
            format!("{:.2} s", walls().fold(f64::INFINITY, f64::min)),
            format!("{:.2} s", walls().fold(0.0, f64::max)),
            base.map_or(MISSING.to_owned(), |base| format!("{:.1}", time / base)),
            measured.processor().map_or(MISSING.to_owned(), |time| format!("{:.2} s", time.median)),
            human_bytes(peak.median as u64),
            format!("{:.1} %", peak.median * 100.0 / subject.core_size as f64),
        ]);
    }
    println!("\n{table}");
    for measured in all {
        if let Some(trouble) = &measured.trouble {
            println!("{}: {trouble}", measured.tool.name);
        }
        for figures in measured.rounds.iter().filter_map(|round| round.figures).filter(|figures| !figures.is_whole) {
            println!(
                "{}: looked at {} chunks, {:.1} us each, and ended there; ~ is what all would take at this pace",
                measured.tool.name,
                human_count(figures.found.chunks),
                figures.walked_for.unwrap_or(0.0) * 1e6 / figures.found.chunks.max(1) as f64
            );
        }
    }
}

/// What the tools found, side by side.
pub(crate) fn findings(all: &[Measured], expected: &Expected, subject: &Subject) {
    println!(
        "\npoolscope: {:.2} % of malloc's memory accounted for; in use {}, in tcaches {}, in fastbins {}; with mappings of \
         their own {}\nthe program: {} live",
        expected.coverage * 100.0,
        tally(expected.in_use),
        tally(expected.tcache),
        tally(expected.fastbin),
        tally(expected.mmapped),
        tally(Tally { chunks: subject.live, bytes: subject.live_bytes })
    );
    let mut table = Table::new(&["found", "chunks", "by poolscope", "bytes", "by poolscope", "what counts"]);
    for measured in all {
        let Some(figures) = measured.rounds.last().and_then(|round| round.figures).filter(|figures| figures.is_whole)
        else {
            continue;
        };
        let ours = expected.for_tool(figures.prints);
        table.row(vec![
            measured.tool.name.to_owned(),
            human_count(figures.found.chunks),
            human_count(ours.chunks),
            human_count(figures.found.bytes),
            human_count(ours.bytes),
            match figures.prints {
                Prints::Walk => "in use, tcaches, fastbins; sizes".to_owned(),
                Prints::Chap => "in use, mapped, tcaches; usable".to_owned(),
            },
        ]);
    }
    println!("\n{table}");
}

fn tally(tally: Tally) -> String {
    format!("{} chunks ({} bytes)", human_count(tally.chunks), human_count(tally.bytes))
}

/// What was hoped for, and what came out.
pub(crate) fn expectations(all: &[Measured], subject: &Subject) {
    let Some(poolscope) = of(all, Role::Poolscope).next() else { return };
    let Some(ours) = poolscope.whole_time(subject.live) else { return };
    for (role, what, least) in [
        (Role::Gdb, "at least ten times faster than", 10.0),
        (Role::Chap, "at least ten times faster than", 10.0),
        (Role::Drgn, "no slower than", 1.0),
    ] {
        for other in of(all, role) {
            let what = format!("{what} {}", other.tool.name);
            match other.whole_time(subject.live) {
                Some(theirs) => verdict(
                    &what,
                    &format!("{:.1} times: {ours:.2} s, {theirs:.2} s", theirs / ours),
                    theirs >= least * ours,
                ),
                None => println!("expected: {what}; got: {MISSING}"),
            }
        }
    }
    if let Some(peak) = poolscope.peak() {
        let part = peak.most / subject.core_size as f64;
        let got = format!("{:.1} %: {}", part * 100.0, human_bytes(peak.most as u64));
        verdict("peak memory below 10 % of the core's size", &got, part < 0.1);
    }
}
