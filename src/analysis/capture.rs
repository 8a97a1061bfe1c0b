//! The stop of a live process: rehearse, stop, read, let go.

use super::live::LiveTarget;
use super::prepared::Glibc;
use super::reading::{Reader, Reading};
use super::{Progress, SnapshotError};
use crate::addr::{Addr, AddrRange};
use crate::malloc::rehearsal::{Rehearsal, Workspace};
use crate::malloc::walk::PayloadVisitor;
use crate::nginx::scan::PoolScanner;
use crate::snapshot::model::FreezeInfo;
use crate::target::cache::PageCache;
use crate::target::freeze::{Freeze, FreezeError, Patience, StopPlace};
use crate::target::lines::{LineCache, LineRecorder};
use crate::target::live::LiveMemory;
use crate::target::maps::Maps;
use crate::target::memory::Fault;
use crate::target::pagemap::Pagemap;
use crate::target::registers::ThreadRegisters;
use std::time::Duration;

/// Pages kept for following pointers, at most this many bytes.
const CACHE_LIMIT: usize = 256 << 20;

/// Pages that may be read during the stop without a page fault of ours: what is new since the rehearsal is little.
const SPARE_PAGES: usize = 256;

/// A walk over a heap that changes loses its way now and then: how often the rehearsal is tried.
const REHEARSALS: usize = 3;

/// What was read during the stop.
pub struct Capture {
    /// What was read.
    pub reading: Reading,
    /// Longest time that a thread stood still.
    pub pause: Duration,
    /// Where the target stood.
    pub place: StopPlace,
    /// How many threads it has.
    pub threads: usize,
    /// Bytes planned to be read during the stop.
    pub bytes_read: u64,
    /// What was in the registers of all threads.
    pub registers: Vec<ThreadRegisters>,
}

impl Capture {
    /// How it was stopped.
    pub fn freeze_info(&self) -> FreezeInfo {
        FreezeInfo {
            pause_microseconds: self.pause.as_micros() as u64,
            place: place_name(self.place).to_owned(),
            stops: 1,
            bytes_read: self.bytes_read,
        }
    }
}

fn place_name(place: StopPlace) -> &'static str {
    match place {
        StopPlace::BetweenEvents => "between_events",
        StopPlace::InSystemCall => "in_system_call",
        StopPlace::InUserCode => "in_user_code",
    }
}

/// Stops the target and reads what is needed.
///
/// # Errors
/// [`SnapshotError`]; the target runs on.
pub fn capture(target: &LiveTarget, glibc: &Glibc, progress: &dyn Progress) -> Result<Capture, SnapshotError> {
    let pagemap = |ranges: &[AddrRange]| read_pagemap(target, ranges);
    let reader = Reader::new(&target.memory, &target.prepared, glibc, &pagemap);
    let capturer = Capturer { target, reader };
    progress.step("rehearsing on the running process");
    let Rehearsed { plan, lines } = capturer.rehearse();
    let workspace = Workspace::for_plan(&plan, threads(), &|| capturer.reader.scanner());
    let pages = PageCache::new(&target.memory, target.prepared.page_size, CACHE_LIMIT);
    pages.reserve(SPARE_PAGES);
    let cache = LineCache::new(pages, lines.clone());
    progress.step("stopping it for a moment");
    let taken = on_own_thread(|| capturer.take(cache, &lines, &plan, workspace))??;
    let reading = taken.answer.map_err(|fault| SnapshotError::Memory { pid: target.process.pid, fault })?;
    target.process.confirm()?;
    Ok(Capture {
        reading,
        pause: taken.pause,
        place: taken.place,
        threads: taken.threads,
        bytes_read: plan.planned_bytes() + taken.page_bytes,
        registers: taken.registers,
    })
}

/// Which pages of some ranges are in memory; nothing is known where the kernel does not tell.
pub fn read_pagemap(target: &LiveTarget, ranges: &[AddrRange]) -> Pagemap {
    Pagemap::read(target.process.pid, target.prepared.page_size, ranges).unwrap_or_default()
}

/// How many threads read at once.
pub fn threads() -> u64 {
    std::thread::available_parallelism().map_or(1, |count| count.get().min(4) as u64)
}

/// Runs `work` on a thread that ends with it. Only the end of the tracing thread makes the kernel let go of a thread of the
/// target that would not stop.
fn on_own_thread<R: Send>(work: impl FnOnce() -> R + Send) -> Result<R, SnapshotError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, work).map_err(SnapshotError::Thread)?;
        thread.join().map_or_else(|panic| std::panic::resume_unwind(panic), Ok)
    })
}

/// What came of a stop.
struct Taken {
    answer: Result<Reading, Fault>,
    place: StopPlace,
    threads: usize,
    pause: Duration,
    /// Bytes that were read apart from what was planned.
    page_bytes: u64,
    /// What was in the registers of all threads.
    registers: Vec<ThreadRegisters>,
}

/// What a rehearsal has learnt.
struct Rehearsed {
    plan: Rehearsal,
    /// Lines that following pointers led to.
    lines: Vec<Addr>,
}

struct Capturer<'a> {
    target: &'a LiveTarget,
    reader: Reader<'a, LiveMemory>,
}

impl Capturer<'_> {
    fn rehearse(&self) -> Rehearsed {
        let mut best = Rehearsed { plan: Rehearsal::default(), lines: Vec::new() };
        let nothing = Rehearsal::default();
        let prepared = &self.target.prepared;
        for _ in 0..REHEARSALS {
            let pages = PageCache::new(&self.target.memory, prepared.page_size, CACHE_LIMIT);
            let recorder = LineRecorder::new(pages);
            let workspace = Workspace::for_plan(&nothing, 1, &|| self.reader.scanner());
            let source = self.reader.source(&prepared.maps, &[], &recorder, &[]);
            let Ok(reading) = self.reader.read(&source, &nothing, workspace, drop) else { continue };
            let wanted = self.reader.scanner().wanted();
            let lines = recorder.lines();
            let plan = Rehearsal::of(&reading.heap, wanted, &lines, threads());
            // The latest rehearsal is the one to follow, even if it lost its way: the stop reads the rest without a plan.
            best = Rehearsed { plan, lines };
            if reading.heap.regions.iter().all(|region| region.end.is_whole()) {
                break;
            }
        }
        best
    }

    /// Stop, read, let go.
    fn take(
        &self,
        cache: LineCache<&LiveMemory>,
        lines: &[Addr],
        plan: &Rehearsal,
        workspace: Workspace<PoolScanner>,
    ) -> Result<Taken, FreezeError> {
        let freeze = Freeze::stop(self.target.process.pid, Patience::default())?;
        let answer = self.read_stopped(&freeze, &cache, lines, plan, workspace);
        let (place, threads) = (freeze.place(), freeze.thread_ids().len());
        let registers = freeze.registers();
        let pause = freeze.release();
        Ok(Taken { answer, place, threads, pause, page_bytes: cache.page_bytes(), registers })
    }

    fn read_stopped(
        &self,
        freeze: &Freeze,
        cache: &LineCache<&LiveMemory>,
        lines: &[Addr],
        plan: &Rehearsal,
        workspace: Workspace<PoolScanner>,
    ) -> Result<Reading, Fault> {
        let threads = freeze.thread_pointers();
        // The heap may have grown since the mappings were read.
        let maps = Maps::read_ranges(self.target.process.pid);
        let maps = maps.as_ref().unwrap_or(&self.target.prepared.maps);
        let source = self.reader.source(maps, &threads, cache, lines);
        self.reader.read(&source, plan, workspace, |caught| {
            cache.fill(caught);
            cache.fetch_unknown(&self.target.memory);
        })
    }
}
