//! Pools as a whole: the chain of blocks, the large allocations, the cleanup handlers, and what is wasted.

use super::layout::PoolLayout;
use super::scan::{BlockNote, PoolNote, PoolScanner};
use crate::addr::Addr;
use crate::malloc::arena::word_at;
use crate::malloc::chunk::ChunkState;
use crate::malloc::heap::{ChunkId, Heap};
use crate::target::memory::Memory;
use rustc_hash::{FxHashMap, FxHashSet};
use std::num::NonZeroU32;

/// More nodes than this in one list are not believed. Long-lived requests can have very long lists of large allocations,
/// because nodes whose memory was freed are reused only near the front (nginx `ngx_palloc_large`).
const MAX_NODES: usize = 4 << 20;

/// The lists that hang on a pool, read while the target stands still.
#[derive(Debug, Clone, Default)]
pub struct PoolLists {
    /// Large allocations that are not freed.
    pub large: Vec<Addr>,
    /// Nodes whose memory was freed.
    pub large_freed: u64,
    /// Addresses of cleanup handlers, those that were cleared included as null.
    pub cleanups: Vec<Addr>,
    /// What was wrong with them.
    pub problem: Option<String>,
}

/// Reads the lists of a possible pool. The pool may be a dead one: every read can lead to nonsense.
pub fn read_lists(memory: &impl Memory, layout: &PoolLayout, pool: &PoolNote) -> PoolLists {
    let mut lists = PoolLists::default();
    let large = follow(memory, pool.large, layout.large_next, layout.large_alloc, &mut |alloc| match alloc {
        Addr::NULL => lists.large_freed += 1,
        alloc => lists.large.push(alloc),
    });
    let cleanups = follow(memory, pool.cleanup, layout.cleanup_next, layout.cleanup_handler, &mut |handler| {
        lists.cleanups.push(handler);
    });
    let name = |list: &str, result: Result<(), String>| result.err().map(|problem| format!("its {list}: {problem}"));
    lists.problem = name("large allocations", large).or(name("cleanups", cleanups));
    lists
}

fn follow(
    memory: &impl Memory,
    first: Addr,
    next_offset: u64,
    value_offset: u64,
    take: &mut impl FnMut(Addr),
) -> Result<(), String> {
    let mut node = first;
    let node_size = (next_offset.max(value_offset) + 8) as usize;
    let mut bytes = vec![0; node_size];
    for _ in 0..MAX_NODES {
        if node.is_null() {
            return Ok(());
        }
        memory.read(node, &mut bytes).map_err(|fault| fault.to_string())?;
        let (value, next) = (Addr(word_at(&bytes, value_offset)), Addr(word_at(&bytes, next_offset)));
        take(value);
        if next == node {
            break;
        }
        node = next;
    }
    Err(format!("the list does not end after {MAX_NODES} nodes"))
}

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
    /// Addresses of cleanup handlers.
    pub cleanups: Vec<Addr>,
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
    let blocks = Blocks::in_use(heap, scanners);
    let inner = blocks.inner_lookalikes(scanners);
    let mut pools = Vec::new();
    for note in scanners.iter().flat_map(|scanner| &scanner.pools) {
        if inner.contains(&note.address) {
            continue;
        }
        let lists = lists.remove(&note.address).unwrap_or_default();
        pools.extend(assemble_one(heap, &blocks, note, lists));
    }
    pools
}

/// The possible blocks that are chunks in use.
struct Blocks<'a> {
    notes: Vec<(&'a BlockNote, ChunkId)>,
    /// For each chunk of the arenas the number of its note.
    of_chunk: Vec<Option<NonZeroU32>>,
    of_mmapped: FxHashMap<Addr, NonZeroU32>,
}

impl<'a> Blocks<'a> {
    /// Notes and chunks are both in address order but for the order of regions: one pass over both is several times
    /// faster than looking each up.
    fn in_use(heap: &Heap, scanners: &'a [PoolScanner]) -> Blocks<'a> {
        let mut candidates: Vec<&BlockNote> = scanners.iter().flat_map(|scanner| &scanner.blocks).collect();
        candidates.sort_by_key(|block| block.start);
        let of_chunk = vec![None; heap.chunks.len()];
        let mut blocks = Blocks { notes: Vec::new(), of_chunk, of_mmapped: FxHashMap::default() };
        let mut chunks = heap.chunks.iter().enumerate().peekable();
        for block in candidates {
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

    /// The block that starts at `at`, which is likely to lie soon after `hint`.
    fn get(&self, heap: &Heap, at: Addr, hint: ChunkId) -> Option<(&'a BlockNote, ChunkId)> {
        self.of(heap.find_after(at, hint)?, at)
    }

    fn of(&self, chunk: ChunkId, at: Addr) -> Option<(&'a BlockNote, ChunkId)> {
        let number = match chunk {
            ChunkId::Arena(index) => self.of_chunk.get(index as usize).copied().flatten()?,
            ChunkId::Mmapped(_) => *self.of_mmapped.get(&at)?,
        };
        self.notes.get(number.get() as usize - 1).copied()
    }

    /// Blocks in the middle of a chain that look like a pool by accident: another block leads to them.
    fn inner_lookalikes(&self, scanners: &[PoolScanner]) -> FxHashSet<Addr> {
        let pools = scanners.iter().flat_map(|scanner| &scanner.pools);
        let doubtful = pools.filter(|note| !is_current_of_itself(note)).map(|note| note.address);
        let doubtful: FxHashSet<Addr> = doubtful.collect();
        if doubtful.is_empty() {
            return doubtful;
        }
        self.notes.iter().map(|(block, _)| block.next).filter(|next| doubtful.contains(next)).collect()
    }
}

/// In a pool of one block, and in one that has not failed much, `current` is the pool itself.
fn is_current_of_itself(note: &PoolNote) -> bool {
    note.current == note.address
}

fn assemble_one(heap: &Heap, blocks: &Blocks<'_>, note: &PoolNote, lists: PoolLists) -> Option<Pool> {
    let chunk = heap.find(note.address)?;
    let (first, _) = blocks.of(chunk, note.address)?;
    let mut pool = Pool {
        address: note.address,
        block_size: first.end.0 - first.start.0,
        large_freed: lists.large_freed,
        cleanups: lists.cleanups,
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

/// Follows the chain. False if it is not that of a pool: it must begin at the pool and pass `current`.
fn add_blocks(pool: &mut Pool, heap: &Heap, blocks: &Blocks<'_>, note: &PoolNote, first: ChunkId) -> bool {
    let mut passed_current = false;
    let mut hint = first;
    let mut at = note.address;
    while !at.is_null() {
        let Some((block, chunk)) = blocks.get(heap, at, hint) else {
            pool.problems.push(format!("its chain leads to {at}, which is no block in use"));
            break;
        };
        if pool.blocks.len() > blocks.notes.len() {
            pool.problems.push("its chain of blocks is a circle".to_owned());
            break;
        }
        passed_current |= at == note.current;
        let tail = block.end.0 - block.last.0;
        match passed_current {
            true => pool.unused += tail,
            false => pool.lost += tail,
        }
        // Headers are counted as used: they are what a pool costs.
        pool.used += block.last.0 - block.start.0;
        pool.block_bytes += heap.chunk(chunk).size();
        pool.blocks.push(chunk);
        hint = chunk;
        at = block.next;
    }
    passed_current
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
