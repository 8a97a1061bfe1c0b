//! Pools in the chunks of a heap image, as nginx would have left them, with an account of what they hold.

use super::glibcs::Glibc;
use super::process::{HeapImage, PAGE};
use super::reading::{Counting, read_with};
use super::spec::{Cell, Spec, State, in_use};
use poolscope::addr::Addr;
use poolscope::malloc::chunk::{Chunk, ChunkState};
use poolscope::malloc::heap::Heap;
use poolscope::malloc::rehearsal::Rehearsal;
use poolscope::nginx::layout::PoolLayout;
use poolscope::nginx::pool::{Pool, assemble, read_lists};
use poolscope::nginx::scan::PoolScanner;
use proptest::prelude::*;
use std::sync::atomic::Ordering;

pub const LAYOUT: PoolLayout = PoolLayout::SINCE_0_8_1;
const LOG: u64 = 0x5555_0000_0040;

/// A pool to be laid.
#[derive(Debug, Clone)]
pub struct PoolPlan {
    /// What `ngx_create_pool` was asked for.
    pub block_size: u64,
    /// How much of the room of each block is handed out, of 16.
    pub fill: Vec<u64>,
    /// The first block that is still looked at.
    pub current: usize,
    /// Sizes of large allocations, newest first, and whether they were freed.
    pub large: Vec<(u64, bool)>,
    pub cleanups: u64,
    /// What has become of its chunks: a pool that was destroyed leaves its bytes.
    pub state: State,
}

impl PoolPlan {
    pub fn simple(block_size: u64, blocks: usize) -> PoolPlan {
        PoolPlan { block_size, fill: vec![8; blocks], current: 0, large: Vec::new(), cleanups: 0, state: State::InUse }
    }
}

prop_compose! {
    pub fn pool_plan()(
        block_size in (20u64..256).prop_map(|units| units * 16),
        fill in prop::collection::vec(0u64..=16, 1..6),
        current in any::<prop::sample::Index>(),
        large in prop::collection::vec(((1u64..600).prop_map(|units| units * 16), any::<bool>()), 0..5),
        cleanups in 0u64..4,
        state in prop_oneof![4 => Just(State::InUse), 1 => Just(State::Free), 1 => Just(State::Tcache(0))],
    ) -> PoolPlan {
        let current = current.index(fill.len());
        PoolPlan { block_size, fill, current, large, cleanups, state }
    }
}

/// Where a pool was laid.
#[derive(Debug, Clone)]
pub struct LaidPool {
    pub plan: PoolPlan,
    pub blocks: Vec<Addr>,
    pub large: Vec<Addr>,
}

/// A heap with pools in it.
pub struct PoolImage {
    pub target: HeapImage,
    pub pools: Vec<LaidPool>,
}

/// What a reading of the pools makes of them.
pub struct FoundPools {
    pub heap: Heap,
    pub scanners: Vec<PoolScanner>,
    pub pools: Vec<Pool>,
    pub reads: u64,
}

fn chunk_size(request: u64) -> u64 {
    (request + 8).next_multiple_of(16).max(32)
}

impl PoolImage {
    /// Lays the pools; `order` shuffles where in the heap their chunks come.
    pub fn build(glibc: &Glibc, plans: &[PoolPlan], order: &[u64]) -> PoolImage {
        let mut wanted: Vec<(u64, usize, usize, Cell)> = Vec::new();
        for (number, plan) in plans.iter().enumerate() {
            let blocks = plan.fill.iter().map(|_| plan.block_size);
            for (place, size) in blocks.chain(plan.large.iter().map(|(size, _)| *size)).enumerate() {
                let key = order.get(wanted.len()).copied().unwrap_or_default();
                let size = chunk_size(size);
                let cached = wanted.iter().filter(|(.., cell)| cell.size == size).count();
                let state = match plan.state {
                    // A thread cache takes neither large chunks nor many.
                    State::Tcache(_) if size > 1040 || cached >= 7 => State::Free,
                    state => state,
                };
                wanted.push((key, number, place, Cell { size, state }));
            }
        }
        wanted.sort_by_key(|(key, number, place, _)| (*key, *number, *place));
        // Something in use between all of them, so that no two free ones meet.
        let cells: Vec<Cell> = wanted.iter().flat_map(|(.., cell)| [*cell, in_use(0x20)]).collect();
        let target = HeapImage::build(glibc, &Spec::plain(&cells));
        // The first chunk is the thread cache.
        let place = |index: usize| target.chunks[1 + 2 * index].memory();
        let mut pools: Vec<LaidPool> =
            plans.iter().map(|plan| LaidPool { plan: plan.clone(), blocks: Vec::new(), large: Vec::new() }).collect();
        let mut placed: Vec<_> = wanted.iter().enumerate().map(|(at, (_, pool, nth, _))| (*pool, *nth, at)).collect();
        placed.sort_unstable();
        for (pool, nth, at) in placed {
            let pool = &mut pools[pool];
            let list = if nth < pool.plan.fill.len() { &mut pool.blocks } else { &mut pool.large };
            list.push(place(at));
        }
        let mut image = PoolImage { target, pools };
        for index in 0..image.pools.len() {
            image.write(index);
        }
        image
    }

    fn write(&mut self, index: usize) {
        let pool = self.pools[index].clone();
        let size = pool.plan.block_size;
        for (nth, block) in pool.blocks.iter().enumerate() {
            let next = pool.blocks.get(nth + 1).copied().unwrap_or(Addr::NULL);
            self.put_unless_link(*block, LAYOUT.last, self.last_of(&pool, nth).0);
            self.put_unless_link(*block, LAYOUT.end, block.0 + size);
            self.target.poke(*block + LAYOUT.next, next.0);
        }
        let (first, plan) = (pool.blocks[0], &pool.plan);
        let mut node = first + 80;
        self.target.poke(first + LAYOUT.max, (size - 80).min(PAGE - 1));
        self.target.poke(first + LAYOUT.current, pool.blocks[plan.current].0);
        self.target.poke(first + LAYOUT.log, LOG);
        self.target.poke(first + LAYOUT.large, if plan.large.is_empty() { 0 } else { node.0 });
        for (nth, memory) in pool.large.iter().enumerate() {
            let is_last = nth + 1 == pool.large.len();
            self.target.poke(node, if is_last { 0 } else { node.0 + 16 });
            self.target.poke(node + 8, if plan.large[nth].1 { 0 } else { memory.0 });
            node = node + 16;
        }
        self.target.poke(first + LAYOUT.cleanup, if plan.cleanups == 0 { 0 } else { node.0 });
        for nth in 0..plan.cleanups {
            self.target.poke(node, 0x4000 + nth);
            self.target.poke(node + 16, if nth + 1 == plan.cleanups { 0 } else { node.0 + 24 });
            node = node + 24;
        }
    }

    /// free has written links over the first words of a chunk.
    fn put_unless_link(&mut self, block: Addr, offset: u64, value: u64) {
        let chunk = self.target.chunks.iter().find(|chunk| chunk.memory() == block).unwrap();
        let is_link = match chunk.state() {
            ChunkState::InUse => false,
            ChunkState::Tcache => offset == 0,
            _ => true,
        };
        if !is_link {
            self.target.poke(block + offset, value);
        }
    }

    /// `d.last`: behind the header and the nodes in the first block.
    pub fn last_of(&self, pool: &LaidPool, nth: usize) -> Addr {
        let nodes = pool.large.len() as u64 * 16 + pool.plan.cleanups * 24;
        let header = if nth == 0 { LAYOUT.header + nodes } else { LAYOUT.block_header };
        let room = pool.plan.block_size - header;
        pool.blocks[nth] + header + room * pool.plan.fill[nth] / 16
    }

    /// True if the pool's chunks are in use, as far as malloc could have given them another state.
    pub fn is_live(&self, pool: &LaidPool) -> bool {
        let state = |memory: &Addr| self.target.chunks.iter().find(|chunk| chunk.memory() == *memory).unwrap().state();
        pool.blocks.iter().chain(&pool.large).all(|memory| state(memory) == ChunkState::InUse)
    }

    pub fn read(&self) -> FoundPools {
        let memory = Counting::new(&self.target.image);
        let scanner = || PoolScanner::new(&LAYOUT, PAGE);
        let reading = read_with(&self.target, &memory, &Rehearsal::default(), 1, &scanner).unwrap();
        let notes = reading.visitors.iter().flat_map(|scanner| &scanner.pools);
        let mut lists = notes.map(|note| (note.address, read_lists(&memory, &LAYOUT, note))).collect();
        let reads = memory.reads.load(Ordering::Relaxed);
        let (heap, scanners) = Heap::settle(reading);
        let mut pools = assemble(&heap, &scanners, &mut lists);
        pools.sort_by_key(|pool| pool.address);
        FoundPools { heap, scanners, pools, reads }
    }
}

impl FoundPools {
    pub fn at(&self, address: Addr) -> &Pool {
        self.pools.iter().find(|pool| pool.address == address).unwrap()
    }

    pub fn chunks_of(&self, pool: &Pool) -> Vec<Chunk> {
        pool.blocks.iter().chain(&pool.large).map(|id| self.heap.chunk(*id)).collect()
    }
}
