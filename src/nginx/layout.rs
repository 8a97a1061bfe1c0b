//! Where `ngx_pool_t` keeps what.
//!
//! From the DWARF of the running binary: builds with `ngx_debug_pool` (Tengine) have a larger pool header and larger nodes
//! for large allocations. A stripped binary gets the layout that nginx has had since 0.8.1, and the output says so.

use crate::addr::Addr;
use crate::debug::{DebugError, DebugInfo, Layout, MissingField};
use crate::target::memory::{Memory, word_at};
use std::sync::Arc;
use thiserror::Error;

/// Why the layout of pools is not known from debug info.
#[derive(Debug, Error)]
pub enum LayoutError {
    /// No usable debug info.
    #[error(transparent)]
    Debug(#[from] DebugError),
    /// The structures are there and lack a field that every known nginx has.
    #[error(transparent)]
    Field(#[from] MissingField),
}

/// Offsets in `ngx_pool_t`, `ngx_pool_large_t` and `ngx_pool_cleanup_t`, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolLayout {
    /// Size of `ngx_pool_t`, with which a pool's first block begins.
    pub header: u64,
    /// Size of `ngx_pool_data_t`, with which every other block begins.
    pub block_header: u64,
    /// `d.last`: where the next allocation from the block would start.
    pub last: u64,
    /// `d.end`: the block's end.
    pub end: u64,
    /// `d.next`: the next block.
    pub next: u64,
    /// `max`: requests above it are large allocations.
    pub max: u64,
    /// `current`: the first block that is still looked at.
    pub current: u64,
    /// `large`: the list of large allocations.
    pub large: u64,
    /// `cleanup`: the list of cleanup handlers.
    pub cleanup: u64,
    /// `log`.
    pub log: u64,
    /// `next` in a node of the list of large allocations.
    pub large_next: u64,
    /// `alloc` in such a node.
    pub large_alloc: u64,
    /// `handler` in a cleanup.
    pub cleanup_handler: u64,
    /// `data` in a cleanup.
    pub cleanup_data: u64,
    /// `next` in a cleanup.
    pub cleanup_next: u64,
}

impl PoolLayout {
    /// The layout from nginx 0.8.1 (0.7.60) up to 1.31, Tengine and OpenResty on 64-bit machines
    /// (nginx `src/core/ngx_palloc.h`).
    pub const SINCE_0_8_1: PoolLayout = PoolLayout {
        header: 80,
        block_header: 32,
        last: 0,
        end: 8,
        next: 16,
        max: 32,
        current: 40,
        large: 56,
        cleanup: 64,
        log: 72,
        large_next: 0,
        large_alloc: 8,
        cleanup_handler: 0,
        cleanup_data: 8,
        cleanup_next: 16,
    };

    /// Takes the layout from nginx's debug info.
    ///
    /// # Errors
    /// [`LayoutError`] if there is no debug info, or none of pools.
    pub fn from_debug(debug: &DebugInfo) -> Result<PoolLayout, LayoutError> {
        const NAMES: [&str; 4] = ["ngx_pool_s", "ngx_pool_large_s", "ngx_pool_cleanup_s", "ngx_pool_data_t"];
        let mut found = debug.layouts(&NAMES, Some("ngx_palloc.c"))?.into_iter();
        let mut next = |name: &str| -> Result<Arc<Layout>, DebugError> {
            found.next().flatten().map_or_else(|| debug.layout(name), Ok)
        };
        let [pool, large, cleanup, data] = NAMES.map(&mut next);
        let (pool, large, cleanup) = (pool?, large?, cleanup?);
        Ok(PoolLayout {
            header: pool.size,
            block_header: data?.size,
            last: pool.offset("d.last")?,
            end: pool.offset("d.end")?,
            next: pool.offset("d.next")?,
            max: pool.offset("max")?,
            current: pool.offset("current")?,
            large: pool.offset("large")?,
            cleanup: pool.offset("cleanup")?,
            log: pool.offset("log")?,
            large_next: large.offset("next")?,
            large_alloc: large.offset("alloc")?,
            cleanup_handler: cleanup.offset("handler")?,
            cleanup_data: cleanup.offset("data")?,
            cleanup_next: cleanup.offset("next")?,
        })
    }

    /// The size of the first block of the pool at that address, as it was given to `ngx_create_pool`; `None` if there is no
    /// pool by what its header says.
    pub fn first_block(&self, memory: &dyn Memory, pool: Addr) -> Option<u64> {
        if pool.is_null() || !pool.is_aligned(8) {
            return None;
        }
        let mut bytes = vec![0; self.wanted() as usize];
        memory.read(pool, &mut bytes).ok()?;
        let word = |offset| Addr(word_at(&bytes, offset));
        let (last, end) = (word(self.last), word(self.end));
        let size = end.checked_offset_from(pool)?;
        let most = size.checked_sub(self.header)?;
        let max = word_at(&bytes, self.max);
        // `max` is what is left of the block, but less than a page; pages differ.
        let is_pool = last.checked_offset_from(pool)? >= self.header
            && last <= end
            && max <= most
            && (max == most || (max + 1).is_power_of_two())
            && !word(self.current).is_null()
            && !word(self.log).is_null();
        is_pool.then_some(size)
    }

    /// True if `allocation` lies in the first block of the pool at that address, or is one of its large allocations: the
    /// first 4096 of these are looked at.
    pub fn holds(&self, memory: &dyn Memory, pool: Addr, allocation: Addr) -> bool {
        const MOST_NODES: usize = 4096;
        let Some(size) = self.first_block(memory, pool) else { return false };
        if allocation.checked_offset_from(pool).is_some_and(|offset| offset < size) {
            return true;
        }
        let pointer = |at: Addr| memory.read_pointer(at).ok().filter(|pointer| !pointer.is_null());
        let nodes = std::iter::successors(pointer(pool + self.large), |node| pointer(*node + self.large_next));
        nodes.take(MOST_NODES).any(|node| pointer(node + self.large_alloc) == Some(allocation))
    }

    /// How many bytes from a block's start tell all that its header says.
    pub fn wanted(&self) -> u64 {
        self.header.max(self.log + 8)
    }
}
