//! What holds of any two snapshots.

use crate::golden::table;
use crate::samples::{Rest, connection, cycle, generation, request, worker};
use poolscope::diff::{Diff, Fate, Trend};
use poolscope::report::diff::{json, pool_rows};
use poolscope::report::rows::{Machine, write};
use poolscope::report::style::Style;
use poolscope::snapshot::model::{HexAddr, OwnerSummary, Snapshot};
use poolscope::snapshot::pool::PoolRow;
use proptest::prelude::*;

fn pool() -> impl Strategy<Value = PoolRow> {
    let any = (0u32..6, 0u64..4, "[a-c]", 0usize..6, 1u64..5, any::<bool>());
    any.prop_map(|(slot, number, name, kind, blocks, second)| {
        let mut pool = match kind {
            0 => generation(slot, &name, "live"),
            1 => generation(slot, &name, "deleting"),
            2 => connection(slot, number),
            3 => request(slot, number, 1),
            4 => cycle(0x1000 * u64::from(slot)),
            _ => PoolRow { address: HexAddr(u64::from(slot)), ..PoolRow::default() },
        };
        pool.block_bytes = pool.block_bytes / pool.blocks.max(1) * blocks;
        pool.blocks = blocks;
        pool.second_block = pool.second_block.filter(|_| second);
        pool
    })
}

fn snapshot() -> impl Strategy<Value = Snapshot> {
    let rest = (0u64..4_000, 0u64..1 << 30, 0u64..1 << 24, 0u64..1 << 24);
    (proptest::collection::vec(pool(), 0..40), rest, 0f64..48.0, 0i32..2, any::<bool>()).prop_map(
        |(pools, (outside, free, shared, anonymous), hours, pid, owners)| {
            let mut snapshot = worker(hours, pools, Rest { outside, free, shared, anonymous });
            snapshot.process.pid += pid;
            if !owners {
                snapshot.layouts.nginx.kind = "built_in".into();
            }
            snapshot
        },
    )
}

/// A file may claim anything.
fn wild() -> impl Strategy<Value = Snapshot> {
    (snapshot(), any::<[u64; 6]>(), any::<f64>(), "\\PC{0,30}", any::<Option<f64>>()).prop_map(
        |(mut snapshot, numbers, time, text, coverage)| {
            let [bytes, chunks, size, resident, available, age] = numbers;
            (snapshot.taken_at, snapshot.coverage) = (time, coverage);
            snapshot.owners.push(OwnerSummary {
                owner: text.clone(),
                label: text.clone(),
                bytes,
                chunks,
                pools: size,
                ..Default::default()
            });
            snapshot.owners.push(OwnerSummary { owner: text.clone(), bytes: u64::MAX, ..Default::default() });
            if let Some(bucket) = snapshot.owners[0].sizes.buckets.first_mut() {
                (bucket.from, bucket.to, bucket.bytes, bucket.chunks) = (size, bytes, chunks, bytes);
            }
            for row in &mut snapshot.memory {
                (row.size, row.resident) = (size, Some(resident));
            }
            for pool in &mut snapshot.pools {
                (pool.blocks, pool.block_bytes, pool.large_bytes) = (chunks, bytes, size);
            }
            snapshot.process.title = text;
            (snapshot.process.resident, snapshot.process.age_seconds) = (Some(resident), Some(age));
            if let Some(limits) = &mut snapshot.limits {
                (limits.machine_available, limits.cgroup_usage) = (Some(available), Some(bytes));
            }
            snapshot
        },
    )
}

fn render(snapshots: &[Snapshot]) {
    table(snapshots, Style::PLAIN, 3);
    let trend = Trend::of(snapshots).unwrap();
    let mut out = Vec::new();
    json::write(&trend, &mut out).unwrap();
    let _: serde_json::Value = serde_json::from_slice(&out).unwrap();
    write(pool_rows(&trend.overall), Machine::Csv, &mut out).unwrap();
}

proptest! {
    #[test]
    fn everything_adds_up(old in snapshot(), new in snapshot()) {
        let diff = Diff::between(&old, &new);
        let by_owner: i128 = diff.owners.iter().map(|owner| owner.bytes.by()).sum();
        prop_assert_eq!(Some(by_owner), diff.growth_in_use());
        prop_assert_eq!(by_owner, new.in_use_bytes() as i128 - old.in_use_bytes() as i128);
        for owner in &diff.owners {
            prop_assert_eq!(owner.sizes.iter().map(|bucket| bucket.bytes.by()).sum::<i128>(), owner.bytes.by());
            // Where nobody knows owners, pools are matched whatever they are called.
            let traffic = owner.traffic.filter(|_| old.layouts.nginx.kind == "dwarf");
            let stayed = diff.pools.as_ref().is_some_and(|pools| pools.moved.is_empty());
            if let Some(traffic) = traffic.filter(|_| stayed) {
                prop_assert_eq!(owner.pools.old - traffic.gone + traffic.appeared, owner.pools.new);
            }
        }
        let shares: f64 = diff.owners.iter().filter_map(|owner| owner.share_of_growth).sum();
        prop_assert!(shares == 0.0 || (shares - 1.0).abs() < 1e-9);
        if let Some(pools) = &diff.pools {
            let count = |fate| pools.tally(fate).pools as usize;
            prop_assert_eq!(old.pools.len() - count(Fate::Gone) + count(Fate::Appeared), new.pools.len());
            let stay = count(Fate::Grown) + count(Fate::Shrunk) + count(Fate::Unchanged);
            prop_assert_eq!(stay + count(Fate::Appeared), new.pools.len());
            let change: i128 = pools.tallies.values().map(|tally| tally.change).sum();
            let sum = |pools: &[PoolRow]| pools.iter().map(|pool| i128::from(pool.bytes())).sum::<i128>();
            prop_assert_eq!(change, sum(&new.pools) - sum(&old.pools));
        }
        let back = Diff::between(&new, &old);
        prop_assert_eq!(back.growth_in_use(), Some(-by_owner));
        prop_assert_eq!(back.pools.is_some(), diff.pools.is_some());
    }

    #[test]
    fn nothing_changed_is_nothing_changed(snapshot in snapshot()) {
        let mut later = snapshot.clone();
        later.taken_at += 60.0;
        let diff = Diff::between(&snapshot, &later);
        prop_assert_eq!(diff.growth_in_use(), Some(0));
        prop_assert!(diff.suspects.is_empty());
    }

    #[test]
    fn no_file_makes_it_panic(snapshots in proptest::collection::vec(wild(), 2..4)) {
        render(&snapshots);
    }

    #[test]
    fn every_pair_can_be_told(old in snapshot(), new in snapshot()) {
        render(&[old, new]);
    }
}
