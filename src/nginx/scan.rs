//! Notes, while the heap is walked, every chunk that could be a block of a pool.
//!
//! Whether it is one is decided after the stop ([`super::pool`]): a freed pool keeps its bytes and looks as valid as a
//! living one, and only the walk as a whole tells which chunks are in use.

use super::layout::PoolLayout;
use crate::addr::{Addr, AddrRange};
use crate::malloc::chunk::ALIGNMENT;
use crate::malloc::walk::PayloadVisitor;
use crate::target::memory::word_at;

/// What the header of a possible block says (`ngx_pool_data_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockNote {
    /// The block's start, which is what malloc returned.
    pub start: Addr,
    /// Where the next allocation would start.
    pub last: Addr,
    /// The block's end.
    pub end: Addr,
    /// The next block; null in the last one.
    pub next: Addr,
}

/// What the rest of a possible pool's header says (`ngx_pool_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolNote {
    /// The pool, which is its first block.
    pub address: Addr,
    /// The first block that is still looked at.
    pub current: Addr,
    /// The list of large allocations.
    pub large: Addr,
    /// The list of cleanup handlers.
    pub cleanup: Addr,
    /// The word right behind the pool's header: what its first allocation begins with.
    pub first_word: Addr,
}

/// A visitor that collects possible blocks and pools.
#[derive(Debug, Clone)]
pub struct PoolScanner {
    layout: PoolLayout,
    /// The largest `max` that a pool can have: one byte less than a page (nginx `NGX_MAX_ALLOC_FROM_POOL`).
    max_alloc: u64,
    /// Possible blocks, those that begin a pool among them, in address order.
    pub blocks: Vec<BlockNote>,
    /// Possible pools, in address order.
    pub pools: Vec<PoolNote>,
}

impl PoolScanner {
    /// A scanner that has seen nothing.
    pub fn new(layout: &PoolLayout, page_size: u64) -> PoolScanner {
        PoolScanner { layout: layout.clone(), max_alloc: page_size - 1, blocks: Vec::new(), pools: Vec::new() }
    }

    /// False if a chunk does not begin with a block: its first free byte lies elsewhere. Nearly all chunks are told by this one
    /// word.
    #[inline]
    fn may_be_block(&self, start: Addr, usable: u64, payload: &[u8]) -> bool {
        let last = Addr(word_at(payload, self.layout.last));
        payload.len() as u64 >= self.layout.block_header
            && last >= start + self.layout.block_header
            && last <= start + usable
    }

    /// The block that begins a chunk, if it can be one: its bounds lie within the chunk and in order, and its link can be
    /// one.
    fn block(&self, start: Addr, usable: u64, payload: &[u8]) -> Option<BlockNote> {
        let word = |offset| Addr(word_at(payload, offset));
        let (last, end, next) = (word(self.layout.last), word(self.layout.end), word(self.layout.next));
        let is_block = last <= end && end <= start + usable && next.is_aligned(ALIGNMENT) && next != start;
        is_block.then_some(BlockNote { start, last, end, next })
    }

    #[inline(never)]
    fn note(&mut self, start: Addr, usable: u64, payload: &[u8]) {
        let Some(block) = self.block(start, usable, payload) else { return };
        if payload.len() as u64 >= self.layout.wanted()
            && let Some(pool) = self.pool(&block, payload)
        {
            self.pools.push(pool);
        }
        self.blocks.push(block);
    }

    /// The pool that begins with that block, if it is one (nginx `ngx_create_pool`).
    fn pool(&self, block: &BlockNote, payload: &[u8]) -> Option<PoolNote> {
        let word = |offset| word_at(payload, offset);
        let room = (block.end.0 - block.start.0).checked_sub(self.layout.header)?;
        let current = Addr(word(self.layout.current));
        let is_pool = word(self.layout.max) == room.min(self.max_alloc)
            && block.last.0 - block.start.0 >= self.layout.header
            && !current.is_null()
            && current.is_aligned(ALIGNMENT)
            && word(self.layout.log) != 0;
        is_pool.then_some(PoolNote {
            address: block.start,
            current,
            large: Addr(word(self.layout.large)),
            cleanup: Addr(word(self.layout.cleanup)),
            first_word: Addr(word(self.layout.header)),
        })
    }
}

impl PayloadVisitor for PoolScanner {
    fn wanted(&self) -> u64 {
        self.layout.wanted().max(self.layout.header + 8)
    }

    fn noted(&self) -> usize {
        self.blocks.len()
    }

    fn reserve(&mut self, noted: usize) {
        let nothing = BlockNote { start: Addr::NULL, last: Addr::NULL, end: Addr::NULL, next: Addr::NULL };
        self.blocks.resize(noted, nothing);
        self.blocks.clear();
    }

    #[inline]
    fn visit(&mut self, memory: Addr, usable: u64, payload: &[u8]) {
        if self.may_be_block(memory, usable, payload) {
            self.note(memory, usable, payload);
        }
    }

    fn forget_from(&mut self, memory: Addr) {
        self.blocks.truncate(self.blocks.partition_point(|block| block.start < memory));
        self.pools.truncate(self.pools.partition_point(|pool| pool.address < memory));
    }

    fn forget_in(&mut self, ranges: &[AddrRange]) {
        let is_elsewhere = |memory: Addr| {
            let before = ranges.partition_point(|range| range.start <= memory).checked_sub(1);
            !before.and_then(|before| ranges.get(before)).is_some_and(|range| range.contains(memory))
        };
        self.blocks.retain(|block| is_elsewhere(block.start));
        self.pools.retain(|pool| is_elsewhere(pool.address));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 0x5010;

    fn pool_of(size: u64, words: &[(u64, u64)]) -> Vec<u8> {
        let mut bytes = vec![0; 80];
        let fields = [(0, START + 80), (8, START + size), (32, (size - 80).min(4095)), (40, START), (72, 0x4000)];
        for (offset, value) in fields.iter().chain(words) {
            bytes[*offset as usize..*offset as usize + 8].copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    fn scan(bytes: &[u8]) -> (usize, usize) {
        let mut scanner = PoolScanner::new(&PoolLayout::SINCE_0_8_1, 4096);
        scanner.visit(Addr(START), 520, bytes);
        (scanner.blocks.len(), scanner.pools.len())
    }

    #[test]
    fn a_fresh_pool_is_a_block_and_a_pool() {
        assert_eq!(scan(&pool_of(512, &[])), (1, 1));
    }

    #[test]
    fn the_largest_allocation_must_fit_the_size() {
        assert_eq!(scan(&pool_of(512, &[(32, 433)])), (1, 0));
    }

    #[test]
    fn a_block_that_is_not_the_first_is_no_pool() {
        assert_eq!(scan(&pool_of(512, &[(0, START + 40), (40, 0x7777)])), (1, 0));
    }

    #[test]
    fn bounds_outside_the_chunk_are_refused() {
        assert_eq!(scan(&pool_of(512, &[(8, START + 521)])), (0, 0));
        assert_eq!(scan(&pool_of(512, &[(0, START - 8)])), (0, 0));
        assert_eq!(scan(&[0; 80]), (0, 0));
    }
}
