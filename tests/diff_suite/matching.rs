//! Which pool is which.

use crate::samples::{CYCLE, Rest, connection, cycle, gateway, generation, request, worker};
use poolscope::diff::{Diff, Fate, Moved};
use poolscope::snapshot::model::{HexAddr, Snapshot};
use poolscope::snapshot::pool::PoolRow;
use std::sync::Arc;

/// Appeared, gone, grown, shrunk, unchanged.
fn counts(old: &Snapshot, new: &Snapshot) -> [u64; 5] {
    let diff = Diff::between(old, new);
    let pools = diff.pools.as_ref().unwrap();
    [Fate::Appeared, Fate::Gone, Fate::Grown, Fate::Shrunk, Fate::Unchanged].map(|fate| pools.tally(fate).pools)
}

fn one(old: PoolRow, new: PoolRow) -> [u64; 5] {
    let with = |hours, pool| worker(hours, vec![pool], Rest::default());
    counts(&with(0.0, old), &with(1.0, new))
}

const SAME: [u64; 5] = [0, 0, 0, 0, 1];
const ANOTHER: [u64; 5] = [1, 1, 0, 0, 0];

fn changed(pool: &PoolRow, change: impl FnOnce(&mut PoolRow)) -> PoolRow {
    let mut pool = pool.clone();
    change(&mut pool);
    pool
}

#[test]
fn exactly_what_came_and_went_is_counted() {
    // 119 generations more; requests 0 to 4 ended, 20 to 22 came. One generation was live and is now deleted.
    let (old, new) = (gateway(0.0, 10, 0..20, Rest::default()), gateway(3.0, 129, 5..23, Rest::default()));
    let diff = Diff::between(&old, &new);
    let pools = diff.pools.as_ref().unwrap();
    assert_eq!(counts(&old, &new), [119 + 3, 5, 0, 0, 1 + 10 + 40 + 15]);
    let moved = Moved { from: "dyups.live", to: "dyups.deleting", pools: 1, bytes: generation(0, "", "live").bytes() };
    assert_eq!(pools.moved, [moved]);
    let traffic = |kind: &str| pools.by_kind.get(kind).map(|traffic| (traffic.appeared, traffic.gone));
    assert_eq!(traffic("dyups.deleting"), Some((118, 0)));
    assert_eq!(traffic("dyups.live"), Some((1, 0)));
    assert_eq!(traffic("request"), Some((3, 5)));
    assert_eq!(traffic("connection"), None);
}

#[test]
fn the_next_owner_at_an_address_is_another() {
    assert_eq!(one(connection(3, 17), connection(3, 17)), SAME);
    assert_eq!(one(connection(3, 17), connection(3, 18)), ANOTHER);
    assert_eq!(one(request(3, 17, 1), request(3, 17, 2)), ANOTHER);
    let unnumbered = changed(&request(3, 17, 1), |pool| pool.identity = None);
    assert_eq!(one(unnumbered, request(3, 17, 1)), SAME);
}

#[test]
fn the_same_number_is_the_same_whatever_it_is_called_now() {
    let other_kind =
        changed(&connection(3, 17), |pool| Arc::make_mut(&mut pool.owner).kind = "connection_other".into());
    assert_eq!(one(connection(3, 17), other_kind), SAME);
}

#[test]
fn what_a_pool_keeps_for_life_must_be_the_same() {
    let pool = generation(4, "svc", "deleting");
    assert_eq!(one(pool.clone(), pool.clone()), SAME);
    for another in [
        changed(&pool, |pool| pool.second_block = Some(HexAddr(0x9990))),
        changed(&pool, |pool| pool.block_size = 1024),
        changed(&pool, |pool| pool.slot = Some(5)),
        changed(&pool, |pool| pool.address.0 += 16),
        changed(&pool, |pool| Arc::make_mut(&mut pool.owner).name = Some("other".into())),
        changed(&pool, |pool| Arc::make_mut(&mut pool.owner).kind = "request".into()),
        changed(&pool, |pool| (pool.blocks, pool.second_block) = (1, None)),
        generation(4, "svc", "live"),
    ] {
        assert_eq!(one(pool.clone(), another.clone()), ANOTHER, "{another:?}");
    }
    assert_eq!(one(generation(4, "svc", "live"), pool.clone()), SAME);
    let unreferenced = generation(4, "svc", "unreferenced");
    assert_eq!(one(pool, unreferenced), SAME);
}

#[test]
fn a_second_block_that_has_come_since_proves_nothing() {
    let grown = changed(&connection(3, 17), |pool| {
        (pool.second_block, pool.blocks, pool.block_bytes) = (Some(HexAddr(0x1230)), 2, 2 * pool.block_bytes);
    });
    assert_eq!(one(connection(3, 17), grown.clone()), [0, 0, 1, 0, 0]);
    assert_eq!(one(grown, connection(3, 17)), ANOTHER, "a pool gives no block back");
}

#[test]
fn fewer_blocks_prove_nothing_if_not_all_was_read() {
    let pool = generation(4, "svc", "live");
    let fewer = changed(&pool, |pool| (pool.blocks, pool.block_bytes) = (7, 7 * 528));
    let (old, mut new) = (worker(0.0, vec![pool], Rest::default()), worker(1.0, vec![fewer], Rest::default()));
    assert_eq!(counts(&old, &new), ANOTHER);
    new.coverage = Some(0.5);
    assert_eq!(counts(&old, &new), [0, 0, 0, 1, 0]);
}

#[test]
fn large_allocations_come_and_go() {
    let pool = request(1, 5, 1);
    let larger = changed(&pool, |pool| (pool.large, pool.large_bytes) = (1, 65_552));
    assert_eq!(one(pool.clone(), larger.clone()), [0, 0, 1, 0, 0]);
    assert_eq!(one(larger, pool), [0, 0, 0, 1, 0]);
}

#[test]
fn two_pools_at_one_address_are_never_matched_twice() {
    let pool = connection(1, 1);
    let twice = worker(0.0, vec![pool.clone(), pool.clone()], Rest::default());
    let once = worker(1.0, vec![pool], Rest::default());
    assert_eq!(counts(&twice, &once), [0, 1, 0, 0, 1]);
    assert_eq!(counts(&once, &twice), [1, 0, 0, 0, 1]);
    assert_eq!(counts(&twice, &twice), [1, 1, 0, 0, 1]);
}

#[test]
fn a_cycle_that_was_replaced_is_still_the_same_pool() {
    let replaced = changed(&cycle(CYCLE), |pool| {
        let owner = Arc::make_mut(&mut pool.owner);
        (owner.kind, owner.path) = ("old_cycle".into(), "((ngx_cycle_t **) ngx_old_cycles.elts)[*]->pool".into());
        pool.slot = Some(0);
    });
    let old = worker(0.0, vec![cycle(CYCLE)], Rest::default());
    let new = worker(1.0, vec![cycle(CYCLE + 0x8_0000), replaced], Rest::default());
    let diff = Diff::between(&old, &new);
    assert_eq!(counts(&old, &new), [1, 0, 0, 0, 1]);
    assert_eq!(diff.pools.unwrap().moved.len(), 1);
}
