//! Snapshots of a small fleet, in which each owner grows by a known amount.

use poolscope::snapshot::finding::Finding;
use poolscope::snapshot::model::{
    FreezeInfo, HexAddr, Limits, MemoryRow, OwnerSummary, ProcessInfo, SCHEMA_VERSION, Snapshot, SourceInfo,
};
use poolscope::snapshot::pool::{CleanupRow, Identity, PoolOwner, PoolRow, Trust};
use poolscope::snapshot::sizes::SizeHistogram;
use std::sync::Arc;

/// 2026-03-01 02:35:00.250 UTC.
pub const START: f64 = 1_772_332_500.25;

/// An owner with so many chunks of each size.
pub fn owner(key: &str, pools: u64, classes: &[(u64, u64)]) -> OwnerSummary {
    let mut sizes = SizeHistogram::default();
    for (count, size) in classes {
        (0..*count).for_each(|_| sizes.add(*size));
    }
    let bytes = sizes.buckets.iter().map(|bucket| bucket.bytes).sum();
    OwnerSummary {
        owner: key.into(),
        label: format!("label of {key}"),
        pools,
        chunks: sizes.buckets.iter().map(|bucket| bucket.chunks).sum(),
        bytes,
        used: bytes / 2,
        sizes,
        ..OwnerSummary::default()
    }
}

/// A worker of `host`, so many hours after [`START`].
pub fn worker(host: &str, pid: i32, hours: f64, owners: Vec<OwnerSummary>) -> Snapshot {
    Snapshot {
        schema_version: SCHEMA_VERSION,
        poolscope_version: "0.1.0".into(),
        taken_at: START + hours * 3600.0,
        source: SourceInfo { kind: "process".into(), ..SourceInfo::default() },
        process: ProcessInfo {
            host: Some(host.into()),
            pid,
            parent: 1000,
            role: "worker".into(),
            server: Some("Tengine/3.1.0".into()),
            age_seconds: Some(600),
            started_at: None,
            start_ticks: Some(81_234),
            boot_id: Some(format!("boot-of-{host}")),
            resident: Some(1_094_713_344),
            allocator: "glibc".into(),
            allocator_version: Some("2.36".into()),
            ..ProcessInfo::default()
        },
        owners,
        ..Snapshot::default()
    }
}

/// A worker with a value for every gauge.
pub fn full() -> Snapshot {
    let row = |kind: &str, nested, size, resident, swapped| MemoryRow {
        kind: kind.into(),
        label: "for people".into(),
        nested,
        size,
        resident,
        swapped,
    };
    let owners = vec![
        owner("dyups.deleting", 2, &[(4, 528), (1, 311_312)]),
        owner("request", 1, &[(1, 4_112)]),
        owner("outside_pools", 0, &[(3, 48)]),
    ];
    let unreferenced = |upstream: &str| Finding::DeletedAndUnreferenced {
        upstream: upstream.into(),
        pools: 1,
        bytes: 1,
        path: String::new(),
    };
    Snapshot {
        freeze: Some(FreezeInfo { pause_microseconds: 4_120, stops: 1, ..FreezeInfo::default() }),
        limits: Some(Limits { cgroup_limit: Some(4 << 30), cgroup_usage: Some(2 << 30), ..Limits::default() }),
        memory: vec![
            row("glibc_in_use", false, 318_000, Some(320_000), None),
            row("glibc_in_use_pools", true, 317_000, None, None),
            row("files", false, 13 << 20, Some(9 << 20), Some(4096)),
        ],
        coverage: Some(0.9998),
        findings: vec![unreferenced("a"), unreferenced("b"), Finding::FreeButKept { bytes: 193 << 20, resident: None }],
        ..worker("gateway-1", 4242, 0.0, owners)
    }
}

/// A process of which nothing is known but that it is there, with names that need escaping.
pub fn bare() -> Snapshot {
    let mut snapshot = worker("gateway-1", 99, 0.0, vec![owner("a\"b\\c\nd\u{2028}\r", 0, &[(1, 32)])]);
    snapshot.process = ProcessInfo {
        host: None,
        pid: 99,
        role: "process".into(),
        server: Some("se\"rv\\er\n".into()),
        allocator: "musl".into(),
        ..ProcessInfo::default()
    };
    snapshot
}

/// A pool of a dynamic upstream, in slot `slot`.
pub fn pool(slot: u32, name: &str, bytes: u64) -> PoolRow {
    PoolRow {
        address: HexAddr(0x55d0_c8a3_f2b0 + u64::from(slot) * 0x1000),
        owner: Arc::new(PoolOwner {
            kind: "dyups.deleting".into(),
            label: "dyups upstream, deleted but still referenced".into(),
            name: Some(name.into()),
            state: Some("deleting".into()),
            trust: Trust::TypedPath,
            path: "dy_upstreams[*].pool".into(),
            protocol: None,
            handler: None,
        }),
        slot: Some(slot),
        identity: Some(Identity { connection: 17, request: 2 }),
        second_block: Some(HexAddr(0x6010)),
        references: Some(3),
        block_size: 512,
        blocks: 2,
        large: 1,
        large_freed: 4,
        block_bytes: 1_056,
        large_bytes: bytes - 1_056,
        used: 900,
        unused: 100,
        lost: 16,
        age_ms: None,
        client: None,
        uri: None,
        cleanups: vec![CleanupRow { handler: "ngx_pool_cleanup_file".into(), count: 2 }].into(),
    }
}

/// A pool of which only its size is known.
pub fn unknown_pool(bytes: u64) -> PoolRow {
    PoolRow { address: HexAddr(u64::MAX), block_bytes: bytes, ..PoolRow::default() }
}
