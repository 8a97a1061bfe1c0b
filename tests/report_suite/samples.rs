//! Snapshots made by hand: what the analysis would say of some processes.

mod limited;
mod loaded;

pub use limited::{incomplete, not_glibc, not_nginx, stripped};
pub use loaded::{built_in, grouped_chunks, little_outside, loaded, with_clients};

use poolscope::malloc::books::{ArenaBooks, Books, Tally};
use poolscope::malloc::chunk::ChunkState;
use poolscope::snapshot::chunks::{ArenaName, ChunkRow};
use poolscope::snapshot::finding::Finding;
use poolscope::snapshot::model::{
    FreezeInfo, HexAddr, LayoutSource, Layouts, Limits, MemoryRow, OwnerSummary, PoolCheck, ProcessInfo,
    SCHEMA_VERSION, Snapshot, SourceInfo, Thresholds,
};
use poolscope::snapshot::pool::{CleanupRow, PoolOwner, PoolRow, Trust};
use poolscope::snapshot::sizes::SizeHistogram;
use std::sync::Arc;

const MIB: u64 = 1 << 20;

fn histogram(classes: &[(u64, u64)]) -> SizeHistogram {
    let mut histogram = SizeHistogram::default();
    for (count, size) in classes {
        for _ in 0..*count {
            histogram.add(*size);
        }
    }
    histogram
}

/// An owner whose chunks are so many of each size.
pub fn owner(key: &str, label: &str, pools: u64, classes: &[(u64, u64)]) -> OwnerSummary {
    let sizes = histogram(classes);
    let bytes = sizes.buckets.iter().map(|bucket| bucket.bytes).sum();
    OwnerSummary {
        owner: key.into(),
        label: label.into(),
        names: Vec::new(),
        pools,
        chunks: sizes.buckets.iter().map(|bucket| bucket.chunks).sum(),
        bytes,
        used: if pools > 0 { bytes * 9 / 10 } else { 0 },
        sizes,
    }
}

fn dwarf(verified_by: &str) -> LayoutSource {
    LayoutSource {
        kind: "dwarf".into(),
        file: Some("/usr/lib/debug/.build-id/3f/2a.debug".into()),
        verified_by: Some(verified_by.into()),
        ..LayoutSource::default()
    }
}

fn memory_row(kind: &str, label: &str, size: u64, resident: Option<u64>) -> MemoryRow {
    MemoryRow { kind: kind.into(), label: label.into(), nested: false, size, resident, swapped: Some(0) }
}

fn nested(kind: &str, label: &str, size: u64) -> MemoryRow {
    MemoryRow { kind: kind.into(), label: label.into(), nested: true, size, resident: None, swapped: None }
}

/// The rows of a process with a heap.
fn memory(in_use: u64, in_pools: Option<u64>, free: u64) -> Vec<MemoryRow> {
    let mut rows = vec![memory_row("glibc_in_use", "glibc, in use", in_use, Some(in_use / 100 * 86))];
    if let Some(in_pools) = in_pools {
        rows.push(nested("glibc_in_use_pools", "nginx pools", in_pools));
        rows.push(nested("glibc_in_use_other", "outside any pool", in_use - in_pools));
    }
    rows.extend([
        memory_row("glibc_free", "glibc, free but kept", free, Some(free)),
        memory_row("glibc_own", "glibc, its own headers and gaps", 4_280, None),
        memory_row("shared_memory", "shared memory zones", 10 * MIB, Some(1_310_720)),
        memory_row("other_anonymous", "other anonymous (thread stacks, LuaJIT)", 4 * MIB, Some(2 * MIB)),
        memory_row("files", "files (binary, libraries)", 13 * MIB, Some(9 * MIB)),
        memory_row("stacks", "stack", 135_168, Some(40_960)),
    ]);
    rows
}

fn books(in_use: Tally, mmapped: Tally, free: u64) -> Books {
    let top = free / 2;
    let arena = ArenaBooks {
        address: 0x7f60_1d7f_6ac0,
        is_main: true,
        system_mem: in_use.bytes + free + 4_280,
        in_use,
        tcache: Tally { chunks: 7, bytes: 1_024 },
        free: Tally { chunks: 12, bytes: free - top - 1_024 },
        in_bins: Tally { chunks: 12, bytes: free - top - 1_024 },
        top,
        overhead: 4_280,
        ..ArenaBooks::default()
    };
    Books { arenas: vec![arena], mmapped, n_mmaps: mmapped.chunks, mmapped_mem: mmapped.bytes, problems: Vec::new() }
}

/// One worker with these owners, and nothing else to say.
fn worker(owners: Vec<OwnerSummary>) -> Snapshot {
    let in_use = Tally {
        chunks: owners.iter().map(|owner| owner.chunks).sum(),
        bytes: owners.iter().map(|owner| owner.bytes).sum(),
    };
    let in_pools = owners.iter().filter(|owner| owner.pools > 0).map(|owner| owner.bytes).sum();
    let books = books(in_use, Tally::default(), 157_696);
    let pools = owners.iter().map(|owner| owner.pools).sum();
    Snapshot {
        schema_version: SCHEMA_VERSION,
        poolscope_version: "0.1.0".into(),
        taken_at: 1_772_332_500.25,
        source: SourceInfo { kind: "process".into(), ..SourceInfo::default() },
        process: process(),
        freeze: Some(FreezeInfo {
            pause_microseconds: 4_120,
            place: "between_events".into(),
            stops: 1,
            bytes_read: 48_234_496,
            sum_microseconds: 4_120,
            elapsed_microseconds: 4_120,
            ..FreezeInfo::default()
        }),
        limits: Some(limits()),
        layouts: Layouts { nginx: dwarf("same_file"), glibc: dwarf("build_id") },
        memory: memory(in_use.bytes, Some(in_pools), 157_696),
        coverage: Some(books.coverage()),
        mallinfo: Some(books.mallinfo()),
        books: Some(books),
        thresholds: Some(Thresholds { mmap_threshold: 528_384, trim_threshold: 1_056_768, fixed: false }),
        notes: Vec::new(),
        owners,
        groups: Vec::new(),
        pool_check: PoolCheck { by_signature: pools, by_name: pools, both: pools, ..PoolCheck::default() },
        pools: Vec::new(),
        findings: Vec::new(),
        chunks: None,
    }
}

fn limits() -> Limits {
    Limits {
        machine_total: Some(8 << 30),
        machine_available: Some(3 << 30),
        cgroup: Some("/system.slice/nginx.service".into()),
        cgroup_limit: Some(4 << 30),
        cgroup_usage: Some(2 << 30),
    }
}

fn process() -> ProcessInfo {
    ProcessInfo {
        host: Some("gateway-1".into()),
        pid: 4242,
        parent: 4241,
        role: "worker".into(),
        title: "nginx: worker process".into(),
        executable: "/usr/sbin/nginx".into(),
        build_id: Some("3f2a9c".into()),
        server: Some("Tengine/3.1.0".into()),
        age_seconds: Some(529_920),
        started_at: Some(1_771_802_580.5),
        start_ticks: Some(81_234),
        parent_start_ticks: Some(81_200),
        boot_id: Some("0b6f2a70-8f1a-4a3c-9f51-3f3f54c1a7de".into()),
        threads: 1,
        resident: Some(1_094_713_344),
        allocator: "glibc".into(),
        allocator_version: Some("2.36".into()),
    }
}

/// A pool of dyups that lives in slot `slot`.
pub fn dyups_pool(slot: u64, name: &str) -> PoolRow {
    PoolRow {
        address: HexAddr(0x55d0_c8a3_f2b0 + slot * 0x11_0000),
        owner: Arc::new(PoolOwner {
            kind: "dyups.deleting".into(),
            label: "dyups upstream, deleted but still referenced".into(),
            name: Some(name.into()),
            state: Some("deleting".into()),
            trust: Trust::TypedPath,
            path: "ngx_cycle->conf_ctx[http].main[ngx_http_dyups_module].dy_upstreams[*].pool".into(),
            ..PoolOwner::default()
        }),
        slot: Some(slot as u32),
        identity: None,
        second_block: Some(HexAddr(0x55d0_c8a3_f4c0 + slot * 0x11_0000)),
        references: Some(1),
        age_ms: None,
        client: None,
        uri: None,
        block_size: 512,
        blocks: 295,
        large: 12,
        large_freed: 1,
        block_bytes: 155_760,
        large_bytes: 916_585 - slot,
        used: 1_031_002,
        unused: 96,
        lost: 4_512,
        cleanups: vec![CleanupRow { handler: "ngx_http_dyups_clean_request".into(), count: 1 }].into(),
    }
}

/// A pool that nothing is known of but that it is one.
pub fn unknown_pool() -> PoolRow {
    PoolRow {
        address: HexAddr(0x55d0_c7ff_1010),
        owner: Arc::new(PoolOwner {
            kind: "unknown_pool".into(),
            label: "pool without a known owner".into(),
            ..PoolOwner::default()
        }),
        block_size: 4096,
        blocks: 2,
        block_bytes: 8_224,
        used: 5_000,
        unused: 3_000,
        ..PoolRow::default()
    }
}

/// The leak that poolscope is for: 1119 generations of an upstream, deleted and held by one reference each.
pub fn leak() -> Snapshot {
    let per_pool =
        |classes: &[(u64, u64)], pools| classes.iter().map(|(count, size)| (count * pools, *size)).collect::<Vec<_>>();
    let generation = [(295, 528), (1, 311_312), (1, 296_656), (2, 65_552), (4, 16_400), (4, 8_208)];
    let request = [(1, 4_112), (2, 4_112), (1, 8_208), (1, 1_040)];
    let mut owners = vec![
        owner("dyups.deleting", "dyups upstream, deleted but still referenced", 1119, &per_pool(&generation, 1119)),
        owner("request", "request", 1120, &per_pool(&request, 1120)),
        owner(
            "outside_pools",
            "outside any pool",
            0,
            &[(1, 1_204_240), (2, 196_624), (540, 1_040), (3_100, 48), (800, 272)],
        ),
        owner("connection", "connection", 2242, &per_pool(&[(1, 528), (1, 272)], 2242)),
        owner("dyups.live", "dyups upstream, live", 1, &generation),
        owner("cycle", "cycle", 1, &[(18, 16_400), (5, 32_784), (1, 131_088)]),
        owner("glibc.tcache", "glibc's thread caches", 0, &[(1, 656)]),
    ];
    for owner in &mut owners[..1] {
        owner.names = vec![("svc".into(), 1119)];
    }
    owners[4].names = vec![("svc".into(), 1)];
    let mut snapshot = worker(owners);
    snapshot.pools = (1..=3).map(|slot| dyups_pool(slot, "svc")).chain([unknown_pool()]).collect();
    snapshot.findings = vec![Finding::DeletedButReferenced {
        upstream: "svc".into(),
        pools: 1119,
        references: 1119,
        bytes: snapshot.owners[0].bytes,
        path: "dy_upstreams[1..1119].ref".into(),
        holders: Vec::new(),
        unexplained: 0,
        created_at: Some("ngx_http_dyups_module.c:1607 (ngx_dyups_init_upstream)".into()),
    }];
    snapshot
}

/// A worker with more to say: many owners and names, unknown pools, swap, large free memory, odd names.
pub fn busy() -> Snapshot {
    let mut owners: Vec<OwnerSummary> = (0..18)
        .map(|index| {
            owner(
                &format!("module_{index}.thing"),
                &format!("thing of module {index}, as some label says at length"),
                3,
                &[(30 - index, 4_112), (5, 65_552)],
            )
        })
        .collect();
    owners.push(owner("outside_pools", "outside any pool", 0, &[(90, 270_352), (70_000, 80)]));
    owners.push(owner("unknown_pool", "pool without a known owner", 2, &[(4, 4_112)]));
    owners[0].names = (0..9).map(|index| (format!("upstream-{index}.example.internal"), 9 - index)).collect();
    owners[1].names = vec![("\u{1b}[31mred\u{202e}".into(), 2)];
    owners.sort_by_key(|owner| std::cmp::Reverse(owner.bytes));
    let mut snapshot = worker(owners);
    // Of chunks, the kernel is not asked what is swapped out.
    for row in snapshot.memory.iter_mut() {
        row.swapped = row.resident.filter(|_| !row.kind.starts_with("glibc")).map(|resident| resident / 10);
    }
    snapshot.pool_check.by_name -= 2;
    snapshot.pool_check.both -= 2;
    snapshot.pool_check.only_by_signature = vec![HexAddr(0x55d0_c7ff_1010), HexAddr(0x55d0_c7ff_5030)];
    snapshot.pools = vec![dyups_pool(1, "\u{1b}[31mred"), unknown_pool()];
    snapshot.findings = vec![
        Finding::DeletedAndUnreferenced {
            upstream: "old".into(),
            pools: 1,
            bytes: MIB,
            path: "dy_upstreams[4].ref".into(),
        },
        Finding::PoolsWithoutOwner { pools: 2, bytes: 16_448 },
        Finding::OutsidePools { chunks: 70_090, bytes: 29_931_680, percent: 76 },
        Finding::FreeButKept { bytes: 193 * MIB, resident: Some(190 * MIB) },
        Finding::UnreachablePools {
            pools: 7,
            bytes: 45_920,
            block_size: 1808,
            cleanups: vec!["ngx_pool_cleanup_file".to_owned()],
            log: vec!["reading client request line".to_owned()],
            symbols: vec!["ngx_http_core_module".to_owned()],
            example: 0x55d0_c7ff_5010,
        },
        Finding::Unreferenced {
            name: "SSL_SESSION".to_owned(),
            chunks: 1200,
            bytes: 1_132_800,
            size: Some(944),
            example: 0x55d0_c7ff_9010,
        },
        Finding::LargePool {
            address: 0x55d0_c7ff_1010,
            label: "request".into(),
            bytes: 30 * MIB,
            path: "ngx_cycle->connections[17].data->pool".into(),
            owner: "request".into(),
            state: Some("upgraded".into()),
            age_ms: Some(3 * 3_600_000),
        },
        Finding::ShuttingDown { clients: 12, bytes: 190 * MIB, oldest_ms: Some(5 * 3_600_000) },
    ];
    snapshot
}

/// The leak with rows for some chunks.
pub fn with_chunks() -> Snapshot {
    let mut snapshot = leak();
    let chunk = |address, size, state, arena, owner: Option<u32>, pool: Option<u32>| ChunkRow {
        address,
        size,
        state,
        arena,
        owner,
        pool,
        group: owner.filter(|_| pool.is_none()).map(|_| 0),
    };
    let rows = [
        chunk(0x55d0_c8a3_f2b0, 528, ChunkState::InUse, ArenaName::Main, Some(0), Some(0)),
        chunk(0x55d0_c8a4_0000, 311_312, ChunkState::InUse, ArenaName::Main, Some(0), Some(1)),
        chunk(0x55d0_c8a9_0010, 64, ChunkState::Tcache, ArenaName::Main, None, None),
        chunk(0x7f5a_2c00_0b20, 272, ChunkState::InUse, ArenaName::Other(0x7f5a_2c00_0030), Some(2), None),
        chunk(0x7f5a_3000_0010, 1_204_240, ChunkState::InUse, ArenaName::Mmapped, Some(2), None),
        chunk(0x55d0_c8b0_0010, 66_000, ChunkState::Top, ArenaName::Main, None, None),
    ];
    snapshot.chunks = Some(rows.into_iter().collect());
    snapshot
}
