//! How long it would stand still, and how much memory we would need: foreseen by a rehearsal on the running process.

use super::{Check, State};
use crate::addr::AddrRange;
use crate::analysis::capture::{CACHE_LIMIT, Rehearsed, SPARE_PAGES, read_pagemap, rehearse, threads};
use crate::analysis::footprint::Footprint;
use crate::analysis::live::LiveTarget;
use crate::analysis::prepared::Glibc;
use crate::analysis::reading::Reader;
use crate::malloc::read::HeapReading;
use crate::malloc::rehearsal::Workspace;
use crate::nginx::scan::PoolScanner;
use crate::snapshot::human::{counted, human_bytes, human_count};
use crate::target::cache::PageCache;
use crate::target::caught::CaughtLines;
use crate::target::limits::MemoryLimits;
use crate::target::lines::{LineCache, WantedLines};
use crate::target::live::LiveMemory;
use crate::target::maps::Maps;
use crate::target::memory::Fault;
use crate::target::probes;
use serde::Serialize;
use std::time::{Duration, Instant};

/// How long a process would stand still. Times are microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExpectedPause {
    /// If all is read in one stop.
    pub single_stop_microseconds: u64,
    /// How long a stop may take; absent if that is not limited.
    pub max_pause_microseconds: Option<u64>,
    /// How many stops it takes.
    pub stops: u64,
    /// The longest of these.
    pub longest_microseconds: u64,
    /// Bytes that are read while it stands still.
    pub bytes: u64,
    /// Chunks in its heap.
    pub chunks: u64,
}

/// Memory that poolscope needs. Sizes are bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OwnMemory {
    /// What a snapshot takes at its peak.
    pub needed: u64,
    /// A `--memory-limit` with which no command is refused, not even one that keeps a row for each chunk: whole MiB.
    pub enough: u64,
    /// What can be had: the least of what the machine and our control groups have left.
    pub available: Option<u64>,
}

/// How often the planned read is timed: what is in its way now and then is not in the way of the quickest.
const TRIALS: usize = 3;

/// What each stop takes besides reading: to stop all threads, to look where they stand, and to let them go.
const STOPPING: Duration = Duration::from_micros(800);

/// This part of a limited stop is used; the rest is kept for the read that is under way at its end.
const USABLE: f64 = 0.9;

/// Rehearses, and reads what is planned once more as it would be read in a stop, on the running process.
///
/// # Errors
/// A [`Fault`] if malloc's own variables cannot be read.
pub(super) fn foresee(
    target: &LiveTarget,
    glibc: &Glibc,
    longest: Option<Duration>,
) -> Result<(ExpectedPause, OwnMemory), Fault> {
    let prepared = &target.prepared;
    let pagemap = |ranges: &[AddrRange]| read_pagemap(target, ranges);
    let maps_now = || Maps::read_ranges(target.process.pid).ok();
    let reader = Reader::new(&target.memory, prepared, glibc, &pagemap, &maps_now, &|| None);
    let rehearsed = rehearse(&reader, target, longest);
    let enough = enough_for_all(rehearsed.plan.chunks());
    let mut best: Option<Timed> = None;
    for _ in 0..TRIALS {
        let timed = time_planned_read(&reader, target, glibc, &rehearsed)?;
        best = Some(best.filter(|best| best.took <= timed.took).unwrap_or(timed));
    }
    Ok((ExpectedPause::of(&best.unwrap_or_default(), longest), OwnMemory::now(enough)))
}

#[derive(Default)]
struct Timed {
    took: Duration,
    /// What is read once more at the end of several stops.
    again: Duration,
    bytes: u64,
    chunks: u64,
}

/// Reads as a stop does, but without its priority, which would keep the process from its processor; says how long that takes.
fn time_planned_read(
    reader: &Reader<'_, LiveMemory>,
    target: &LiveTarget,
    glibc: &Glibc,
    rehearsed: &Rehearsed,
) -> Result<Timed, Fault> {
    let Rehearsed { plan, lines } = rehearsed;
    let prepared = &target.prepared;
    let workspace = Workspace::for_plan(plan, threads(), &|| reader.scanner());
    let pages = PageCache::new(&target.memory, prepared.page_size, CACHE_LIMIT);
    pages.reserve(SPARE_PAGES);
    let fetched = CaughtLines::with_room_for(plan.lines_outside());
    let cache = LineCache::new(pages, WantedLines::new(lines.clone(), fetched));
    let began = Instant::now();
    let maps = Maps::read_ranges(target.process.pid).ok();
    let source = reader.source(maps.as_ref().unwrap_or(&prepared.maps), &[], &cache, lines);
    let mut reading = reader.read(&source, plan, workspace, |lines| cache.take(lines, &target.memory))?;
    let took = began.elapsed();
    // Thread caches are found by registers, which only a stop tells.
    reading.heap.add_likely_caches(&cache, &glibc.layout);
    let chunks = reading.heap.regions.iter().flat_map(|region| &region.parts).map(|part| part.len() as u64).sum();
    let again = time_end(&target.memory, prepared.page_size, plan.lists(), &reading.heap);
    Ok(Timed { took, again, bytes: plan.planned_bytes() + cache.page_bytes(), chunks })
}

/// How long it takes to read what is read once more at the end of several stops: malloc's lists, and what is held against them.
fn time_end(memory: &LiveMemory, page_size: u64, lists: WantedLines, heap: &HeapReading<PoolScanner>) -> Duration {
    let lists = LineCache::new(PageCache::new(memory, page_size, CACHE_LIMIT), lists);
    let began = Instant::now();
    lists.fetch_unknown(memory);
    heap.read_what_is_compared(memory);
    began.elapsed()
}

impl ExpectedPause {
    fn of(timed: &Timed, longest: Option<Duration>) -> ExpectedPause {
        let Timed { took, again, bytes, chunks } = *timed;
        let single = took + STOPPING;
        let limit = longest.filter(|longest| *longest < single);
        let stops = limit.map_or(1, |limit| {
            let usable = limit.mul_f64(USABLE);
            let reading = usable.saturating_sub(STOPPING).max(usable / 4);
            ((took + again).as_secs_f64() / reading.as_secs_f64()).ceil() as u64
        });
        ExpectedPause {
            single_stop_microseconds: single.as_micros() as u64,
            max_pause_microseconds: longest.map(|longest| longest.as_micros() as u64),
            stops,
            longest_microseconds: limit.unwrap_or(single).as_micros() as u64,
            bytes,
            chunks,
        }
    }

    /// As a line of the list.
    pub(super) fn check(&self) -> Check {
        let single = about(self.single_stop_microseconds);
        let what = format!("{} of {}", human_bytes(self.bytes), counted(self.chunks, "chunk"));
        let finding = match (self.stops, self.max_pause_microseconds) {
            (1, _) => format!("one stop of about {single}, to read {what}"),
            (stops, Some(limit)) => format!(
                "about {} stops of at most {} each, to read {what}; in one (--single-stop) about {single}",
                human_count(stops),
                exactly(limit)
            ),
            (stops, None) => format!("about {} stops, to read {what}", human_count(stops)),
        };
        Check::ok(PAUSE, finding)
    }
}

const PAUSE: &str = "expected pause";

/// Nothing can be foreseen, because of that.
pub(super) fn unknown(why: &str) -> Check {
    Check::new(PAUSE, State::Note, format!("not known: {why}"))
}

/// A time with two digits, since more would not be true: `9.3 ms`, `45 ms`, `0.4 s`.
fn about(microseconds: u64) -> String {
    let milliseconds = microseconds as f64 / 1000.0;
    match milliseconds {
        few if few < 9.95 => format!("{few:.1} ms"),
        some if some < 999.5 => format!("{some:.0} ms"),
        many => format!("{:.1} s", many / 1000.0),
    }
}

fn exactly(microseconds: u64) -> String {
    format!("{} ms", microseconds as f64 / 1000.0)
}

/// What a snapshot takes besides what a rehearsal has taken, which is most: what is written, and some part of all else.
const BASE: u64 = 4 << 20;
const PART: u64 = 8;

/// What no command goes beyond, if a rehearsal tells then what it tells now, or some more.
fn enough_for_all(chunks: u64) -> u64 {
    const UNIT: u64 = 1 << 20;
    let most = Footprint { limit: None, with_chunks: true }.needed(chunks);
    (most + most / (2 * PART)).next_multiple_of(UNIT)
}

impl OwnMemory {
    /// To be asked after the rehearsal, and told what is enough for all commands.
    fn now(enough: u64) -> OwnMemory {
        let so_far = probes::own_peak().unwrap_or(0);
        let needed = so_far + so_far / PART + BASE;
        let limits = MemoryLimits::of(i32::try_from(std::process::id()).unwrap_or_default());
        let in_group = limits.cgroup.and_then(|group| Some(group.limit.saturating_sub(group.usage?)));
        let available = [limits.machine_available, in_group].into_iter().flatten().min();
        OwnMemory { needed, enough: enough.max(needed.next_multiple_of(1 << 20)), available }
    }

    /// As a line of the list.
    pub(super) fn check(&self) -> Check {
        const WHAT: &str = "own memory";
        let needed = human_bytes(self.needed);
        let at_most = format!("{} MiB at most (for --memory-limit)", human_count(self.enough >> 20));
        let Some(available) = self.available else { return Check::ok(WHAT, format!("about {needed}, {at_most}")) };
        let can_be_had = human_bytes(available);
        if self.needed > available {
            let way_out = "free memory, or take a core dump with gcore and read it on another machine";
            return Check::new(WHAT, State::Stops, format!("about {needed}, and {can_be_had} can be had"))
                .way_out(way_out);
        }
        let state = if self.needed > available / 2 { State::Note } else { State::Ok };
        Check::new(WHAT, state, format!("about {needed}, {at_most}, of {can_be_had} that can be had"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Option<Duration> = Some(Duration::from_millis(20));

    fn pause(milliseconds: u64, longest: Option<Duration>) -> ExpectedPause {
        let took = Duration::from_millis(milliseconds) - STOPPING;
        ExpectedPause::of(&Timed { took, again: Duration::ZERO, bytes: 1 << 20, chunks: 1000 }, longest)
    }

    #[test]
    fn what_fits_is_one_stop() {
        assert_eq!((pause(11, LIMIT).stops, pause(11, LIMIT).longest_microseconds), (1, 11_000));
        assert_eq!(pause(11, LIMIT).check().finding, "one stop of about 11 ms, to read 1.00 MiB of 1,000 chunks");
        assert_eq!(pause(60, None).stops, 1);
    }

    #[test]
    fn what_does_not_fit_is_several() {
        let long = pause(60, LIMIT);
        assert_eq!((long.stops, long.longest_microseconds), (4, 20_000));
        assert_eq!(
            long.check().finding,
            "about 4 stops of at most 20 ms each, to read 1.00 MiB of 1,000 chunks; in one (--single-stop) about 60 ms"
        );
    }

    #[test]
    fn what_is_read_again_and_each_stop_count() {
        let [took, again] = [352, 78].map(Duration::from_millis);
        let timed = Timed { took, again, bytes: 1 << 20, chunks: 1000 };
        let stops = |limit| ExpectedPause::of(&timed, Some(Duration::from_millis(limit))).stops;
        assert_eq!([5, 20, 1000].map(stops), [117, 25, 1]);
    }

    #[test]
    fn times_have_two_digits() {
        assert_eq!(
            [930, 9_340, 45_100, 999_400, 1_240_000].map(about),
            ["0.9 ms", "9.3 ms", "45 ms", "999 ms", "1.2 s"]
        );
    }

    #[test]
    fn too_little_memory_stops_it() {
        let state = |available| OwnMemory { needed: 100, enough: 120, available }.check().state;
        assert_eq!(
            [Some(99), Some(150), Some(300), None].map(state),
            [State::Stops, State::Note, State::Ok, State::Ok]
        );
    }
}
