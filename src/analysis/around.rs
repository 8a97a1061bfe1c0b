//! The memory around a heap, in which its owners are looked for: of a process that runs on, or of a core.

use super::capture::threads;
use super::footprint::Footprint;
use super::free_slots::FreeSlots;
use super::freed::FreedNow;
use super::prepared::{Glibc, Prepared};
use super::reused::reused;
use crate::addr::{Addr, AddrRange};
use crate::attribution::reach::{Layout, RootKind, RootRange, Roots, Surroundings, roots, shared_memory};
use crate::malloc::heap::Heap;
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
    /// True if all memory that can hold pointers can be read.
    pub is_whole: bool,
    /// How often it was looked through.
    pub looks: AtomicU32,
    /// What this process may take of memory.
    pub footprint: Footprint,
}

/// Where stacks are in use.
pub enum Stacks {
    /// They change: the process of this pid runs on. At the stop it had these threads.
    Live(i32, Vec<i32>),
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
        let cached = self.freed_now(heap).map(|freed| freed.into_iter().collect());
        cached.and_then(|cached| reused(&self.memory, heap, &cached)).unwrap_or_else(|| {
            let regions = heap.regions.iter();
            regions.map(|region| AddrRange::new(region.region.chunks.start, region.walked.end)).collect()
        })
    }
}

impl Surroundings for Around<'_> {
    fn memory(&self) -> &(dyn Memory + Sync) {
        self.memory
    }

    /// A stripped binary that OpenSSL is linked into says nothing of it: there any pointer into a session counts, too.
    fn has_openssl(&self) -> bool {
        self.prepared.modules().any(|module| module.debug.symbol("SSL_SESSION_new").is_some())
    }

    fn pagemap(&self) -> &ReadPagemap<'_> {
        self.pagemap
    }

    /// Stacks of threads that wait in the kernel are in use from the stack pointer up, and below lies what calls that have
    /// returned have left. Of a thread that runs, all its stack counts. Shared memory takes its time and holds hardly anything:
    /// of a process that runs on it is looked through only for what seems lost.
    fn roots(&self, heap: &Heap) -> Roots {
        let now = match &self.stacks {
            Stacks::Live(pid, _) => Some(Maps::read_ranges(*pid)),
            Stacks::Still(_) => None,
        };
        let stack_pointers = match &self.stacks {
            Stacks::Live(pid, _) => waiting_stack_pointers(*pid),
            Stacks::Still(pointers) => pointers.clone(),
        };
        // Without those of now there may be mappings that nobody has looked at.
        let is_whole = now.as_ref().is_none_or(Result::is_ok);
        let maps = now.and_then(Result::ok);
        let modules: Vec<AddrRange> = self.prepared.modules().map(|module| module.span).collect();
        let layout = Layout {
            maps: maps.as_ref().unwrap_or(&self.prepared.maps),
            modules: &modules,
            stack_pointers: &stack_pointers,
            thread_pointers: &self.thread_pointers(),
            is_core: matches!(self.stacks, Stacks::Still(_)),
            malloc: AddrRange::sized(self.glibc.roots.main_arena, self.glibc.layout.state.size),
        };
        let mut ranges = roots(&layout, heap);
        // What seems lost at the first look is looked for again: only then it matters where pointers may have gone.
        let is_again = self.looks.fetch_add(1, Ordering::Relaxed) > 0;
        if layout.is_core || is_again {
            ranges.extend(shared_memory(layout.maps));
        }
        if !layout.is_core && is_again {
            ranges
                .extend(self.handed_out(heap).into_iter().map(|range| RootRange { range, kind: RootKind::Anonymous }));
        }
        Roots { ranges, is_whole }
    }

    fn registers(&self) -> &[u64] {
        &self.registers
    }

    fn freed_now(&self, heap: &Heap) -> Option<Vec<Addr>> {
        let Stacks::Live(pid, threads) = &self.stacks else { return Some(Vec::new()) };
        let pointers = self.thread_pointers();
        FreedNow { memory: self.memory, glibc: self.glibc, pid: *pid, threads, pointers: &pointers }.chunks(heap)
    }

    fn stale(&self) -> Vec<AddrRange> {
        FreeSlots::of(self.prepared).map_or_else(Vec::new, |slots| slots.stale(self.memory))
    }

    fn wait(&self) -> bool {
        let is_live = matches!(self.stacks, Stacks::Live(..));
        if is_live {
            std::thread::sleep(BETWEEN_LOOKS);
        }
        is_live
    }

    fn most_nodes(&self, chunks: usize) -> usize {
        self.footprint.most_nodes(chunks as u64)
    }

    fn page_size(&self) -> u64 {
        self.prepared.page_size
    }

    fn threads(&self) -> usize {
        threads() as usize
    }
}
