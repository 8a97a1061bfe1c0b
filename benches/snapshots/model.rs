//! Snapshots such as a large gateway would give: as many pools as are wanted, of all kinds of owners.

use std::cmp::Reverse;
use std::sync::Arc;

use poolscope::malloc::chunk::ChunkState;
use poolscope::snapshot::chunks::{ArenaName, ChunkClaim, ChunkTable};
use poolscope::snapshot::model::{
    ChunkGroup, HexAddr, MemoryRow, OwnerSummary, PoolCheck, ProcessInfo, SCHEMA_VERSION, Snapshot, SourceInfo,
};
use poolscope::snapshot::pool::{CleanupRow, Identity, PoolOwner, PoolRow, Trust};

const POOLS: u64 = 1_000_000;
const CHUNKS: u64 = 10_000_000;

/// Pools in the snapshot that has single chunks.
const POOLS_WITH_CHUNKS: u64 = 100_000;

/// One pool in so many is another one three hours later.
const ONE_IS_REPLACED: u64 = 20;

/// One pool in so many has grown by then.
const ONE_GROWS: u64 = 50;

const THREE_HOURS: f64 = 10_800.0;

/// Where in the kind's path a slot stands.
const KINDS: [(&str, &str, &str, u64); 4] = [
    ("connection", "connection", "ngx_cycle->connections[*].pool", 35),
    ("request", "request", "ngx_cycle->connections[*].data->pool", 25),
    ("dyups.deleting", "dyups upstream, deleted but still referenced", "dy_upstreams[*].pool", 30),
    ("unknown_pool", "pool without a known owner", "", 10),
];

/// Names of upstreams.
const NAMES: usize = 500;

/// Which of two snapshots of one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Age {
    Old,
    New,
}

/// A good hash of a number (splitmix64): what a pool is depends on its number and on nothing else.
fn mixed(number: u64) -> u64 {
    let mut word = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// A snapshot with one million pools, without single chunks.
pub(crate) fn with_pools(age: Age) -> Snapshot {
    snapshot(POOLS, age)
}

/// A snapshot with ten million chunks, in a tenth as many pools as the other.
pub(crate) fn with_chunks() -> Snapshot {
    let mut snapshot = snapshot(POOLS_WITH_CHUNKS, Age::Old);
    let place = |kind: &str| snapshot.owners.iter().position(|owner| owner.owner == kind).unwrap_or_default() as u32;
    let owner_of_pool = snapshot.pools.iter().map(|pool| place(&pool.owner.kind)).collect();
    let outside = place("outside_pools");
    let mut table = ChunkTable::new(owner_of_pool, vec![outside]);
    table.reserve(CHUNKS as usize);
    let mut address = 0x5555_0000_0010;
    for number in 0..CHUNKS {
        let word = mixed(number);
        // Requests of a program have few sizes, most of the time.
        let size = match word % 4 {
            0 => 32 + (word >> 8) % 31 * 16,
            _ => [32, 48, 64, 96, 272, 528, 1040, 4112][(word >> 8) as usize % 8],
        };
        let (state, claim) = match word >> 32 & 0xff {
            0..13 => (ChunkState::Free, ChunkClaim::Nobody),
            13..128 => (ChunkState::InUse, ChunkClaim::Group(0)),
            // The chunks of a pool lie near each other, among those of others that were made at that time.
            _ => {
                let pool = number * (POOLS_WITH_CHUNKS - 64) / CHUNKS + (word >> 48) % 64;
                (ChunkState::InUse, ChunkClaim::Pool(pool as u32))
            }
        };
        table.push(ArenaName::Main, address, size, state, claim);
        address += size;
    }
    snapshot.chunks = Some(table);
    snapshot
}

fn snapshot(count: u64, age: Age) -> Snapshot {
    let maker = PoolMaker::new();
    let mut pools: Vec<PoolRow> = (0..count).map(|number| maker.pool(number, age)).collect();
    pools.sort_by_key(|pool| (Reverse(pool.bytes()), pool.address));
    let owners = owners(&pools);
    let in_use: u64 = owners.iter().map(|owner| owner.bytes).sum();
    Snapshot {
        schema_version: SCHEMA_VERSION,
        poolscope_version: env!("CARGO_PKG_VERSION").to_owned(),
        taken_at: 1.8e9 + if age == Age::New { THREE_HOURS } else { 0.0 },
        source: SourceInfo { kind: "process".to_owned(), ..SourceInfo::default() },
        process: process(),
        memory: vec![MemoryRow {
            kind: "glibc_in_use".to_owned(),
            label: "glibc, in use".to_owned(),
            size: in_use,
            resident: Some(in_use),
            ..MemoryRow::default()
        }],
        coverage: Some(1.0),
        pool_check: PoolCheck { by_signature: count, by_name: count, both: count, ..PoolCheck::default() },
        groups: groups(&owners),
        owners,
        pools,
        ..Snapshot::default()
    }
}

fn process() -> ProcessInfo {
    ProcessInfo {
        host: Some("gateway".to_owned()),
        pid: 4242,
        parent: 4200,
        role: "worker".to_owned(),
        title: "nginx: worker process".to_owned(),
        executable: "/usr/sbin/nginx".to_owned(),
        build_id: Some("00".repeat(20)),
        server: Some("nginx/1.28.5".to_owned()),
        start_ticks: Some(1000),
        parent_start_ticks: Some(900),
        boot_id: Some("1".to_owned()),
        threads: 1,
        allocator: "glibc".to_owned(),
        allocator_version: Some("2.36".to_owned()),
        ..ProcessInfo::default()
    }
}

/// Makes pools that share what they have in common.
struct PoolMaker {
    /// By kind, and for those with names by name.
    owners: Vec<Vec<Arc<PoolOwner>>>,
    cleanups: Vec<Arc<[CleanupRow]>>,
}

impl PoolMaker {
    fn new() -> PoolMaker {
        let owner = |(kind, label, path, _): &(&str, &str, &str, u64), name: Option<String>| {
            Arc::new(PoolOwner {
                kind: (*kind).to_owned(),
                label: (*label).to_owned(),
                state: name.as_ref().map(|_| "deleting".to_owned()),
                name,
                trust: if path.is_empty() { Trust::Signature } else { Trust::TypedPath },
                path: (*path).to_owned(),
                ..PoolOwner::default()
            })
        };
        let owners = KINDS.iter().map(|kind| match kind.0.starts_with("dyups") {
            true => (0..NAMES).map(|name| owner(kind, Some(format!("service-{name}.internal")))).collect(),
            false => vec![owner(kind, None)],
        });
        let handlers: [&[&str]; 3] =
            [&[], &["ngx_pool_cleanup_file"], &["ngx_ssl_cleanup_ctx", "ngx_pool_delete_file"]];
        let rows = |names: &[&str]| {
            let row = |name: &&str| CleanupRow { handler: (*name).to_owned(), count: 1 };
            names.iter().map(row).collect()
        };
        PoolMaker { owners: owners.collect(), cleanups: handlers.map(rows).to_vec() }
    }

    fn pool(&self, number: u64, age: Age) -> PoolRow {
        let is_replaced = age == Age::New && number % ONE_IS_REPLACED == 7;
        let has_grown = age == Age::New && number % ONE_GROWS == 11;
        // A pool that came in place of another lies elsewhere and is something else.
        let word = mixed(if is_replaced { number + (1 << 40) } else { number });
        let mut share = word % 100;
        let kind = KINDS.iter().position(|(.., part)| {
            let is_it = share < *part;
            share = share.saturating_sub(*part);
            is_it
        });
        let kind = kind.unwrap_or_default();
        let owners = &self.owners[kind];
        let owner = owners[(word >> 8) as usize % owners.len()].clone();
        let connection = 1_000_000 + number * 3 + if is_replaced { 5_000_000 } else { 0 };
        let identity = match kind {
            0 => Some(Identity { connection, request: 0 }),
            1 => Some(Identity { connection, request: 1 + (word >> 16) % 100 }),
            _ => None,
        };
        let (blocks, large) = (1 + (word >> 24) % 4, (word >> 32) % 3 + u64::from(has_grown));
        let block_size = [256, 512, 1024, 4096, 16384][(word >> 40) as usize % 5];
        let block_bytes = blocks * (block_size + 16);
        let unused = (word >> 12) % block_size / 2;
        let address =
            HexAddr(0x5555_0000_0010 + (number * 40 + (word >> 44) % 32) * 1024 + u64::from(is_replaced) * 16);
        PoolRow {
            address,
            slot: (!owner.path.is_empty()).then_some(number as u32),
            owner,
            identity,
            second_block: (blocks > 1).then_some(HexAddr(address.0 + block_size + 16)),
            references: (kind == 2).then_some(1 + (word >> 50) % 3),
            age_ms: (kind < 3).then_some((word >> 30) % 10_000_000),
            client: None,
            uri: None,
            block_size,
            blocks,
            large,
            large_freed: (word >> 20) % 2,
            block_bytes,
            large_bytes: large * (4112 + (word >> 28) % 256 * 16),
            used: block_bytes - unused,
            unused,
            lost: 0,
            cleanups: self.cleanups[(word >> 52) as usize % self.cleanups.len()].clone(),
        }
    }
}

/// Outside pools everything is one group.
fn groups(owners: &[OwnerSummary]) -> Vec<ChunkGroup> {
    let group = |owner: &OwnerSummary| ChunkGroup {
        owner: owner.owner.clone(),
        chunks: owner.chunks,
        bytes: owner.bytes,
        smallest: 528,
        largest: 528,
        ..ChunkGroup::default()
    };
    owners.iter().filter(|owner| owner.pools == 0).map(group).collect()
}

/// The owners of the pools, and what is in use outside of them.
fn owners(pools: &[PoolRow]) -> Vec<OwnerSummary> {
    let summary = |kind: &str, label: &str| OwnerSummary {
        owner: kind.to_owned(),
        label: label.to_owned(),
        ..OwnerSummary::default()
    };
    let mut owners: Vec<OwnerSummary> = KINDS.iter().map(|(kind, label, ..)| summary(kind, label)).collect();
    for pool in pools {
        if let Some(owner) = owners.iter_mut().find(|owner| owner.owner == pool.owner.kind) {
            owner.pools += 1;
            owner.used += pool.used;
            (0..pool.blocks).for_each(|_| owner.count(pool.block_bytes / pool.blocks));
            (0..pool.large).for_each(|_| owner.count(pool.large_bytes / pool.large));
        }
    }
    let mut outside = summary("outside_pools", "outside any pool");
    (0..5_000).for_each(|_| outside.count(528));
    owners.push(outside);
    owners.sort_by_key(|owner| Reverse(owner.bytes));
    owners
}
