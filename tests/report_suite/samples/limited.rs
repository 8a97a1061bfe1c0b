//! Processes of which not everything can be told.

use super::{MIB, leak, memory, memory_row, owner, unknown_pool, worker};
use poolscope::snapshot::model::{HexAddr, LayoutSource, PoolCheck, Snapshot};

/// A process with glibc's allocator that is not nginx.
pub fn not_nginx() -> Snapshot {
    let mut snapshot =
        worker(vec![owner("outside_pools", "outside any pool", 0, &[(4_000, 80), (300, 1_040), (2, 1_200_000)])]);
    snapshot.process.title = "/usr/bin/redis-server 127.0.0.1:6379".into();
    snapshot.process.role = "process".into();
    snapshot.process.server = None;
    snapshot.process.age_seconds = Some(312);
    snapshot.memory = memory(snapshot.in_use_bytes(), None, 157_696);
    snapshot.layouts.nginx = LayoutSource { kind: "none".into(), ..LayoutSource::default() };
    snapshot.process.executable = "/usr/bin/redis-server".into();
    snapshot.notes = vec!["/usr/bin/redis-server is not nginx: it has no pools".into()];
    snapshot
}

/// A worker without nginx's debug info: its pools are there, and nobody knows whose they are.
pub fn stripped() -> Snapshot {
    let mut snapshot = worker(vec![
        owner("unknown_pool", "pool without a known owner", 12, &[(60, 4_112), (12, 528)]),
        owner("outside_pools", "outside any pool", 0, &[(300, 1_040)]),
    ]);
    let build_id = "5d3fd8fb2f3b3e8dbb8d5f0bbf6e0d8f4b0a5f60";
    let problem = format!(
        "no debug info for /usr/sbin/nginx (build-id {build_id}): install the debug symbols of this very package version \
         (looked in 3 places)"
    );
    let pools = &mut snapshot.pool_check;
    (pools.by_name, pools.both) = (0, 0);
    snapshot.pools = vec![unknown_pool()];
    snapshot.notes = vec![format!("whose the pools are is not known: {problem}")];
    snapshot.layouts.nginx = LayoutSource {
        kind: "built_in".into(),
        problem: Some(problem),
        tried: vec![
            "/usr/sbin/nginx has no .debug_info section".into(),
            format!("/usr/lib/debug/.build-id/5d/{}.debug does not exist", &build_id[2..]),
            format!("/home/operator/.cache/debuginfod_client/{build_id}/debuginfo does not exist"),
        ],
        ..LayoutSource::default()
    };
    snapshot
}

/// A worker with an allocator that cannot be walked.
pub fn not_glibc() -> Snapshot {
    let mut snapshot = worker(Vec::new());
    snapshot.process.allocator = "jemalloc".into();
    snapshot.process.allocator_version = None;
    snapshot.process.threads = 0;
    snapshot.freeze = None;
    snapshot.layouts.glibc = LayoutSource { kind: "none".into(), ..LayoutSource::default() };
    snapshot.memory.retain(|row| !row.kind.starts_with("glibc"));
    snapshot.memory.insert(0, memory_row("brk_heap", "[heap], not walked", 3 * MIB, Some(2 * MIB)));
    snapshot.coverage = None;
    snapshot.books = None;
    snapshot.mallinfo = None;
    snapshot.thresholds = None;
    snapshot.pool_check = PoolCheck::default();
    snapshot.notes = vec![
        "the allocator is jemalloc (libjemalloc.so.2), whose heap poolscope cannot walk: only mappings are shown"
            .into(),
    ];
    snapshot
}

/// The leak, in a heap that does not reconcile.
pub fn incomplete() -> Snapshot {
    let mut snapshot = leak();
    snapshot.coverage = Some(0.999_87);
    if let Some(books) = &mut snapshot.books {
        books.problems = vec![
            "main_arena: 1199876096 bytes were found and it says 1200031744 (system_mem), -155648".into(),
            "bin 3 of arena 0x7f601d7f6ac0 holds 0x55d0c8a3f2a0, which is no free chunk".into(),
        ];
    }
    snapshot.pool_check.only_by_name = vec![(HexAddr(0x55d0_c8a3_f2b0), "ngx_cycle->connections[17].pool".into())];
    snapshot.pool_check.by_name += 1;
    snapshot.notes = vec![
        "the stop fell into malloc and was not repeated in time: the chunk it was working on may be missing".into(),
    ];
    snapshot
}
