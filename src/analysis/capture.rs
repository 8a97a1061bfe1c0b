//! The stop itself: rehearse, stop, read, let go.

use super::prepare::{Glibc, Nginx, Prepared};
use super::{Progress, SnapshotError};
use crate::addr::{Addr, AddrRange};
use crate::malloc::read::{HeapReading, ReadPagemap, Source, read_heap};
use crate::malloc::rehearsal::{Rehearsal, Workspace};
use crate::nginx::layout::PoolLayout;
use crate::nginx::owner::{NamedPool, Stopped};
use crate::nginx::pool::{PoolLists, read_lists};
use crate::nginx::scan::PoolScanner;
use crate::target::cache::PageCache;
use crate::target::freeze::{Freeze, FreezeError, Patience, StopPlace};
use crate::target::lines::{CaughtLine, LineCache, LineRecorder};
use crate::target::live::LiveMemory;
use crate::target::maps::Maps;
use crate::target::memory::{Fault, Memory};
use crate::target::pagemap::Pagemap;
use rustc_hash::FxHashMap;
use std::time::Duration;

/// Pages kept for following pointers, at most this many bytes; past it they are read one by one.
const CACHE_LIMIT: usize = 256 << 20;

/// Pages that may be read during the stop without a page fault of ours: what is new since the rehearsal is little.
const SPARE_PAGES: usize = 256;

/// A walk over a heap that changes loses its way now and then: how often the rehearsal is tried.
const REHEARSALS: usize = 3;

/// What was read during the stop.
pub struct Capture {
    /// The heap.
    pub heap: HeapReading<PoolScanner>,
    /// Lists of each possible pool.
    pub lists: FxHashMap<Addr, PoolLists>,
    /// Pools that roots led to.
    pub named: Vec<NamedPool>,
    /// What the finders could not find, one sentence each.
    pub problems: Vec<String>,
    /// Longest time that a thread stood still.
    pub pause: Duration,
    /// Where the target stood.
    pub place: StopPlace,
    /// How many threads it has.
    pub threads: usize,
    /// Bytes planned to be read during the stop.
    pub bytes_read: u64,
}

/// Stops the target and reads what is needed.
///
/// # Errors
/// [`SnapshotError`]; the target runs on.
pub fn capture(prepared: &Prepared, glibc: &Glibc, progress: &dyn Progress) -> Result<Capture, SnapshotError> {
    let reader = Reader::new(prepared, glibc);
    progress.step("rehearsing on the running process");
    let Rehearsed { plan, lines } = reader.rehearse();
    let workspace = Workspace::for_plan(&plan, reader.threads(), &|| reader.scanner());
    let pages = PageCache::new(&prepared.memory, prepared.page_size, CACHE_LIMIT);
    pages.reserve(SPARE_PAGES);
    let cache = LineCache::new(pages, lines.clone());
    progress.step("stopping it for a moment");
    let taken = on_own_thread(|| reader.take(cache, &lines, &plan, workspace))??;
    let reading = taken.answer.map_err(|fault| SnapshotError::Memory { pid: prepared.process.pid, fault })?;
    prepared.process.confirm()?;
    Ok(Capture {
        heap: reading.heap,
        lists: reading.lists,
        named: reading.named,
        problems: reading.problems,
        pause: taken.pause,
        place: taken.place,
        threads: taken.threads,
        bytes_read: plan.planned_bytes() + taken.page_bytes,
    })
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
}

/// What a rehearsal has learnt.
struct Rehearsed {
    plan: Rehearsal,
    /// Lines that following pointers led to.
    lines: Vec<Addr>,
}

/// Everything read in one go.
struct Reading {
    heap: HeapReading<PoolScanner>,
    lists: FxHashMap<Addr, PoolLists>,
    named: Vec<NamedPool>,
    problems: Vec<String>,
}

struct Reader<'a> {
    prepared: &'a Prepared,
    glibc: &'a Glibc,
    nginx: Option<&'a Nginx>,
    pools: PoolLayout,
    pagemap: Box<ReadPagemap<'a>>,
}

impl<'a> Reader<'a> {
    fn new(prepared: &'a Prepared, glibc: &'a Glibc) -> Reader<'a> {
        let nginx = prepared.nginx.as_ref();
        let pools = nginx.map_or(PoolLayout::SINCE_0_8_1, |nginx| nginx.pools.clone());
        let pagemap =
            |ranges: &[AddrRange]| Pagemap::read(prepared.process.pid, prepared.page_size, ranges).unwrap_or_default();
        Reader { prepared, glibc, nginx, pools, pagemap: Box::new(pagemap) }
    }

    fn threads(&self) -> u64 {
        std::thread::available_parallelism().map_or(1, |count| count.get().min(4) as u64)
    }

    fn scanner(&self) -> PoolScanner {
        PoolScanner::new(&self.pools, self.prepared.page_size)
    }

    fn rehearse(&self) -> Rehearsed {
        let mut best = Rehearsed { plan: Rehearsal::default(), lines: Vec::new() };
        let nothing = Rehearsal::default();
        for _ in 0..REHEARSALS {
            let pages = PageCache::new(&self.prepared.memory, self.prepared.page_size, CACHE_LIMIT);
            let recorder = LineRecorder::new(pages);
            let workspace = Workspace::for_plan(&nothing, 1, &|| self.scanner());
            let source = self.source(&self.prepared.maps, &[], &recorder, &[]);
            let Ok(reading) = self.read(&source, &nothing, workspace, drop) else { continue };
            let wanted = self.pools.wanted();
            let lines = recorder.lines();
            let plan = Rehearsal::of(&reading.heap, wanted, &lines, self.threads());
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
        let freeze = Freeze::stop(self.prepared.process.pid, Patience::default())?;
        let answer = self.read_stopped(&freeze, &cache, lines, plan, workspace);
        let (place, threads) = (freeze.place(), freeze.thread_ids().len());
        let pause = freeze.release();
        Ok(Taken { answer, place, threads, pause, page_bytes: cache.page_bytes() })
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
        let maps = Maps::read_ranges(self.prepared.process.pid);
        let maps = maps.as_ref().unwrap_or(&self.prepared.maps);
        let source = self.source(maps, &threads, cache, lines);
        self.read(&source, plan, workspace, |caught| {
            cache.fill(caught);
            cache.fetch_unknown(&self.prepared.memory);
        })
    }

    fn source<'s, C>(
        &'s self,
        maps: &'s Maps,
        threads: &'s [(i32, Addr)],
        chase: &'s C,
        wanted: &'s [Addr],
    ) -> Source<'s, LiveMemory, C> {
        Source {
            bulk: &self.prepared.memory,
            chase,
            layout: &self.glibc.layout,
            roots: self.glibc.roots,
            maps,
            page_size: self.prepared.page_size,
            threads,
            wanted,
            pagemap: &*self.pagemap,
        }
    }

    /// The one reading that rehearsal and stop have in common.
    fn read<C: Memory>(
        &self,
        source: &Source<'_, LiveMemory, C>,
        plan: &Rehearsal,
        workspace: Workspace<PoolScanner>,
        on_caught: impl FnOnce(Vec<CaughtLine>),
    ) -> Result<Reading, Fault> {
        let heap = read_heap(source, plan, workspace, &|| self.scanner(), on_caught)?;
        let mut reading = Reading { heap, lists: FxHashMap::default(), named: Vec::new(), problems: Vec::new() };
        if let Some(nginx) = self.nginx {
            self.read_lists(source.chase, &mut reading);
            self.find_owners(nginx, source.chase, &mut reading);
        }
        Ok(reading)
    }

    fn read_lists(&self, cache: &impl Memory, reading: &mut Reading) {
        // A pool in a chunk that was freed since is followed for nothing. There are hardly any: the first words of a free
        // chunk are links, where a pool has the bounds by which it is known. To look up each one's state would take longer.
        for pool in reading.heap.visitors.iter().flat_map(|scanner| &scanner.pools) {
            reading.lists.insert(pool.address, read_lists(cache, &self.pools, pool));
        }
    }

    fn find_owners(&self, nginx: &Nginx, cache: &impl Memory, reading: &mut Reading) {
        let target = Stopped { chase: cache, bulk: &self.prepared.memory };
        for finder in &nginx.finders {
            if let Err(error) = finder.find(&target, &mut reading.named) {
                reading.problems.push(format!("{} could not be looked through to the end: {error}", finder.what()));
            }
        }
    }
}
