//! Where each thread's cache is: the thread-local variable `tcache` of glibc.
//!
//! The static symbol gives its offset in glibc's block of thread-local storage. Where that block is follows from the
//! thread's dynamic thread vector, whose entry for glibc is the same in all threads; which entry that is, is found by
//! looking for one that leads to something that can only be a tcache.

use super::chunk::{Chunk, ChunkState, HEADER, MIN_SIZE, SIZE_OFFSET, SizeWord};
use super::layout::TcacheLayout;
use super::lists::looks_like_tcache;
use crate::addr::Addr;
use crate::target::memory::Memory;

/// Offset of the pointer to the dynamic thread vector from the thread pointer (glibc `tls.h`, `tcbhead_t`).
#[cfg(target_arch = "x86_64")]
const DTV: u64 = 8;
/// Offset of the pointer to the dynamic thread vector from the thread pointer (glibc `tls.h`, `tcbhead_t`).
#[cfg(not(target_arch = "x86_64"))]
const DTV: u64 = 0;

/// Bytes of one entry of the vector (glibc `dtv_t`: the block's address, and what to free).
const ENTRY: u64 = 16;

/// Modules with thread-local storage beyond this number are not looked at: glibc is loaded early.
const MAX_MODULES: u64 = 64;

/// Thread caches that were found.
#[derive(Debug, Clone, Default)]
pub struct FoundCaches {
    /// `(thread id, address)` of those threads that have one.
    pub caches: Vec<(i32, Addr)>,
    /// One sentence for each thread whose pointer leads to something else.
    pub problems: Vec<String>,
}

/// Looks for the caches of `threads` (`(thread id, thread pointer)`). `offset` is that of the variable `tcache` in glibc's
/// block.
///
/// Which entry of the vector is glibc's is believed only of one that leads to something that is a tcache in every detail.
/// In the other threads the same entry leads to theirs, even if one is damaged: following its lists will tell.
pub fn find_tcaches(memory: &impl Memory, layout: &TcacheLayout, offset: u64, threads: &[(i32, Addr)]) -> FoundCaches {
    let pointer_of = |thread_pointer: Addr, module: u64| tcache_pointer(memory, offset, thread_pointer, module);
    let is_glibc = |module: &u64| {
        let pointers = threads.iter().filter_map(|(_, thread_pointer)| pointer_of(*thread_pointer, *module));
        let mut set = pointers.filter(|pointer| !pointer.is_null());
        set.any(|tcache| has_right_size(memory, layout, tcache) && looks_like_tcache(memory, layout, tcache))
    };
    let mut found = FoundCaches::default();
    let Some(module) = (1..=MAX_MODULES).find(is_glibc) else { return found };
    for (thread, thread_pointer) in threads {
        match pointer_of(*thread_pointer, module) {
            // A thread that has never allocated has none.
            Some(Addr::NULL) => {}
            Some(tcache) if has_right_size(memory, layout, tcache) => found.caches.push((*thread, tcache)),
            Some(tcache) => found.problems.push(format!(
                "the tcache of thread {thread} should be at {tcache}, where no chunk of its size is: what it holds is counted \
                 as in use"
            )),
            None => found.problems.push(format!(
                "the thread-local storage of thread {thread} cannot be read: what its tcache holds is counted as in use"
            )),
        }
    }
    found
}

/// In each region, so many chunks of the size of a thread cache are looked at.
const LIKELY: usize = 256;

/// What looks like a thread's cache among the chunks of a region: which thread's it is, if it is one, nobody knows. A thread's
/// cache mostly is the first thing that it allocates.
///
/// Thread pointers are in registers, which a rehearsal cannot read.
pub(super) fn likely_caches(
    memory: &impl Memory,
    layout: &TcacheLayout,
    chunks: impl Iterator<Item = Chunk>,
) -> Vec<Addr> {
    let fitting = chunks.filter(|chunk| chunk.state() == ChunkState::InUse && is_tcache_size(layout, chunk.size()));
    let looks_so = |address: &Addr| looks_like_tcache(memory, layout, *address);
    fitting.map(|chunk| chunk.memory()).take(LIKELY).filter(looks_so).collect()
}

/// The variable `tcache` of a thread, if the entry of its vector for that module leads anywhere.
fn tcache_pointer(memory: &impl Memory, offset: u64, thread_pointer: Addr, module: u64) -> Option<Addr> {
    let vector = memory.read_pointer(thread_pointer + DTV).ok()?;
    let block = memory.read_pointer(vector + module * ENTRY).ok()?;
    memory.read_pointer(block + offset).ok()
}

/// True if a chunk of the size that holds the structure is at `tcache`.
fn has_right_size(memory: &impl Memory, layout: &TcacheLayout, tcache: Addr) -> bool {
    let Ok(word) = memory.read_u64(tcache - (HEADER - SIZE_OFFSET)) else { return false };
    is_tcache_size(layout, SizeWord(word).size())
}

/// True if a chunk of that size can hold the structure.
fn is_tcache_size(layout: &TcacheLayout, size: u64) -> bool {
    let least = layout.size.saturating_add(SIZE_OFFSET).next_multiple_of(HEADER).max(MIN_SIZE);
    // One more step of 16 where glibc 2.43 rounds the request up twice.
    size == least || size == least + HEADER
}
