//! Workers of which much is known: states, names, groups outside pools, and how each is known.

use super::{MIB, dwarf, owner, worker};
use poolscope::malloc::chunk::ChunkState;
use poolscope::snapshot::chunks::{ArenaName, ChunkRow};
use poolscope::snapshot::model::{ChunkGroup, HexAddr, LayoutSource, OwnerSummary, PoolCheck, Snapshot};
use poolscope::snapshot::pool::{Identity, PoolOwner, PoolRow, Trust};
use std::sync::Arc;

/// What some pools have in common, how many there are, and their size.
struct Kind {
    owner: PoolOwner,
    pools: u64,
    block_size: u64,
    blocks: u64,
    age_ms: Option<u64>,
}

fn kind(key: &str, label: &str, path: &str, pools: u64, block_size: u64, blocks: u64) -> Kind {
    let owner = PoolOwner {
        kind: key.into(),
        label: label.into(),
        trust: Trust::TypedPath,
        path: path.into(),
        ..PoolOwner::default()
    };
    Kind { owner, pools, block_size, blocks, age_ms: None }
}

impl Kind {
    fn named(mut self, name: &str, state: &str) -> Kind {
        self.owner.name = Some(name.into());
        self.owner.state = (!state.is_empty()).then(|| state.into());
        self
    }

    fn speaks(mut self, protocol: &str, handler: &str, age_ms: u64) -> Kind {
        self.owner.protocol = Some(protocol.into());
        self.owner.handler = Some(handler.into());
        self.age_ms = Some(age_ms);
        self
    }

    fn known(mut self, trust: Trust) -> Kind {
        self.owner.trust = trust;
        self
    }
}

const REQUEST: &str = "((ngx_http_request_t *) ngx_cycle->connections[*].data)->pool";
const CONNECTION: &str = "ngx_cycle->connections[*].pool";

fn kinds() -> Vec<Kind> {
    vec![
        kind("request", "HTTP request", REQUEST, 1119, 4096, 2).named("location /ws", "upgraded").speaks(
            "http/1.1",
            "ngx_http_upstream_process_upgraded",
            10_860_000,
        ),
        kind("request", "HTTP request", REQUEST, 40, 4096, 2).named("location /", "reading body").speaks(
            "http/2",
            "ngx_http_read_client_request_body_handler",
            400,
        ),
        kind("request", "HTTP request", REQUEST, 3, 4096, 1).named("location = /status", "writing").speaks(
            "http/1.1",
            "ngx_http_writer",
            15,
        ),
        kind("connection", "connection", CONNECTION, 1162, 512, 1).named("0.0.0.0:443", "").speaks(
            "http/1.1",
            "ngx_http_upstream_rd_check_broken_connection",
            10_900_000,
        ),
        kind("connection", "connection", CONNECTION, 200, 512, 1).named("0.0.0.0:443", "idle").speaks(
            "http/1.1",
            "ngx_http_keepalive_handler",
            61_000,
        ),
        kind("upstream_connection", "upstream connection", CONNECTION, 64, 256, 1).named("backend", "cached"),
        kind("cycle", "cycle", "ngx_cycle->pool", 1, 16_384, 24),
        kind("habits.table", "habits table", "habits_table[*]->pool", 12, 8192, 16)
            .named("ngx_http_habits_module", "")
            .known(Trust::InferredPath),
        kind("held_pool", "pool that something points to", "", 2, 1024, 1).known(Trust::Referenced),
        kind("unreachable_pool", "unreachable pool: nothing points to it", "", 7, 1024, 3).known(Trust::Signature),
        kind("unknown_pool", "pool without a known owner", "", 1, 4096, 1).known(Trust::Signature),
    ]
}

fn pools_of(kinds: &[Kind]) -> Vec<PoolRow> {
    let mut pools = Vec::new();
    for kind in kinds {
        let owner = Arc::new(kind.owner.clone());
        for _ in 0..kind.pools {
            let number = pools.len() as u64;
            let has_slot = kind.owner.path.contains("[*]");
            let bytes = kind.blocks * (kind.block_size + 16);
            pools.push(PoolRow {
                address: HexAddr(0x55d0_c800_0010 + number * 0x8000),
                owner: owner.clone(),
                slot: has_slot.then_some(number as u32),
                identity: kind.age_ms.map(|_| Identity { connection: 1000 + number, request: 0 }),
                age_ms: kind.age_ms.map(|age| age.saturating_sub(number)),
                block_size: kind.block_size,
                blocks: kind.blocks,
                block_bytes: bytes,
                used: bytes * 3 / 4,
                unused: bytes / 4,
                ..PoolRow::default()
            });
        }
    }
    pools.sort_by_key(|pool| (std::cmp::Reverse(pool.bytes()), pool.address));
    pools
}

/// A group with so many chunks of one size.
fn group(owner: &str, name: &str, trust: Trust, path: &str, chunks: u64, size: u64) -> ChunkGroup {
    ChunkGroup {
        owner: owner.into(),
        name: name.into(),
        trust,
        path: path.into(),
        chunks,
        bytes: chunks * size,
        smallest: size,
        largest: size,
        example: HexAddr(0x55d0_d000_0010 + chunks * 0x1_0000),
    }
}

fn groups() -> Vec<ChunkGroup> {
    let sessions = "ssl_ctx->sessions";
    vec![
        group("openssl", "SSL_SESSION", Trust::TypedPath, sessions, 12_000, 528),
        group("openssl", "SSL_CTX", Trust::TypedPath, "ngx_http_ssl_srv_conf_t.ssl.ctx", 2, 1_040),
        group("nginx", "connections", Trust::TypedPath, "ngx_cycle->connections", 1, 1_200_032),
        group("nginx", "open file cache", Trust::InferredPath, "clcf->open_file_cache", 120, 272),
        group("held_by_pool", "ngx_http_request_t", Trust::Referenced, "a request's pool", 300, 1_040),
        group("libc", "stdio buffers", Trust::TypedPath, "stdout->_IO_buf_base", 3, 4_112),
        group("unreferenced", "leak_marker+0x10, 96 bytes", Trust::Signature, "", 5_000, 112),
        group("glibc.tcache", "tcache_perthread_struct", Trust::TypedPath, "tcache", 1, 656),
        group("outside_pools", "", Trust::Signature, "", 37, 64),
    ]
}

const LABELS: [(&str, &str); 7] = [
    ("openssl", "OpenSSL"),
    ("nginx", "nginx outside pools"),
    ("held_by_pool", "held by a pool"),
    ("libc", "libc"),
    ("unreferenced", "nothing points to it"),
    ("glibc.tcache", "glibc's thread caches"),
    ("outside_pools", "outside any pool"),
];

fn summaries(kinds: &[Kind], groups: &[ChunkGroup]) -> Vec<OwnerSummary> {
    let mut owners: Vec<OwnerSummary> = Vec::new();
    for kind in kinds {
        let index = match owners.iter().position(|owner| owner.owner == kind.owner.kind) {
            Some(index) => index,
            None => {
                owners.push(owner(&kind.owner.kind, &kind.owner.label, 0, &[]));
                owners.len() - 1
            }
        };
        let summary = &mut owners[index];
        (0..kind.pools * kind.blocks).for_each(|_| summary.count(kind.block_size + 16));
        summary.pools += kind.pools;
        if let Some(name) = &kind.owner.name {
            match summary.names.iter_mut().find(|(known, _)| known == name) {
                Some((_, pools)) => *pools += kind.pools,
                None => summary.names.push((name.clone(), kind.pools)),
            }
        }
    }
    owners.iter_mut().for_each(|owner| owner.used = owner.bytes * 3 / 4);
    for (key, label) in LABELS {
        let sizes: Vec<(u64, u64)> =
            groups.iter().filter(|group| group.owner == key).map(|group| (group.chunks, group.smallest)).collect();
        owners.push(owner(key, label, 0, &sizes));
    }
    owners.sort_by_key(|owner| std::cmp::Reverse(owner.bytes));
    owners
}

/// A worker under mixed load: websockets that stay, uploads, idle clients, a module that nobody wrote a file for, pools that
/// nothing points to, and sessions of OpenSSL outside pools.
pub fn loaded() -> Snapshot {
    let (kinds, mut groups) = (kinds(), groups());
    groups.sort_by_key(|group| std::cmp::Reverse(group.bytes));
    let mut snapshot = worker(summaries(&kinds, &groups));
    snapshot.process.server = Some("nginx/1.28.3".into());
    snapshot.pools = pools_of(&kinds);
    snapshot.groups = groups;
    let (all, unnamed) = (snapshot.pools.len() as u64, 8);
    snapshot.pool_check =
        PoolCheck { by_signature: all, by_name: all - unnamed, both: all - unnamed, ..PoolCheck::default() };
    snapshot
}

/// The same with what clients are and asked for.
pub fn with_clients() -> Snapshot {
    let mut snapshot = loaded();
    let of_clients = |pool: &&mut PoolRow| ["request", "connection"].contains(&pool.owner.kind.as_str());
    for (index, pool) in snapshot.pools.iter_mut().filter(of_clients).enumerate() {
        pool.client = Some(format!("198.51.100.{}", index % 250).into());
        pool.uri = (pool.owner.kind == "request").then(|| "/ws?room=\u{1b}[2Jblue".into());
    }
    snapshot
}

/// The same without debug info, where built-in layouts agree with what was read.
pub fn built_in() -> Snapshot {
    let mut snapshot = loaded();
    snapshot.layouts.nginx = LayoutSource {
        kind: "built_in".into(),
        verified_by: Some("memory".into()),
        problem: Some("no debug info for /usr/sbin/nginx".into()),
        ..dwarf("")
    };
    for pool in &mut snapshot.pools {
        let owner = Arc::make_mut(&mut pool.owner);
        owner.trust = if owner.trust == Trust::TypedPath { Trust::BuiltInPath } else { owner.trust };
    }
    snapshot
}

/// A worker of which little is outside pools.
pub fn little_outside() -> Snapshot {
    let mut snapshot = loaded();
    snapshot.groups.iter_mut().for_each(|group| group.bytes = group.bytes.min(2_080));
    let outside: u64 = snapshot.groups.iter().map(|group| group.bytes).sum();
    assert!(outside < MIB);
    snapshot
}

/// Some chunks of it.
pub fn grouped_chunks() -> Snapshot {
    let mut snapshot = loaded();
    let place = |key: &str| snapshot.owners.iter().position(|owner| owner.owner == key).unwrap() as u32;
    let group_of = |name: &str| {
        let is_it = |group: &ChunkGroup| group.name.starts_with(name) && group.name.is_empty() == name.is_empty();
        snapshot.groups.iter().position(is_it).unwrap() as u32
    };
    let chunk = |address, size, owner, pool, group| ChunkRow {
        address,
        size,
        state: ChunkState::InUse,
        arena: ArenaName::Main,
        owner: Some(owner),
        pool,
        group,
    };
    let request = snapshot.pools.iter().position(|pool| pool.owner.kind == "request").unwrap();
    let rows = [
        chunk(snapshot.pools[request].address.0, 4_112, place("request"), Some(request as u32), None),
        chunk(0x55d0_d000_0010, 528, place("openssl"), None, Some(group_of("SSL_SESSION"))),
        chunk(0x55d0_d000_0220, 112, place("unreferenced"), None, Some(group_of("leak_marker"))),
        chunk(0x55d0_d000_0290, 64, place("outside_pools"), None, Some(group_of(""))),
    ];
    snapshot.chunks = Some(rows.into_iter().collect());
    snapshot
}
