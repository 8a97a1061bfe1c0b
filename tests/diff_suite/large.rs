//! A million pools on each side.

use crate::samples::{Rest, connection, generation, request, worker};
use poolscope::diff::{Diff, Fate};
use poolscope::snapshot::model::Snapshot;
use poolscope::snapshot::pool::PoolRow;

/// How many pools there are, at places of their own.
const POOLS: u64 = 1_000_000;

fn many(hours: f64, from: u64) -> Snapshot {
    let kinds = [generation(0, "svc", "deleting"), connection(0, 0), request(0, 0, 1)];
    let pool = |number: u64| {
        let mut pool: PoolRow = kinds[number as usize % 3].clone();
        pool.address.0 = 0x1_0000 + number * 0x200;
        (pool.slot, pool.second_block) = (Some(number as u32), None);
        pool.identity =
            pool.identity.map(|identity| poolscope::snapshot::pool::Identity { connection: number, ..identity });
        pool
    };
    worker(hours, (from..from + POOLS).map(pool).collect(), Rest::default())
}

#[test]
fn a_million_pools_are_matched_exactly() {
    let (old, new) = (many(0.0, 0), many(1.0, 1_234));
    let start = std::time::Instant::now();
    let diff = Diff::between(&old, &new);
    let largest = diff.largest(Fate::Appeared, 10);
    // Shown with --nocapture; how fast it is depends on the machine, so that nothing is asserted of it.
    println!("compared {POOLS} with {POOLS} pools in {:?}", start.elapsed());
    let pools = diff.pools.as_ref().unwrap();
    let counts = [Fate::Appeared, Fate::Gone, Fate::Unchanged].map(|fate| pools.tally(fate).pools);
    assert_eq!(counts, [1_234, 1_234, POOLS - 1_234]);
    assert_eq!(largest.len(), 10);
}
