//! The stop itself: rehearse, stop, read, let go.

use super::prepare::{Glibc, Nginx, Prepared};
use super::{Progress, SnapshotError};
use crate::addr::{Addr, AddrRange};
use crate::malloc::chunk::ChunkState;
use crate::malloc::read::{HeapReading, Rehearsal, Source, read_heap};
use crate::nginx::layout::PoolLayout;
use crate::nginx::owner::{NamedPool, Stopped};
use crate::nginx::pool::{PoolLists, read_lists};
use crate::nginx::scan::PoolScanner;
use crate::target::cache::PageCache;
use crate::target::freeze::{Freeze, Patience, StopPlace};
use crate::target::live::LiveMemory;
use crate::target::maps::Maps;
use crate::target::memory::Fault;
use crate::target::pagemap::Pagemap;
use rustc_hash::FxHashMap;
use std::time::Duration;

/// Pages kept for following pointers, at most this many bytes; past it they are read one by one.
const CACHE_LIMIT: usize = 256 << 20;

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
    let rehearsed = reader.rehearse();
    let buffers = reader.buffers();
    let cache = PageCache::new(&prepared.memory, prepared.page_size, CACHE_LIMIT);
    cache.reserve(rehearsed.pages.len() + 256);
    progress.step("stopping it for a moment");
    let freeze = Freeze::stop(prepared.process.pid, Patience::default())?;
    let answer = reader.read_stopped(&freeze, &cache, &rehearsed, buffers);
    let (place, threads) = (freeze.place(), freeze.thread_ids().len());
    let pause = freeze.release();
    let reading = answer.map_err(|fault| reader.fault(fault))?;
    prepared.process.confirm()?;
    let pages = cache.pages().len() as u64 * prepared.page_size;
    Ok(Capture {
        heap: reading.heap,
        lists: reading.lists,
        named: reading.named,
        problems: reading.problems,
        pause,
        place,
        threads,
        bytes_read: rehearsed.plan.planned_bytes() + pages,
    })
}

/// What a rehearsal has learnt.
struct Rehearsed {
    plan: Rehearsal,
    /// Pages that following pointers led to.
    pages: Vec<Addr>,
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
}

impl<'a> Reader<'a> {
    fn new(prepared: &'a Prepared, glibc: &'a Glibc) -> Reader<'a> {
        let nginx = prepared.nginx.as_ref();
        let pools = nginx.map_or(PoolLayout::SINCE_0_8_1, |nginx| nginx.pools.clone());
        Reader { prepared, glibc, nginx, pools }
    }

    fn threads(&self) -> u64 {
        std::thread::available_parallelism().map_or(1, |count| count.get().min(4) as u64)
    }

    /// A buffer for each reading thread. Readers write to theirs before they read into it, and these are written to
    /// already.
    fn buffers(&self) -> Vec<Vec<u8>> {
        (0..self.threads()).map(|_| vec![1; 512 * 1024]).collect()
    }

    fn rehearse(&self) -> Rehearsed {
        let mut best = Rehearsed { plan: Rehearsal::default(), pages: Vec::new() };
        for _ in 0..REHEARSALS {
            let cache = PageCache::new(&self.prepared.memory, self.prepared.page_size, CACHE_LIMIT);
            let Ok(reading) = self.read(&self.prepared.maps, &[], &cache, &Rehearsal::default(), self.buffers()) else {
                continue;
            };
            let plan =
                Rehearsal::of(&reading.heap, self.pools.wanted(), self.prepared.page_size, self.threads());
            // The latest rehearsal is the one to follow, even if it lost its way: the stop reads the rest without a plan.
            best = Rehearsed { plan, pages: cache.pages() };
            if reading.heap.regions.iter().all(|region| region.end.is_whole()) {
                break;
            }
        }
        best
    }

    fn read_stopped(
        &self,
        freeze: &Freeze,
        cache: &PageCache<&LiveMemory>,
        rehearsed: &Rehearsed,
        buffers: Vec<Vec<u8>>,
    ) -> Result<Reading, Fault> {
        let threads = freeze.thread_pointers();
        // The heap may have grown since the mappings were read.
        let maps = Maps::read_ranges(self.prepared.process.pid);
        let maps = maps.as_ref().unwrap_or(&self.prepared.maps);
        cache.prefetch(&rehearsed.pages);
        self.read(maps, &threads, cache, &rehearsed.plan, buffers)
    }

    /// The one reading that rehearsal and stop have in common.
    fn read(
        &self,
        maps: &Maps,
        threads: &[(i32, Addr)],
        cache: &PageCache<&LiveMemory>,
        rehearsal: &Rehearsal,
        buffers: Vec<Vec<u8>>,
    ) -> Result<Reading, Fault> {
        let pagemap = |ranges: &[AddrRange]| {
            Pagemap::read(self.prepared.process.pid, self.prepared.page_size, ranges).unwrap_or_default()
        };
        let source = Source {
            bulk: &self.prepared.memory,
            chase: cache,
            layout: &self.glibc.layout,
            roots: self.glibc.roots,
            maps,
            page_size: self.prepared.page_size,
            threads,
            pagemap: &pagemap,
        };
        let make_visitor = || PoolScanner::new(&self.pools, self.prepared.page_size);
        let heap = read_heap(&source, rehearsal, buffers, &make_visitor)?;
        let mut reading = Reading { heap, lists: FxHashMap::default(), named: Vec::new(), problems: Vec::new() };
        if let Some(nginx) = self.nginx {
            self.read_lists(cache, &mut reading);
            self.find_owners(nginx, cache, &mut reading);
        }
        Ok(reading)
    }

    fn read_lists(&self, cache: &PageCache<&LiveMemory>, reading: &mut Reading) {
        for pool in reading.heap.visitors.iter().flat_map(|scanner| &scanner.pools) {
            // Pools in free chunks are dead, and there can be many.
            if reading.heap.state_of(pool.address) == Some(ChunkState::InUse) {
                reading.lists.insert(pool.address, read_lists(cache, &self.pools, pool));
            }
        }
    }

    fn find_owners(&self, nginx: &Nginx, cache: &PageCache<&LiveMemory>, reading: &mut Reading) {
        let target = Stopped { chase: cache, bulk: &self.prepared.memory };
        for finder in &nginx.finders {
            if let Err(error) = finder.find(&target, &mut reading.named) {
                reading.problems.push(format!("{} could not be looked through to the end: {error}", finder.what()));
            }
        }
    }

    fn fault(&self, fault: Fault) -> SnapshotError {
        SnapshotError::Memory { pid: self.prepared.process.pid, fault }
    }
}
