//! Reading a target's heap and its owners: the one piece of code that runs on a live process twice, as a rehearsal and
//! during the stop, and on a core once.

use super::prepared::{Glibc, Nginx, Prepared};
use crate::addr::{Addr, AddrRange};
use crate::malloc::bookless::read_without_books;
use crate::malloc::read::{HeapReading, ReadMaps, ReadPagemap, ReadThreads, Source, read_heap};
use crate::malloc::rehearsal::{Rehearsal, Workspace};
use crate::nginx::found::{Found, Room};
use crate::nginx::layout::PoolLayout;
use crate::nginx::owner::{Stopped, Trust};
use crate::nginx::pool::{PoolLists, read_lists};
use crate::nginx::scan::PoolScanner;
use crate::target::lines::Lines;
use crate::target::maps::Maps;
use crate::target::memory::{Fault, Memory, Moment};
use rustc_hash::FxHashMap;

/// Everything read in one go.
pub struct Reading {
    /// The heap.
    pub heap: HeapReading<PoolScanner>,
    /// Lists of each possible pool.
    pub lists: FxHashMap<Addr, PoolLists>,
    /// Pools that roots led to.
    pub found: Found,
    /// What the finders could not find, one sentence each.
    pub problems: Vec<String>,
}

/// How often owners are looked for again where lists and trees of nginx have changed while they were followed.
const RETRIES: usize = 3;

/// What is read with.
pub struct Reader<'a, B> {
    memory: &'a B,
    prepared: &'a Prepared,
    glibc: &'a Glibc,
    nginx: Option<&'a Nginx>,
    /// Layout of pools.
    pub pools: PoolLayout,
    pagemap: &'a ReadPagemap<'a>,
    maps_now: &'a ReadMaps<'a>,
    threads_now: &'a ReadThreads<'a>,
}

impl<'a, B: Memory + Sync> Reader<'a, B> {
    /// Reads `memory`, of which `pagemap` tells where there is any, `maps_now` what is mapped and `threads_now` who runs there.
    pub fn new(
        memory: &'a B,
        prepared: &'a Prepared,
        glibc: &'a Glibc,
        pagemap: &'a ReadPagemap<'a>,
        maps_now: &'a ReadMaps<'a>,
        threads_now: &'a ReadThreads<'a>,
    ) -> Reader<'a, B> {
        let nginx = prepared.nginx.as_ref();
        let pools = nginx.map_or(PoolLayout::SINCE_0_8_1, |nginx| nginx.pools.clone());
        Reader { memory, prepared, glibc, nginx, pools, pagemap, maps_now, threads_now }
    }

    /// A scanner that has seen nothing.
    pub fn scanner(&self) -> PoolScanner {
        PoolScanner::new(&self.pools, self.prepared.page_size)
    }

    /// The heap as `maps` and `threads` describe it now. `chase` is for following pointers.
    pub fn source<'s, C>(
        &'s self,
        maps: &'s Maps,
        threads: &'s [(i32, Addr)],
        chase: &'s C,
        wanted: &'s [Addr],
    ) -> Source<'s, B, C> {
        Source {
            bulk: self.memory,
            chase,
            layout: &self.glibc.layout,
            roots: self.glibc.roots,
            maps,
            maps_now: self.maps_now,
            threads_now: self.threads_now,
            page_size: self.prepared.page_size,
            threads,
            wanted,
            pagemap: self.pagemap,
        }
    }

    /// Reads everything. `take_lines` is told of lines that `source` wants.
    ///
    /// # Errors
    /// A [`Fault`] if malloc's own variables cannot be read.
    pub fn read<C: Memory>(
        &self,
        source: &Source<'_, B, C>,
        plan: &Rehearsal,
        workspace: Workspace<PoolScanner>,
        mut take_lines: impl FnMut(Lines),
    ) -> Result<Reading, Fault> {
        let began = self.memory.moment();
        let heap = read_heap(source, plan, workspace, &|| self.scanner(), |caught| take_lines(Lines::Caught(caught)))?;
        let mended = heap.mended_ranges();
        if !mended.is_empty() {
            take_lines(Lines::Changed(mended));
        }
        Ok(self.read_owners(source.chase, heap, began, take_lines))
    }

    /// Reads what can be read of a process whose malloc's books are missing: the brk heap, which lies at `heap`.
    pub fn read_without_books<C: Memory>(&self, source: &Source<'_, B, C>, heap: AddrRange) -> Reading {
        self.read_owners(source.chase, read_without_books(source, heap, &|| self.scanner()), self.memory.moment(), drop)
    }

    /// `began` is the moment at which it was begun to read.
    fn read_owners(
        &self,
        cache: &impl Memory,
        heap: HeapReading<PoolScanner>,
        began: Moment,
        mut take_lines: impl FnMut(Lines),
    ) -> Reading {
        let mut reading = Reading { heap, lists: FxHashMap::default(), found: Found::default(), problems: Vec::new() };
        let Some(nginx) = self.nginx else { return reading };
        self.read_lists(cache, &mut reading);
        self.find_owners(nginx, cache, &mut reading);
        for _ in 0..RETRIES {
            // What could be read in one stop is what it is.
            if reading.problems.is_empty() || self.memory.latest_moment() == began {
                break;
            }
            take_lines(Lines::Outdated);
            self.memory.next_moment();
            take_lines(Lines::Changed(Vec::new()));
            let before = (std::mem::take(&mut reading.found), std::mem::take(&mut reading.problems));
            self.find_owners(nginx, cache, &mut reading);
            if reading.problems == before.1 {
                break;
            }
            if reading.problems.len() > before.1.len() {
                (reading.found, reading.problems) = before;
            }
        }
        reading
    }

    fn read_lists(&self, cache: &impl Memory, reading: &mut Reading) {
        // A pool in a chunk that was freed since is followed for nothing. There are hardly any: the first words of a free
        // chunk are links, where a pool has the bounds by which it is known. To look up each one's state would take longer.
        let pools = || reading.heap.visitors.iter().flat_map(|scanner| &scanner.pools);
        reading.lists.reserve(pools().count());
        for pool in pools() {
            reading.lists.insert(pool.address, read_lists(cache, &self.pools, pool));
        }
    }

    fn find_owners(&self, nginx: &Nginx, cache: &impl Memory, reading: &mut Reading) {
        let target = Stopped::new(cache, self.memory);
        // Before the stop they agreed with memory that could change while it was read.
        if let Some(Err(problem)) = nginx.built_in.as_ref().map(|built_in| built_in.check(cache)) {
            reading.problems.push(format!("owners were not looked for: {problem}"));
            return;
        }
        // Most pools have one name, of some twenty bytes. More room is made where that is too little.
        let pools = reading.lists.len() + reading.lists.len() / 8;
        reading.found = Found::with_room(Room { pools, text: pools * 20 });
        for finder in &nginx.finders {
            if let Err(error) = finder.find(&target, &mut reading.found) {
                reading.problems.push(format!("{} could not be looked through to the end: {error}", finder.what()));
            }
        }
        if nginx.built_in.is_some() {
            reading.found.pools.iter_mut().for_each(|found| found.trust = found.trust.max(Trust::BuiltInPath));
        }
    }
}
