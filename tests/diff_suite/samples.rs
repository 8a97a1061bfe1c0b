//! Snapshots made by hand. Owners, totals and books follow from the pools, so that everything adds up.

use poolscope::snapshot::finding::Finding;
use poolscope::snapshot::model::{
    ChunkGroup, HexAddr, LayoutSource, Layouts, Limits, MemoryRow, OwnerSummary, ProcessInfo, SCHEMA_VERSION, Snapshot,
    SourceInfo,
};
use poolscope::snapshot::pool::{Identity, PoolOwner, PoolRow, Trust};
use poolscope::snapshot::sizes::{SizeBucket, SizeHistogram, bucket_of};
use std::collections::BTreeMap;
use std::sync::Arc;

pub const MIB: u64 = 1 << 20;
/// 2026-03-01 02:35 UTC.
pub const START: f64 = 1_772_332_500.0;
const HEAP: u64 = 0x55d0_c7a0_0000;
const DYUPS: &str = "ngx_cycle->conf_ctx[ngx_http_module].main_conf[ngx_http_dyups_module]->dy_upstreams[*].pool";

/// One generation of a dynamic upstream, in `slot`.
pub fn generation(slot: u32, name: &str, state: &str) -> PoolRow {
    let live = state == "live";
    let owner = PoolOwner {
        kind: format!("dyups.{state}"),
        label: if live { "dyups upstream, live" } else { "dyups upstream, deleted but still referenced" }.into(),
        name: Some(name.into()),
        state: Some(if live { "live" } else { "deleting" }.into()),
        trust: Trust::TypedPath,
        path: DYUPS.into(),
        ..PoolOwner::default()
    };
    PoolRow {
        address: HexAddr(HEAP + 0x100_0000 + u64::from(slot) * 0x11_0000),
        owner: Arc::new(owner),
        slot: Some(slot),
        second_block: Some(HexAddr(HEAP + 0x100_0000 + u64::from(slot) * 0x11_0000 + 0x210)),
        references: Some(1),
        block_size: 512,
        blocks: 295,
        large: 2,
        block_bytes: 295 * 528,
        large_bytes: 2 * 419_440,
        used: 900_000,
        ..PoolRow::default()
    }
}

fn plain(kind: &str, address: u64, block_size: u64, blocks: u64, path: &str) -> PoolRow {
    let owner = PoolOwner {
        kind: kind.into(),
        label: kind.into(),
        trust: Trust::TypedPath,
        path: path.into(),
        ..PoolOwner::default()
    };
    PoolRow {
        address: HexAddr(address),
        owner: Arc::new(owner),
        second_block: (blocks > 1).then_some(HexAddr(address + block_size + 16)),
        block_size,
        blocks,
        block_bytes: blocks * (block_size + 16),
        used: blocks * block_size / 2,
        ..PoolRow::default()
    }
}

/// The pool of a configuration.
pub fn cycle(address: u64) -> PoolRow {
    plain("cycle", address, 16_384, 24, "ngx_cycle->pool")
}

/// A client connection with its number, in a slot of `ngx_cycle->connections`.
pub fn connection(slot: u32, number: u64) -> PoolRow {
    let mut pool =
        plain("connection", HEAP + 0x10_0000 + u64::from(slot) * 0x1000, 512, 1, "ngx_cycle->connections[*].pool");
    (pool.slot, pool.identity) = (Some(slot), Some(Identity { connection: number, request: 0 }));
    pool
}

/// A request of a connection.
pub fn request(slot: u32, number: u64, request: u64) -> PoolRow {
    let path = "((ngx_http_request_t *) ngx_cycle->connections[*].data)->pool";
    let mut pool = plain("request", HEAP + 0x50_0000 + u64::from(slot) * 0x2000, 4096, 2, path);
    (pool.slot, pool.identity) = (Some(slot), Some(Identity { connection: number, request }));
    pool
}

fn memory_row(kind: &str, label: &str, nested: bool, size: u64, resident: Option<u64>) -> MemoryRow {
    MemoryRow { kind: kind.into(), label: label.into(), nested, size, resident, swapped: None }
}

/// Chunks and bytes of each bucket, by its smallest size.
type Buckets = BTreeMap<u64, (u64, u64)>;

/// How many chunks of which size a pool has: blocks of one size, large allocations of another.
fn chunks_of(pool: &PoolRow) -> [(u64, u64); 2] {
    let size = |bytes: u64, chunks: u64| bytes.checked_div(chunks).unwrap_or(0);
    [(pool.blocks, size(pool.block_bytes, pool.blocks)), (pool.large, size(pool.large_bytes, pool.large))]
}

fn count(histogram: &mut Buckets, chunks: u64, size: u64) {
    if chunks > 0 {
        let bucket = histogram.entry(bucket_of(size)).or_default();
        *bucket = (bucket.0 + chunks, bucket.1 + chunks * size);
    }
}

fn histogram(buckets: Buckets) -> SizeHistogram {
    let bucket = |(from, (chunks, bytes))| SizeBucket { from, to: from * 2, chunks, bytes };
    SizeHistogram { buckets: buckets.into_iter().map(bucket).collect() }
}

fn summaries(pools: &[PoolRow], outside: (u64, u64)) -> Vec<OwnerSummary> {
    let mut owners: BTreeMap<&str, (OwnerSummary, Buckets, BTreeMap<String, u64>)> = BTreeMap::new();
    for pool in pools {
        let (owner, sizes, names) = owners.entry(&pool.owner.kind).or_default();
        (owner.owner, owner.label) = (pool.owner.kind.clone(), pool.owner.label.clone());
        owner.pools += 1;
        owner.chunks += pool.blocks + pool.large;
        owner.bytes += pool.bytes();
        owner.used += pool.used;
        chunks_of(pool).into_iter().for_each(|(chunks, size)| count(sizes, chunks, size));
        if let Some(name) = &pool.owner.name {
            *names.entry(name.clone()).or_default() += 1;
        }
    }
    let mut summaries: Vec<OwnerSummary> = owners
        .into_values()
        .map(|(owner, sizes, names)| OwnerSummary {
            sizes: histogram(sizes),
            names: names.into_iter().collect(),
            ..owner
        })
        .collect();
    let mut sizes = BTreeMap::new();
    count(&mut sizes, outside.0, outside.1);
    summaries.push(OwnerSummary {
        owner: "outside_pools".into(),
        label: "outside any pool".into(),
        chunks: outside.0,
        bytes: outside.0 * outside.1,
        sizes: histogram(sizes),
        ..OwnerSummary::default()
    });
    summaries.sort_by_key(|owner| std::cmp::Reverse(owner.bytes));
    summaries
}

/// What is not in pools, in bytes.
#[derive(Clone, Copy)]
pub struct Rest {
    /// Chunks outside pools, of 1040 bytes each.
    pub outside: u64,
    pub free: u64,
    pub shared: u64,
    pub anonymous: u64,
}

impl Default for Rest {
    fn default() -> Rest {
        Rest { outside: 2_000, free: 157_696, shared: 1_310_720, anonymous: 2 * MIB }
    }
}

fn memory(in_pools: u64, rest: Rest) -> Vec<MemoryRow> {
    let outside = rest.outside * 1_040;
    let in_use = in_pools + outside;
    vec![
        memory_row("glibc_in_use", "glibc, in use", false, in_use, Some(in_use / 4096 * 4096)),
        memory_row("glibc_in_use_pools", "nginx pools", true, in_pools, None),
        memory_row("glibc_in_use_other", "outside any pool", true, outside, None),
        memory_row("glibc_free", "glibc, free but kept", false, rest.free, Some(rest.free / 4096 * 4096)),
        memory_row("shared_memory", "shared memory zones", false, 10 * MIB, Some(rest.shared)),
        memory_row(
            "other_anonymous",
            "other anonymous (thread stacks, LuaJIT)",
            false,
            rest.anonymous * 2,
            Some(rest.anonymous),
        ),
        memory_row("files", "files (binary, libraries)", false, 13 * MIB, Some(9 * MIB)),
    ]
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
        started_at: None,
        start_ticks: Some(81_234),
        parent_start_ticks: Some(81_200),
        boot_id: Some("0b6f2a70-8f1a-4a3c-9f51-3f3f54c1a7de".into()),
        threads: 1,
        resident: None,
        allocator: "glibc".into(),
        allocator_version: Some("2.36".into()),
    }
}

/// A worker with these pools and that rest, so many hours after the start of the story.
pub fn worker(hours: f64, mut pools: Vec<PoolRow>, rest: Rest) -> Snapshot {
    pools.sort_by_key(|pool| (std::cmp::Reverse(pool.bytes()), pool.address));
    let memory = memory(pools.iter().map(PoolRow::bytes).sum(), rest);
    let dwarf = LayoutSource { kind: "dwarf".into(), ..LayoutSource::default() };
    let mut process = process();
    process.age_seconds = process.age_seconds.map(|age| age + (hours * 3600.0) as u64);
    process.resident = memory.iter().filter(|row| !row.nested).map(|row| row.resident).sum();
    Snapshot {
        schema_version: SCHEMA_VERSION,
        poolscope_version: "0.2.0".into(),
        taken_at: START + hours * 3600.0,
        source: SourceInfo { kind: "process".into(), ..SourceInfo::default() },
        process,
        limits: Some(Limits {
            machine_total: Some(8 << 30),
            machine_available: Some(3 << 30),
            cgroup: Some("/system.slice/nginx.service".into()),
            cgroup_limit: Some(1 << 30),
            cgroup_usage: Some(800 * MIB),
        }),
        layouts: Layouts { nginx: dwarf.clone(), glibc: dwarf },
        coverage: Some(1.0),
        owners: summaries(&pools, (rest.outside, 1_040)),
        memory,
        findings: findings(&pools),
        pools,
        ..Snapshot::default()
    }
}

fn findings(pools: &[PoolRow]) -> Vec<Finding> {
    let deleted: Vec<&PoolRow> = pools.iter().filter(|pool| pool.owner.kind == "dyups.deleting").collect();
    let Some(name) = deleted.first().and_then(|pool| pool.owner.name.clone()) else { return Vec::new() };
    vec![Finding::DeletedButReferenced {
        upstream: name,
        pools: deleted.len() as u64,
        references: deleted.len() as u64,
        bytes: deleted.iter().map(|pool| pool.bytes()).sum(),
        path: format!("dy_upstreams[0..{}].ref", deleted.len() - 1),
        holders: Vec::new(),
        unexplained: 0,
        created_at: Some("ngx_http_dyups_module.c:1607 (ngx_dyups_init_upstream)".into()),
    }]
}

/// A pool that nothing points to any more.
pub fn unreachable(slot: u64) -> PoolRow {
    let mut pool = plain("unreachable_pool", HEAP + 0x90_0000 + slot * 0x2000, 1024, 1, "");
    let owner = Arc::make_mut(&mut pool.owner);
    owner.label = "unreachable pool".into();
    owner.trust = Trust::Signature;
    pool
}

/// Adds chunks outside pools that belong to OpenSSL: so many sessions, and one context.
pub fn with_sessions(mut snapshot: Snapshot, sessions: u64) -> Snapshot {
    let group = |name: &str, path: &str, chunks: u64, size: u64| ChunkGroup {
        owner: "openssl".into(),
        name: name.into(),
        trust: Trust::TypedPath,
        path: path.into(),
        chunks,
        bytes: chunks * size,
        smallest: size,
        largest: size,
        example: HexAddr(HEAP),
    };
    snapshot.groups = vec![
        group("SSL_SESSION", "ngx_http_ssl_srv_conf_t.ssl.ctx->sessions", sessions, 528),
        group("SSL_CTX", "ngx_http_ssl_srv_conf_t.ssl.ctx", 1, 1_040),
    ];
    let mut sizes = BTreeMap::new();
    count(&mut sizes, sessions, 528);
    count(&mut sizes, 1, 1_040);
    snapshot.owners.push(OwnerSummary {
        owner: "openssl".into(),
        label: "OpenSSL".into(),
        chunks: sessions + 1,
        bytes: sessions * 528 + 1_040,
        sizes: histogram(sizes),
        ..OwnerSummary::default()
    });
    let added = sessions * 528 + 1_040;
    for row in
        snapshot.memory.iter_mut().filter(|row| row.kind.starts_with("glibc_in_use") && !row.kind.ends_with("pools"))
    {
        row.size += added;
        row.resident = row.resident.map(|resident| resident + added / 4096 * 4096);
    }
    snapshot
}

pub const CYCLE: u64 = HEAP + 0x2a0;

/// A gateway: so many generations, all but the last of them deleted and still referenced; and these requests.
pub fn gateway(hours: f64, generations: u32, requests: std::ops::Range<u64>, rest: Rest) -> Snapshot {
    let deleted = (0..generations.saturating_sub(1)).map(|slot| generation(slot, "svc", "deleting"));
    let live = generations.checked_sub(1).map(|slot| generation(slot, "svc", "live"));
    let connections = (0..40).map(|slot| connection(slot, 100 + u64::from(slot)));
    let requests = requests.map(|number| request(number as u32 % 64, number, 1));
    let pools = [cycle(CYCLE)].into_iter().chain(deleted).chain(live).chain(connections).chain(requests);
    worker(hours, pools.collect(), rest)
}

/// The older side of most stories.
pub fn old() -> Snapshot {
    gateway(0.0, 10, 0..20, Rest::default())
}

/// Three hours later, with 119 generations more, 5 requests less and 3 other ones.
pub fn leaked() -> Snapshot {
    gateway(3.0, 129, 5..23, Rest::default())
}

/// Makes a snapshot one of a core: what only the kernel tells is not known.
pub fn as_core(mut snapshot: Snapshot) -> Snapshot {
    snapshot.source =
        SourceInfo { kind: "core".into(), file: Some("/var/crash/core.4242.zst".into()), ..SourceInfo::default() };
    let process = &mut snapshot.process;
    (process.host, process.age_seconds, process.start_ticks) = (None, None, None);
    (process.parent_start_ticks, process.boot_id, process.resident) = (None, None, None);
    snapshot.limits = None;
    snapshot.memory.iter_mut().for_each(|row| row.resident = None);
    snapshot
}
