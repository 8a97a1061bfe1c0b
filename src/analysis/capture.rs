//! Stopping a live process: rehearse, stop, read, let go.

use super::live::LiveTarget;
use super::prepared::Glibc;
use super::reading::{Reader, Reading};
use super::whereabouts::Whereabouts;
use super::{Progress, SnapshotError};
use crate::addr::{Addr, AddrRange};
use crate::malloc::read::HeapReading;
use crate::malloc::rehearsal::{Rehearsal, Workspace};
use crate::malloc::walk::PayloadVisitor;
use crate::snapshot::model::{EXACT, FreezeInfo, IN_CHANGE, SEVERAL_MOMENTS};
use crate::target::cache::PageCache;
use crate::target::caught::{CaughtLines, LINE};
use crate::target::freeze::Patience;
use crate::target::lines::{LineCache, LineRecorder, WantedLines};
use crate::target::live::LiveMemory;
use crate::target::maps::Maps;
use crate::target::pagemap::Pagemap;
use crate::target::place::{Judge, StopPlace};
use crate::target::process::TargetError;
use crate::target::registers::ThreadRegisters;
use crate::target::stops::{StopLimits, StopLog, read_stopped};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Bytes of pages kept for following pointers during the stop, at most; lines that the rehearsal has noted come on top.
pub(super) const CACHE_LIMIT: usize = 16 << 20;

/// The same for the rehearsal, which has the time to read a page twice.
const REHEARSAL_CACHE: usize = 8 << 20;

/// Pages that may be read during the stop without a page fault of ours: what is new since the rehearsal is little.
pub(super) const SPARE_PAGES: usize = 256;

/// Only one process is rehearsed and stopped at a time: two that are read at once share the memory's bandwidth and our
/// processors, and each stands still for longer. Others are prepared and analysed meanwhile.
static TURN: Mutex<()> = Mutex::new(());

/// A walk over a heap that changes loses its way now and then: how often the rehearsal is tried.
const REHEARSALS: usize = 3;

/// What was read while the target stood still.
pub struct Capture {
    /// What was read.
    pub reading: Reading,
    /// The stops that it took.
    pub log: StopLog,
    /// How long each was to be at most.
    pub longest: Option<Duration>,
    /// Bytes planned to be read.
    pub bytes_read: u64,
}

impl Capture {
    /// How it was stopped.
    pub fn freeze_info(&self) -> FreezeInfo {
        let pauses = self.log.stops.iter().map(|stop| stop.pause);
        let place = self.log.used().map(|stop| stop.place).max();
        let stops = self.log.used().count();
        FreezeInfo {
            pause_microseconds: pauses.clone().max().unwrap_or_default().as_micros() as u64,
            place: place.map_or("", place_name).to_owned(),
            consistency: place.map_or("", |place| consistency(stops, place)).to_owned(),
            stops: stops as u32,
            unused_stops: (self.log.stops.len() - stops) as u32,
            bytes_read: self.bytes_read,
            sum_microseconds: pauses.sum::<Duration>().as_micros() as u64,
            elapsed_microseconds: self.log.elapsed.as_micros() as u64,
            max_pause_microseconds: self.longest.map(|longest| longest.as_micros() as u64),
            seams: self.reading.heap.seams,
        }
    }

    /// When it stood still; the latest time, with which all else is made to agree. Preparation and rehearsal, which may
    /// have taken seconds, came before.
    pub fn taken_at(&self) -> Option<SystemTime> {
        let latest = self.log.used().next_back()?;
        SystemTime::now().checked_sub(latest.still.start.elapsed())
    }

    /// How many threads the target has.
    pub fn threads(&self) -> usize {
        self.log.used().next_back().map_or(0, |stop| stop.registers.len())
    }

    /// What was in the registers of all threads in the latest stop.
    pub fn registers(&self) -> &[ThreadRegisters] {
        self.log.used().next_back().map_or(&[], |stop| &stop.registers)
    }
}

fn place_name(place: StopPlace) -> &'static str {
    match place {
        StopPlace::BetweenEvents => "between_events",
        StopPlace::InSystemCall => "in_system_call",
        StopPlace::OutsideMalloc => "outside_malloc",
        StopPlace::InUserCode => "in_user_code",
    }
}

/// What can be said before malloc's books are asked.
fn consistency(stops: usize, place: StopPlace) -> &'static str {
    match (stops, place) {
        (2.., _) => SEVERAL_MOMENTS,
        // Chunks in thread caches are not told from those in use there.
        _ if !cfg!(target_arch = "x86_64") => "",
        (_, StopPlace::InUserCode) => IN_CHANGE,
        _ => EXACT,
    }
}

/// Stops the target and reads what is needed.
///
/// # Errors
/// [`SnapshotError`]; the target runs on.
pub fn capture(
    target: &LiveTarget,
    glibc: &Glibc,
    longest: Option<Duration>,
    progress: &dyn Progress,
) -> Result<Capture, SnapshotError> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let pid = target.process.pid;
    let prepared = &target.prepared;
    let pagemap = |ranges: &[AddrRange]| read_pagemap(target, ranges);
    let maps_now = || Maps::read_ranges(pid).ok();
    let reader = Reader::new(&target.memory, prepared, glibc, &pagemap, &maps_now, &|| None);
    progress.step("rehearsing on the running process");
    let Rehearsed { plan, lines } = rehearse(&reader, target, longest);
    target.footprint.check(pid, plan.chunks())?;
    let workspace = Workspace::for_plan(&plan, threads(), &|| reader.scanner());
    progress.step("stopping it for a moment");
    let whereabouts = Whereabouts::of(&target.memory, prepared);
    let judge = whereabouts.as_ref().map(|whereabouts| whereabouts as &dyn Judge);
    let limits = StopLimits { longest, patience: Patience::default(), judge };
    let (answer, log) = read_stopped(&target.memory, limits, |memory| {
        let pages = PageCache::new(memory, prepared.page_size, CACHE_LIMIT);
        pages.reserve(SPARE_PAGES);
        let fetched = CaughtLines::with_room_for(plan.lines_outside());
        let cache = LineCache::new(pages, WantedLines::new(lines.clone(), fetched));
        // The heap may have grown since the mappings were read.
        let threads = memory.threads()?;
        let maps = maps_now();
        let maps = maps.as_ref().unwrap_or(&prepared.maps);
        let threads_now = || memory.threads().ok();
        let reader = Reader::new(memory, prepared, glibc, &pagemap, &maps_now, &threads_now);
        let source = reader.source(maps, &threads, &cache, &lines);
        let reading = reader.read(&source, &plan, workspace, |lines| cache.take(lines, memory))?;
        Ok((reading, cache.retire()))
    })?;
    let (reading, cache) = answer.map_err(|fault| SnapshotError::Memory { pid, fault })?;
    target.process.confirm()?;
    if !target.memory.is_current() {
        return Err(TargetError::Replaced(pid).into());
    }
    Ok(Capture { reading, log, longest, bytes_read: plan.planned_bytes() + cache.page_bytes })
}

/// Which pages of some ranges are in memory; nothing is known where the kernel does not tell.
pub fn read_pagemap(target: &LiveTarget, ranges: &[AddrRange]) -> Pagemap {
    Pagemap::read(target.process.pid, target.prepared.page_size, ranges).unwrap_or_default()
}

/// How many threads read at once.
pub fn threads() -> u64 {
    std::thread::available_parallelism().map_or(1, |count| count.get().min(4) as u64)
}

/// What a rehearsal has learnt.
pub(super) struct Rehearsed {
    pub(super) plan: Rehearsal,
    /// Lines that following pointers led to.
    pub(super) lines: Vec<Addr>,
}

/// Reads the running target as a stop would, to learn what there is to read.
///
/// `longest` is what a stop may take.
pub(super) fn rehearse(reader: &Reader<'_, LiveMemory>, target: &LiveTarget, longest: Option<Duration>) -> Rehearsed {
    let mut best = Rehearsed { plan: Rehearsal::default(), lines: Vec::new() };
    let nothing = Rehearsal::default();
    let prepared = &target.prepared;
    for _ in 0..REHEARSALS {
        let pages = PageCache::new(&target.memory, prepared.page_size, REHEARSAL_CACHE);
        let recorder = LineRecorder::new(pages);
        let workspace = Workspace::for_plan(&nothing, 1, &|| reader.scanner());
        let source = reader.source(&prepared.maps, &[], &recorder, &[]);
        let Ok(mut reading) = reader.read(&source, &nothing, workspace, drop) else { continue };
        reading.heap.add_likely_caches(&recorder, source.layout);
        let wanted = reader.scanner().wanted();
        let mut lines = recorder.lines();
        let lists = longest.map(|_| reading.heap.freed.lines()).unwrap_or_default();
        if longest.is_some_and(|longest| surely_takes_several(&reading.heap, longest)) {
            lines.retain(|line| lists.binary_search(line).is_err());
        }
        let plan = Rehearsal::of(&reading.heap, wanted, &lines, lists, threads());
        // The latest rehearsal is the one to follow, even if it lost its way: the stop reads the rest without a plan.
        best = Rehearsed { plan, lines };
        if reading.heap.regions.iter().all(|region| region.end.is_whole()) {
            break;
        }
    }
    best
}

/// Bytes of chunk headers and what lies beside them that are read in a second, at most.
const FASTEST: f64 = 16e9;

/// True if reading the chunks in one stop would take longer than a stop may: what is read at the end, anew,
/// need not be caught before, and room for it is had once only.
fn surely_takes_several<V>(heap: &HeapReading<V>, longest: Duration) -> bool {
    let chunks: usize = heap.regions.iter().flat_map(|region| &region.parts).map(Vec::len).sum();
    chunks as f64 * LINE as f64 / FASTEST > longest.as_secs_f64()
}
