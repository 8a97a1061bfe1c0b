//! Pools are found as they were laid, and nothing else is taken for one.

use super::glibcs::{all, glibc_2_31, glibc_2_36};
use super::pool_image::{FoundPools, LAYOUT, LaidPool, PoolImage, PoolPlan, pool_plan};
use super::spec::State;
use poolscope::addr::Addr;
use poolscope::attribution::Attribution;
use poolscope::malloc::chunk::ChunkState;
use poolscope::nginx::pool::{Pool, assemble};
use proptest::prelude::*;
use proptest::sample::Index;
use rustc_hash::FxHashMap;

fn addresses(pools: &[Pool]) -> Vec<Addr> {
    pools.iter().map(|pool| pool.address).collect()
}

fn live_addresses(image: &PoolImage) -> Vec<Addr> {
    let mut live: Vec<Addr> =
        image.pools.iter().filter(|pool| image.is_live(pool)).map(|pool| pool.blocks[0]).collect();
    live.sort_unstable();
    live
}

fn assert_pool(image: &PoolImage, found: &FoundPools, laid: &LaidPool) {
    let (pool, plan) = (found.at(laid.blocks[0]), &laid.plan);
    let memory = |ids: &[_]| -> Vec<Addr> { ids.iter().map(|id| found.heap.chunk(*id).memory()).collect() };
    let kept = || laid.large.iter().zip(&plan.large).filter(|(_, (_, freed))| !freed).map(|(memory, _)| *memory);
    assert_eq!(pool.problems, Vec::<String>::new());
    assert_eq!(pool.block_size, plan.block_size);
    assert_eq!(memory(&pool.blocks), laid.blocks);
    assert_eq!(memory(&pool.large), kept().collect::<Vec<_>>());
    assert_eq!(pool.large_freed, plan.large.iter().filter(|(_, freed)| *freed).count() as u64);
    let handlers: Vec<Addr> = pool.cleanups.iter().map(|cleanup| cleanup.handler).collect();
    assert_eq!(handlers, (0..plan.cleanups).map(|nth| Addr(0x4000 + nth)).collect::<Vec<_>>());
    let tails: Vec<u64> =
        (0..laid.blocks.len()).map(|nth| laid.blocks[nth].0 + plan.block_size - image.last_of(laid, nth).0).collect();
    assert_eq!(pool.lost, tails[..plan.current].iter().sum::<u64>());
    assert_eq!(pool.unused, tails[plan.current..].iter().sum::<u64>());
    let in_blocks = plan.block_size * laid.blocks.len() as u64 - tails.iter().sum::<u64>();
    let sizes = |ids: &[_]| -> u64 { ids.iter().map(|id| found.heap.chunk(*id).size()).sum() };
    assert_eq!(pool.used, in_blocks + sizes(&pool.large) - 8 * pool.large.len() as u64);
    assert_eq!(pool.bytes(), sizes(&pool.blocks) + sizes(&pool.large));
}

/// The index of a heap tells the same as the heap, also around both ends.
fn assert_index_agrees(found: &FoundPools) {
    let (heap, index) = (&found.heap, found.heap.index());
    for chunk in &heap.chunks {
        for address in
            [chunk.start(), chunk.start() + 8, chunk.memory(), chunk.memory() + chunk.size() / 2, chunk.end()]
        {
            assert_eq!(index.containing(address), heap.containing(address), "{address}");
        }
    }
    for address in [Addr(0), Addr(u64::MAX)] {
        assert_eq!(index.containing(address), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn every_pool_is_found_as_it_was_laid_and_no_destroyed_one(
        plans in prop::collection::vec(pool_plan(), 0..12),
        order in prop::collection::vec(any::<u64>(), 100),
        release in 0usize..4,
    ) {
        let image = PoolImage::build(&all()[release], &plans, &order);
        let found = image.read();
        prop_assert_eq!(found.heap.books.problems.clone(), Vec::<String>::new());
        prop_assert_eq!(addresses(&found.pools), live_addresses(&image));
        assert_index_agrees(&found);
        for laid in image.pools.iter().filter(|pool| image.is_live(pool)) {
            assert_pool(&image, &found, laid);
        }
        let count = found.pools.len();
        let attribution = Attribution::new(&found.heap, found.pools, Vec::new());
        prop_assert_eq!(attribution.problems, Vec::<String>::new());
        prop_assert_eq!(attribution.pools.len(), count);
    }

    #[test]
    fn damaged_pools_end_in_bounded_time_and_hold_no_chunk_twice(
        plans in prop::collection::vec(pool_plan(), 1..10),
        order in prop::collection::vec(any::<u64>(), 100),
        words in prop::collection::vec((any::<Index>(), any::<Index>(), 0u64..10, any::<Index>(), any::<Index>()), 1..8),
    ) {
        let mut image = PoolImage::build(&glibc_2_36(), &plans, &order);
        let blocks: Vec<Addr> = image.pools.iter().flat_map(|pool| pool.blocks.clone()).collect();
        for (pool, block, word, other, to) in &words {
            let pool = pool.get(&image.pools);
            let at = *block.get(&pool.blocks) + word * 8;
            // Into another block, to its start or to somewhere in it.
            let value = *other.get(&blocks) + [0, 0, 0, 80, 96, 112, 3][to.index(7)];
            image.target.poke(at, value.0);
        }
        let found = image.read();
        prop_assert!(found.reads < 20_000, "{} reads", found.reads);
        let mut held: Vec<_> = found.pools.iter().flat_map(|pool| pool.blocks.clone()).collect();
        let count = held.len();
        held.sort_unstable();
        held.dedup();
        prop_assert_eq!(held.len(), count);
        Attribution::new(&found.heap, found.pools, Vec::new());
    }
}

#[test]
fn bytes_of_a_pool_in_a_chunk_that_was_freed_are_no_pool() {
    let image = PoolImage::build(&glibc_2_31(), &[PoolPlan::simple(512, 1), PoolPlan::simple(1024, 2)], &[]);
    let mut found = image.read();
    assert_eq!(found.pools.len(), 2);
    for state in [ChunkState::Tcache, ChunkState::Fastbin, ChunkState::Free] {
        for chunk in found.heap.chunks.iter_mut().filter(|chunk| chunk.state() != ChunkState::Top) {
            *chunk = chunk.with_state(state);
        }
        assert!(assemble(&found.heap, &found.scanners, &mut FxHashMap::default()).is_empty());
    }
}

#[test]
fn a_destroyed_pool_inside_a_larger_free_chunk_is_no_pool() {
    let plans = [PoolPlan { state: State::Free, ..PoolPlan::simple(2048, 1) }, PoolPlan::simple(512, 1)];
    let mut image = PoolImage::build(&glibc_2_36(), &plans, &[]);
    let (inside, template) = (image.pools[0].blocks[0] + 512, image.pools[1].blocks[0]);
    for (offset, value) in [(0, inside.0 + 80), (8, inside.0 + 512), (16, 0), (32, 432), (40, inside.0), (72, 0x4000)] {
        image.target.poke(inside + offset, value);
    }
    assert_eq!(addresses(&image.read().pools), [template]);
}

/// The memory of a destroyed pool becomes a block of another one; what is handed out from it first is a buffer that
/// nothing was written to yet.
#[test]
fn a_block_with_the_header_of_a_destroyed_pool_is_no_pool() {
    for current_of_itself in [true, false] {
        // The block lies before and behind the pool it belongs to.
        for order in [vec![0, 1, 2], vec![1, 0, 2]] {
            let mut image = PoolImage::build(&glibc_2_36(), &[PoolPlan::simple(1024, 3)], &order);
            let [first, second, third] = image.pools[0].blocks[..] else { panic!() };
            image.target.poke(second + LAYOUT.max, 1024 - 80);
            image.target.poke(second + LAYOUT.current, if current_of_itself { second.0 } else { third.0 });
            image.target.poke(second + LAYOUT.large, 0);
            image.target.poke(second + LAYOUT.cleanup, 0);
            image.target.poke(second + LAYOUT.log, 0x4000);
            let found = image.read();
            assert_eq!(addresses(&found.pools), [first]);
            assert_pool(&image, &found, &image.pools[0]);
        }
    }
}

#[test]
fn a_large_allocation_of_two_pools_is_reported() {
    let plan = PoolPlan { large: vec![(8192, false)], ..PoolPlan::simple(512, 1) };
    let mut image = PoolImage::build(&glibc_2_36(), &[plan.clone(), plan], &[]);
    let (one, other) = (image.pools[0].clone(), image.pools[1].clone());
    image.target.poke(other.blocks[0] + 88, one.large[0].0);
    let found = image.read();
    let attribution = Attribution::new(&found.heap, found.pools, Vec::new());
    let [problem] = attribution.problems.as_slice() else { panic!("{:?}", attribution.problems) };
    for address in [one.blocks[0], other.blocks[0], one.large[0]] {
        assert!(problem.contains(&address.to_string()), "{problem}");
    }
}

#[test]
fn a_chain_that_leads_into_another_pool_is_reported_and_both_pools_stay() {
    // Into a block behind the other pool's first one; and to that first one, which is of another size.
    for (sizes, nth) in [([512, 512], 1), ([512, 1024], 0)] {
        let mut image = PoolImage::build(&glibc_2_36(), &sizes.map(|size| PoolPlan::simple(size, 2)), &[]);
        let (one, other) = (image.pools[0].clone(), image.pools[1].clone());
        image.target.poke(one.blocks[1] + LAYOUT.next, other.blocks[nth].0);
        let found = image.read();
        assert_eq!(addresses(&found.pools), [one.blocks[0], other.blocks[0]]);
        let attribution = Attribution::new(&found.heap, found.pools, Vec::new());
        let [problem] = attribution.problems.as_slice() else { panic!("{:?}", attribution.problems) };
        assert!(problem.contains(&other.blocks[nth].to_string()), "{problem}");
    }
}

fn circle(image: &PoolImage) -> (FoundPools, String) {
    let found = image.read();
    assert!(found.reads < 1_000, "{} reads", found.reads);
    let [pool] = found.pools.as_slice() else { panic!("{:?}", addresses(&found.pools)) };
    let [problem] = pool.problems.as_slice() else { panic!("{:?}", pool.problems) };
    assert!(problem.contains("circle"), "{problem}");
    let problem = problem.clone();
    (found, problem)
}

#[test]
fn lists_of_a_pool_that_lead_in_a_circle_hold_each_member_once() {
    let plan =
        PoolPlan { large: vec![(8192, false), (4096, true), (1024, false)], cleanups: 3, ..PoolPlan::simple(512, 3) };
    for (from, to) in [(2, 0), (2, 2), (2, 1)] {
        let laid = PoolImage::build(&glibc_2_36(), std::slice::from_ref(&plan), &[]);
        let blocks = laid.pools[0].blocks.clone();
        let edit = |at: Addr, value: Addr| {
            let mut image = PoolImage { target: laid.target.clone(), pools: laid.pools.clone() };
            image.target.poke(at, value.0);
            circle(&image)
        };
        // A block that leads to itself is not taken for one.
        if from != to {
            let (found, _) = edit(blocks[from] + LAYOUT.next, blocks[to]);
            assert_eq!(found.pools[0].blocks.len(), 3);
        }
        let nodes = blocks[0] + 80;
        let (found, problem) = edit(nodes + from as u64 * 16, nodes + to as u64 * 16);
        assert_eq!((found.pools[0].large.len(), found.pools[0].large_freed), (2, 1));
        assert!(problem.contains("large"), "{problem}");
        let cleanups = nodes + 48;
        let (found, problem) = edit(cleanups + from as u64 * 24 + 16, cleanups + to as u64 * 24);
        assert_eq!(found.pools[0].cleanups.len(), 3);
        assert_eq!(found.chunks_of(&found.pools[0]).len(), 5);
        assert!(problem.contains("cleanup"), "{problem}");
    }
}
