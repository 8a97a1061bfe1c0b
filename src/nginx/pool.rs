//! Pools as a whole: the chain of blocks, the large allocations, the cleanup handlers, and what is wasted.

pub mod functions;
mod lists;

pub use lists::{Cleanup, PoolLists, read_lists};

use super::scan::{BlockNote, PoolNote, PoolScanner};
use crate::addr::Addr;
use crate::malloc::chunk::ChunkState;
use crate::malloc::heap::{ChunkId, Heap};
use rustc_hash::{FxHashMap, FxHashSet};
use std::num::NonZeroU32;

/// A pool that was found by signature.
#[derive(Debug, Clone, Default)]
pub struct Pool {
    /// Where the `ngx_pool_t` lies.
    pub address: Addr,
    /// Size of its blocks, as given to `ngx_create_pool`.
    pub block_size: u64,
    /// Chunks of its blocks, first block first.
    pub blocks: Vec<ChunkId>,
    /// Chunks of its large allocations.
    pub large: Vec<ChunkId>,
    /// Nodes of large allocations whose memory was freed.
    pub large_freed: u64,
    /// Its cleanups.
    pub cleanups: Vec<Cleanup>,
    /// The word right behind its header: what its first allocation begins with.
    pub first_word: Addr,
    /// Sizes of its blocks' chunks together.
    pub block_bytes: u64,
    /// Sizes of its large allocations' chunks together.
    pub large_bytes: u64,
    /// Bytes handed out or used by its headers.
    pub used: u64,
    /// Bytes that can still be handed out.
    pub unused: u64,
    /// Bytes at the ends of blocks before `current`, lost until the pool is destroyed or reset.
    pub lost: u64,
    /// What contradicts itself in it, one sentence each.
    pub problems: Vec<String>,
}

impl Pool {
    /// Chunk sizes of all it holds.
    pub fn bytes(&self) -> u64 {
        self.block_bytes + self.large_bytes
    }
}

/// Makes pools of what the scanners noted: those whose first block is a chunk in use and whose chain is one of chunks in
/// use. `lists` has an entry for each possible pool that was looked at.
pub fn assemble(heap: &Heap, scanners: &[PoolScanner], lists: &mut FxHashMap<Addr, PoolLists>) -> Vec<Pool> {
    let mut blocks = Blocks::in_use(heap, scanners);
    let reached = blocks.reached_lookalikes(scanners);
    let mut pools = Vec::new();
    // Those that no block leads to come first: what their chains reach is a block of theirs, even if it looks like a pool.
    for is_reached in [false, true] {
        let notes = scanners.iter().flat_map(|scanner| &scanner.pools);
        for note in notes.filter(|note| reached.contains(&note.address) == is_reached) {
            let lists = lists.remove(&note.address).unwrap_or_default();
            pools.extend(assemble_one(heap, &mut blocks, note, lists));
        }
    }
    pools
}

/// The possible blocks that are chunks in use.
struct Blocks<'a> {
    notes: Vec<(&'a BlockNote, ChunkId)>,
    /// For each note the pool it belongs to, or null: a block is given out once.
    owners: Vec<Addr>,
    /// For each chunk of the arenas the number of its note.
    of_chunk: Vec<Option<NonZeroU32>>,
    of_mmapped: FxHashMap<Addr, NonZeroU32>,
}

impl<'a> Blocks<'a> {
    /// Notes and chunks are both in address order but for the order of regions: one pass over both is several times
    /// faster than looking each up.
    fn in_use(heap: &Heap, scanners: &'a [PoolScanner]) -> Blocks<'a> {
        // Each scanner has seen one stretch, front to back; one that has seen what was mended may have been all over the heap.
        let mut in_order: Vec<&PoolScanner> = scanners.iter().collect();
        in_order.sort_by_key(|scanner| scanner.blocks.first().map(|block| block.start));
        let count = scanners.iter().map(|scanner| scanner.blocks.len()).sum();
        let of_chunk = vec![None; heap.chunks.len()];
        let mut blocks = Blocks {
            notes: Vec::with_capacity(count),
            owners: Vec::with_capacity(count),
            of_chunk,
            of_mmapped: FxHashMap::default(),
        };
        let mut chunks = heap.chunks.iter().enumerate().peekable();
        for block in in_order.into_iter().flat_map(|scanner| &scanner.blocks) {
            while chunks.next_if(|(_, chunk)| chunk.memory() < block.start).is_some() {}
            let id = match chunks.peek() {
                Some((index, chunk)) if chunk.memory() == block.start => Some(ChunkId::Arena(*index as u32)),
                _ => heap.find(block.start),
            };
            if let Some(id) = id.filter(|id| heap.chunk(*id).state() == ChunkState::InUse) {
                blocks.add(block, id);
            }
        }
        blocks
    }

    fn add(&mut self, block: &'a BlockNote, chunk: ChunkId) {
        self.notes.push((block, chunk));
        self.owners.push(Addr::NULL);
        let number = NonZeroU32::new(self.notes.len() as u32);
        match chunk {
            ChunkId::Arena(index) => {
                if let Some(place) = self.of_chunk.get_mut(index as usize) {
                    *place = number;
                }
            }
            ChunkId::Mmapped(_) => self.of_mmapped.extend(number.map(|number| (block.start, number))),
        }
    }

    /// The block that starts at `at`, which is likely to lie soon after `hint`, by its number.
    fn get(&self, heap: &Heap, at: Addr, hint: ChunkId) -> Option<Block<'a>> {
        self.of(heap.find_after(at, hint)?, at)
    }

    fn of(&self, chunk: ChunkId, at: Addr) -> Option<Block<'a>> {
        let number = match chunk {
            ChunkId::Arena(index) => self.of_chunk.get(index as usize).copied().flatten()?,
            ChunkId::Mmapped(_) => *self.of_mmapped.get(&at)?,
        };
        let number = number.get() as usize - 1;
        let (note, chunk) = self.notes.get(number).copied()?;
        Some(Block { note, chunk, number, owner: self.owners.get(number).copied()? })
    }

    fn set_owner(&mut self, number: usize, pool: Addr) {
        if let Some(owner) = self.owners.get_mut(number) {
            *owner = pool;
        }
    }

    /// What looks like a pool and is the next block of another one: a block that was cut from the memory of a destroyed pool
    /// keeps its header where nothing was written over it yet.
    fn reached_lookalikes(&self, scanners: &[PoolScanner]) -> FxHashSet<Addr> {
        let pools = scanners.iter().flat_map(|scanner| &scanner.pools);
        let pools: FxHashSet<Addr> = pools.map(|note| note.address).collect();
        let next = self.notes.iter().map(|(block, _)| block.next);
        next.filter(|next| !next.is_null() && pools.contains(next)).collect()
    }
}

/// A possible block that is a chunk in use.
#[derive(Clone, Copy)]
struct Block<'a> {
    note: &'a BlockNote,
    chunk: ChunkId,
    /// Its place among the notes.
    number: usize,
    /// The pool it belongs to so far, or null.
    owner: Addr,
}

impl Block<'_> {
    fn size(&self) -> u64 {
        self.note.end.0 - self.note.start.0
    }
}

fn assemble_one(heap: &Heap, blocks: &mut Blocks<'_>, note: &PoolNote, lists: PoolLists) -> Option<Pool> {
    let chunk = heap.find(note.address)?;
    let first = blocks.of(chunk, note.address).filter(|first| first.owner.is_null())?;
    let mut pool = Pool {
        address: note.address,
        block_size: first.size(),
        large_freed: lists.large_freed,
        cleanups: lists.cleanups,
        first_word: note.first_word,
        problems: lists.problem.into_iter().collect(),
        ..Pool::default()
    };
    if !add_blocks(&mut pool, heap, blocks, note, chunk) {
        return None;
    }
    for memory in lists.large {
        add_large(&mut pool, heap, memory);
    }
    Some(pool)
}

/// Follows the chain and takes its blocks. False if it is not that of a pool, which must pass `current`: nothing is taken.
fn add_blocks(pool: &mut Pool, heap: &Heap, blocks: &mut Blocks<'_>, note: &PoolNote, first: ChunkId) -> bool {
    let mut taken = Vec::new();
    let mut passed_current = false;
    let mut hint = first;
    let mut at = note.address;
    while !at.is_null() {
        let block = match next_block(pool, blocks.get(heap, at, hint), at) {
            Ok(block) => block,
            Err(problem) => {
                pool.problems.push(problem);
                break;
            }
        };
        passed_current |= at == note.current;
        let tail = block.note.end.0 - block.note.last.0;
        match passed_current {
            true => pool.unused += tail,
            false => pool.lost += tail,
        }
        // Headers are counted as used: they are what a pool costs.
        pool.used += block.note.last.0 - block.note.start.0;
        pool.block_bytes += heap.chunk(block.chunk).size();
        pool.blocks.push(block.chunk);
        taken.push(block.number);
        blocks.set_owner(block.number, pool.address);
        hint = block.chunk;
        at = block.note.next;
    }
    if !passed_current {
        taken.into_iter().for_each(|number| blocks.set_owner(number, Addr::NULL));
    }
    passed_current
}

/// What the chain leads to at `at`, if it can be the pool's: all blocks of a pool have the size of the first one (nginx
/// `ngx_palloc_block`).
fn next_block<'a>(pool: &Pool, found: Option<Block<'a>>, at: Addr) -> Result<Block<'a>, String> {
    let block = found.ok_or_else(|| format!("its chain leads to {at}, which is no block in use"))?;
    match block.owner {
        owner if owner == pool.address => Err(format!("its chain of blocks is a circle, back to {at}")),
        Addr::NULL if block.size() != pool.block_size => {
            Err(format!("its chain leads to {at}, which is a block of another size"))
        }
        Addr::NULL => Ok(block),
        owner => Err(format!("its chain leads to {at}, which belongs to the pool at {owner}")),
    }
}

fn add_large(pool: &mut Pool, heap: &Heap, memory: Addr) {
    match in_use(heap, memory) {
        Some(chunk) => {
            let size = heap.chunk(chunk).size();
            pool.large_bytes += size;
            pool.used += heap.usable(chunk);
            pool.large.push(chunk);
        }
        None => pool.problems.push(format!("its large allocation {memory} is no chunk in use")),
    }
}

fn in_use(heap: &Heap, memory: Addr) -> Option<ChunkId> {
    heap.find(memory).filter(|id| heap.chunk(*id).state() == ChunkState::InUse)
}
