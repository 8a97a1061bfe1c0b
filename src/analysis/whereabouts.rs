//! Whether a thread that stands still is in the middle of an allocation: its program counter and its stack tell.

use super::prepared::Prepared;
use crate::addr::{Addr, AddrRange};
use crate::debug::{Code, StackEnd, walk_stack};
use crate::malloc::arena::any_is_locked;
use crate::malloc::functions::is_of_malloc;
use crate::nginx::pool::functions::is_of_pools;
use crate::target::cache::PageCache;
use crate::target::live::LiveMemory;
use crate::target::maps::Maps;
use crate::target::memory::{Memory, word_at};
use crate::target::place::{Judge, Standing};
use crate::target::registers::ThreadRegisters;
use rustc_hash::FxHashMap;
use std::sync::{Mutex, PoisonError};

/// Bytes of stack that are looked through at most where frames cannot be followed.
const MOST_STACK: u64 = 1 << 20;

/// Bytes of pages kept of one stack.
const CACHE_LIMIT: usize = 4 << 20;

/// Where the target's code lies.
pub struct Whereabouts<'a> {
    memory: &'a LiveMemory,
    prepared: &'a Prepared,
    code: Vec<Code>,
    /// Functions that change the heap or a pool, in address order.
    changing: Vec<AddrRange>,
    /// Registers of threads that were found to be in no allocation. In the next stop an idle thread is where it was.
    outside: Mutex<FxHashMap<i32, Vec<u64>>>,
}

impl std::fmt::Debug for Whereabouts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Whereabouts").field("changing", &self.changing.len()).finish_non_exhaustive()
    }
}

impl<'a> Whereabouts<'a> {
    /// `None` if it is not known where malloc's functions are.
    pub fn of(memory: &'a LiveMemory, prepared: &'a Prepared) -> Option<Whereabouts<'a>> {
        let mut changing = functions(prepared, is_of_malloc);
        // Elsewhere return addresses can be in a register only, and signed.
        if changing.is_empty() || !cfg!(target_arch = "x86_64") {
            return None;
        }
        changing.extend(functions(prepared, is_of_pools));
        changing.sort_unstable_by_key(|range| range.start);
        let code =
            prepared.modules().map(|module| Code { debug: module.debug.clone(), bias: module.bias, span: module.span });
        let code: Vec<Code> = code.collect();
        // Not read before the stop, it would be read from disk in it.
        code.iter().for_each(|code| code.debug.touch_frames());
        Some(Whereabouts { memory, prepared, code, changing, outside: Mutex::default() })
    }

    fn is_changing(&self, address: Addr) -> bool {
        // Functions do not lie in one another, but one may have several symbols.
        let before = self.changing.partition_point(|range| range.start <= address);
        self.changing.iter().take(before).rev().take(4).any(|range| range.contains(address))
    }

    /// Looks at every word of a stack from an address on: whoever is in a function has left there where it returns to.
    fn looks_changing(&self, from: Addr) -> Standing {
        let mapped = self.prepared.maps.at(from).map(|mapping| mapping.range);
        // A stack that has grown, or a thread that is new.
        let mapped = mapped.or_else(|| {
            let now = Maps::read_ranges(self.memory.pid()).ok()?;
            now.at(from).map(|mapping| mapping.range)
        });
        let Some(mapped) = mapped.filter(|mapped| mapped.end.0 - from.0 <= MOST_STACK) else {
            return Standing::Unknown;
        };
        let mut bytes = vec![0; (mapped.end.0 - from.0) as usize];
        if self.memory.read(from, &mut bytes).is_err() {
            return Standing::Unknown;
        }
        let mut words = (0..bytes.len() as u64).step_by(8).map(|offset| Addr(word_at(&bytes, offset)));
        // A word may be left over from a call that is long over.
        if words.any(|word| self.is_changing(word)) { Standing::Unknown } else { Standing::Outside }
    }
}

impl Judge for Whereabouts<'_> {
    fn standing(&self, registers: &ThreadRegisters) -> Standing {
        // A thread that waits for a lock of malloc stands in another function than one that waits for work.
        let outside = || self.outside.lock().unwrap_or_else(PoisonError::into_inner);
        if outside().get(&registers.tid) == Some(&registers.words) {
            return Standing::Outside;
        }
        let standing = self.by_stack(registers);
        if standing == Standing::Outside {
            outside().insert(registers.tid, registers.words.clone());
        }
        standing
    }

    fn is_locked(&self) -> bool {
        let Some(glibc) = &self.prepared.glibc else { return false };
        any_is_locked(self.memory, &glibc.layout, glibc.roots.main_arena)
    }
}

impl Whereabouts<'_> {
    fn by_stack(&self, registers: &ThreadRegisters) -> Standing {
        let pages = PageCache::new(self.memory, self.prepared.page_size, CACHE_LIMIT);
        let walk = walk_stack(registers, &pages, &self.code);
        if walk.frames.iter().any(|frame| self.is_changing(*frame)) {
            return Standing::Inside;
        }
        match walk.end {
            StackEnd::Outermost => Standing::Outside,
            StackEnd::Lost(Some(from)) => self.looks_changing(from),
            StackEnd::Lost(None) => Standing::Unknown,
        }
    }
}

/// Where the functions lie whose names are `wanted`.
fn functions(prepared: &Prepared, wanted: fn(&str) -> bool) -> Vec<AddrRange> {
    let of_module = |module: &super::modules::LoadedModule| {
        let bias = module.bias;
        let found = module.debug.functions_named(wanted);
        found.into_iter().map(move |(start, size)| AddrRange::sized(bias.to_running(start), size))
    };
    // Linked statically, glibc's functions are the binary's own.
    let binary = Some(&prepared.binary);
    [binary, prepared.library.as_ref()].into_iter().flatten().flat_map(of_module).collect()
}
