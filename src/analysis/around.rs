//! The memory around a heap, in which its owners are looked for: of a process that runs on, or of a core.

use super::capture::threads;
use super::prepared::{Glibc, Prepared};
use super::reused::reused;
use crate::addr::{Addr, AddrRange};
use crate::attribution::reach::{Layout, RootKind, RootRange, Surroundings, roots};
use crate::malloc::arena::read_arenas;
use crate::malloc::heap::Heap;
use crate::malloc::lists::read_freed_lists;
use crate::malloc::read::ReadPagemap;
use crate::target::maps::Maps;
use crate::target::memory::Memory;
use crate::target::stacks::waiting_stack_pointers;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Between two looks at a process that runs on.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// What is looked through besides the snapshot.
pub struct Around<'a> {
    /// What is known of the target.
    pub prepared: &'a Prepared,
    /// glibc's side of it.
    pub glibc: &'a Glibc,
    /// Its memory.
    pub memory: &'a (dyn Memory + Sync),
    /// Where that holds anything.
    pub pagemap: &'a ReadPagemap<'a>,
    /// What was in the registers of all threads.
    pub registers: Vec<u64>,
    /// What is known of where its stacks are in use.
    pub stacks: Stacks,
    /// How often it was looked through.
    pub looks: AtomicU32,
}

/// Where stacks are in use.
pub enum Stacks {
    /// They change: the process of this pid runs on.
    Live(i32),
    /// From these stack pointers up.
    Still(Vec<Addr>),
}

impl Around<'_> {
    /// Thread pointers: on x86_64 one of the registers, which leads to two words that hold itself (glibc `tcbhead_t.tcb` and
    /// `.self`). One alone is no proof: so does the head of an empty queue.
    pub fn thread_pointers(&self) -> Vec<Addr> {
        let holds = |at: Addr, pointer: Addr| self.memory.read_pointer(at) == Ok(pointer);
        let leads_to_itself = |pointer: &Addr| holds(*pointer, *pointer) && holds(*pointer + 16, *pointer);
        self.registers
            .iter()
            .map(|word| Addr(*word))
            .filter(|word| word.is_aligned(8))
            .filter(leads_to_itself)
            .collect()
    }
}

impl Around<'_> {
    /// Memory that was free at the stop and may be in use now; all of it, if that cannot be told.
    fn handed_out(&self, heap: &Heap) -> Vec<AddrRange> {
        let cached = self.freed_now(heap).into_iter().collect();
        reused(&self.memory, heap, &cached).unwrap_or_else(|| {
            let regions = heap.regions.iter();
            regions.map(|region| AddrRange::new(region.region.chunks.start, region.walked.end)).collect()
        })
    }
}

impl Surroundings for Around<'_> {
    fn memory(&self) -> &(dyn Memory + Sync) {
        self.memory
    }

    fn pagemap(&self) -> &ReadPagemap<'_> {
        self.pagemap
    }

    /// Stacks of threads that wait in the kernel are in use from the stack pointer up, and below lies what calls that have
    /// returned have left. Of a thread that runs, all its stack counts.
    fn roots(&self, heap: &Heap) -> Vec<RootRange> {
        let now = match &self.stacks {
            Stacks::Live(pid) => Maps::read_ranges(*pid).ok(),
            Stacks::Still(_) => None,
        };
        let stack_pointers = match &self.stacks {
            Stacks::Live(pid) => waiting_stack_pointers(*pid),
            Stacks::Still(pointers) => pointers.clone(),
        };
        let modules: Vec<AddrRange> = self.prepared.modules().map(|module| module.span).collect();
        let layout = Layout {
            maps: now.as_ref().unwrap_or(&self.prepared.maps),
            modules: &modules,
            stack_pointers: &stack_pointers,
            thread_pointers: &self.thread_pointers(),
            malloc: AddrRange::sized(self.glibc.roots.main_arena, self.glibc.layout.state.size),
        };
        let mut roots = roots(&layout, heap);
        // What seems lost at the first look is looked for again: only then it matters where pointers may have gone.
        if matches!(self.stacks, Stacks::Live(_)) && self.looks.fetch_add(1, Ordering::Relaxed) > 0 {
            roots.extend(self.handed_out(heap).into_iter().map(|range| RootRange { range, kind: RootKind::Anonymous }));
        }
        roots
    }

    fn registers(&self) -> &[u64] {
        &self.registers
    }

    fn freed_now(&self, heap: &Heap) -> Vec<Addr> {
        if matches!(self.stacks, Stacks::Still(_)) {
            return Vec::new();
        }
        let arenas = read_arenas(&self.memory, &self.glibc.layout, self.glibc.roots.main_arena);
        let arenas = arenas.map(|(arenas, _)| arenas).unwrap_or_default();
        let caches: Vec<(i32, Addr)> = heap.tcaches.iter().map(|cache| (cache.thread, cache.address)).collect();
        let lists = read_freed_lists(&self.memory, &arenas, self.glibc.layout.tcache.as_ref(), &caches);
        lists.tcaches.into_iter().flat_map(|cache| cache.chunks).chain(lists.fastbin_chunks).collect()
    }

    fn wait(&self) -> bool {
        let is_live = matches!(self.stacks, Stacks::Live(_));
        if is_live {
            std::thread::sleep(BETWEEN_LOOKS);
        }
        is_live
    }

    fn page_size(&self) -> u64 {
        self.prepared.page_size
    }

    fn threads(&self) -> usize {
        threads() as usize
    }
}
