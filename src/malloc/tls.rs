//! Where each thread's cache is: the thread-local variable `tcache` of glibc.
//!
//! The static symbol gives its offset in glibc's block of thread-local storage. Where that block is follows from the
//! thread's dynamic thread vector, whose entry for glibc is the same in all threads; which entry that is, is found by
//! looking for one that leads to something that can only be a tcache.

use super::chunk::{HEADER, MIN_SIZE, SIZE_OFFSET, SizeWord};
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

/// Thread caches as `(thread id, address)`, of those of `threads` (`(thread id, thread pointer)`) that have one. `offset`
/// is that of the variable `tcache` in glibc's block.
pub fn find_tcaches(
    memory: &impl Memory,
    layout: &TcacheLayout,
    offset: u64,
    threads: &[(i32, Addr)],
) -> Vec<(i32, Addr)> {
    let module = (1..=MAX_MODULES).find(|module| {
        threads.iter().any(|(_, pointer)| tcache_of(memory, layout, offset, *pointer, *module).is_some())
    });
    let Some(module) = module else { return Vec::new() };
    let cache = |(thread, pointer): &(i32, Addr)| Some((*thread, tcache_of(memory, layout, offset, *pointer, module)?));
    threads.iter().filter_map(cache).collect()
}

fn tcache_of(
    memory: &impl Memory,
    layout: &TcacheLayout,
    offset: u64,
    thread_pointer: Addr,
    module: u64,
) -> Option<Addr> {
    let vector = memory.read_pointer(thread_pointer + DTV).ok()?;
    let block = memory.read_pointer(vector + module * ENTRY).ok()?;
    let tcache = memory.read_pointer(block + offset).ok()?;
    let size = SizeWord(memory.read_u64(tcache - (HEADER - SIZE_OFFSET)).ok()?).size();
    // One more step of 16 where glibc 2.43 rounds the request up twice.
    let least = (layout.size + SIZE_OFFSET).next_multiple_of(HEADER).max(MIN_SIZE);
    let fits = size == least || size == least + HEADER;
    (fits && looks_like_tcache(memory, layout, tcache)).then_some(tcache)
}
