//! The leak that this tool is for, on a real nginx, against what the module itself counts from inside.

use poolscope::analysis::{Options, Silent, take};
use poolscope::debug::SearchOptions;
use poolscope::snapshot::finding::Finding;
use poolscope::snapshot::model::Snapshot;
use poolscope::snapshot::pool::{PoolRow, Trust};
use poolscope_fixtures::{Generation, Leak, LeakPlan, Nginx, State};
use std::collections::BTreeMap;

fn snapshot_of(nginx: &Nginx) -> Snapshot {
    let options = Options { debug: SearchOptions::from_environment(), with_chunks: true, ..Options::default() };
    take(nginx.worker_pid().unwrap() as i32, &options, &Silent).unwrap()
}

/// Pools that the module still has, by address.
fn generations(nginx: &Nginx) -> BTreeMap<u64, Generation> {
    let all = nginx.detail().unwrap();
    all.into_iter().filter(|entry| entry.state != State::Deleted).map(|entry| (entry.pool, entry)).collect()
}

fn dyups_pools(snapshot: &Snapshot) -> BTreeMap<u64, &PoolRow> {
    let rows = snapshot.pools.iter().filter(|pool| pool.owner.kind.starts_with("dyups."));
    rows.map(|pool| (pool.address.0, pool)).collect()
}

/// Every pool of the module is found both ways, and is as large as the module says.
fn check_pools(snapshot: &Snapshot, stated: &BTreeMap<u64, Generation>) {
    let found = dyups_pools(snapshot);
    assert!(found.keys().eq(stated.keys()), "{} pools found and {} stated", found.len(), stated.len());
    for (address, generation) in stated {
        let pool = found[address];
        let from_outside = (pool.blocks, pool.block_bytes, pool.large, pool.large_bytes, pool.bytes());
        let from_inside =
            (generation.blocks, generation.block_bytes, generation.large, generation.large_bytes, generation.bytes);
        assert_eq!(from_outside, from_inside, "the pool at {address:#x}");
        assert_eq!(pool.large + pool.large_freed, generation.large_nodes, "the pool at {address:#x}");
        assert_eq!((pool.unused + pool.lost, pool.lost), (generation.unused, generation.lost), "{address:#x}");
        assert_eq!(pool.references, Some(generation.references), "the pool at {address:#x}");
        assert_eq!(pool.owner.name.as_deref(), Some(generation.name.as_str()));
        assert_eq!(pool.owner.trust, Trust::TypedPath);
        assert_eq!(pool.path().rsplit('[').next(), Some(format!("{}].pool", generation.slot).as_str()));
        assert_eq!(pool.owner.state.as_deref() == Some("live"), generation.state == State::Live);
    }
}

/// What holds of every snapshot of a worker that is not in the middle of anything.
fn check_whole(snapshot: &Snapshot) {
    assert_eq!(snapshot.books.as_ref().unwrap().problems, Vec::<String>::new());
    assert_eq!(snapshot.coverage, Some(1.0));
    assert_eq!(snapshot.pool_check.problems, Vec::<String>::new());
    assert_eq!(snapshot.pool_check.only_by_name, []);
    assert!(snapshot.is_complete());
    let books = snapshot.books.as_ref().unwrap();
    let in_arenas: u64 = books.arenas.iter().map(|arena| arena.in_use.bytes).sum();
    let mapped = snapshot.chunks.as_ref().unwrap().iter();
    let mapped: u64 = mapped.filter(|chunk| chunk.arena.to_string() == "mmapped").map(|chunk| chunk.size).sum();
    assert_eq!(snapshot.in_use_bytes(), in_arenas + mapped, "owned and unowned are all that is in use");
    let pool_bytes: u64 = snapshot.pools.iter().map(|pool| pool.bytes()).sum();
    let owner_bytes: u64 = snapshot.owners.iter().filter(|owner| owner.pools > 0).map(|owner| owner.bytes).sum();
    assert_eq!(pool_bytes, owner_bytes, "each chunk of a pool counts once");
    check_chunk_pools(snapshot);
}

/// The chunks' own pools add up to what the pools' rows say.
fn check_chunk_pools(snapshot: &Snapshot) {
    let mut bytes = vec![0; snapshot.pools.len()];
    for chunk in snapshot.chunks.as_ref().unwrap().iter() {
        if let Some(pool) = chunk.pool {
            bytes[pool as usize] += chunk.size;
        }
    }
    for (pool, bytes) in snapshot.pools.iter().zip(bytes) {
        assert_eq!(pool.bytes(), bytes, "the chunks of the pool at {}", pool.address);
    }
}

fn leaked(plan: &LeakPlan, environment: &[(&str, &str)]) -> (Nginx, Leak) {
    let builder = environment.iter().fold(Nginx::builder(), |builder, (name, value)| builder.env(*name, *value));
    let nginx = builder.start().unwrap();
    let leak = Leak::run(&nginx, plan, |_| ()).unwrap();
    (nginx, leak)
}

fn largest_chunks(snapshot: &Snapshot, owner: &str) -> u64 {
    let owner = snapshot.owners.iter().find(|summary| summary.owner == owner).unwrap();
    owner.sizes.bucket(256 << 10).map_or(0, |bucket| bucket.chunks)
}

#[test]
fn the_full_size_leak_is_named_and_counted() {
    let (nginx, _leak) = leaked(&LeakPlan::full_size(), &[]);
    let stated = generations(&nginx);
    let snapshot = snapshot_of(&nginx);
    check_whole(&snapshot);
    check_pools(&snapshot, &stated);
    assert_eq!(stated.len(), 1120);
    assert_eq!(largest_chunks(&snapshot, "dyups.deleting") + largest_chunks(&snapshot, "dyups.live"), 2240);
    let Some(Finding::DeletedButReferenced {
        upstream,
        pools,
        references,
        bytes,
        path,
        created_at,
        holders,
        unexplained,
    }) = snapshot.findings.first()
    else {
        panic!("{:?}", snapshot.findings)
    };
    // The last client's request holds the live generation, which is not of these.
    let [requests] = holders.as_slice() else { panic!("{holders:?}") };
    assert_eq!((requests.owner.as_str(), requests.pools, requests.references), ("request", 1119, 1119));
    assert_eq!(requests.name.as_deref(), Some("location ~ ^/up/(?<dyups_name>[^/]+)"));
    assert_eq!((requests.state.as_deref(), *unexplained), (Some("upgraded"), 0));
    assert!(requests.oldest_ms.is_some_and(|age| age < 600_000), "{requests:?}");
    assert_eq!((upstream.as_str(), *pools, *references), ("svc", 1119, 1119));
    let deleting = stated.values().filter(|entry| entry.state == State::Deleting);
    assert_eq!(*bytes, deleting.map(|entry| entry.bytes).sum::<u64>());
    assert_eq!(path, "dy_upstreams[0..1118].ref");
    let source = std::fs::read_to_string("fixtures/nginx-dyups-module/ngx_http_dyups_generation.c").unwrap();
    let line = source.lines().position(|line| line.contains("ngx_create_pool(")).unwrap() + 1;
    let place = created_at.as_deref().unwrap();
    assert!(place.starts_with(&format!("ngx_http_dyups_generation.c:{line} ")), "{place}");
}

#[test]
fn large_allocations_with_mappings_of_their_own_belong_to_their_pools_too() {
    let (nginx, _leak) = leaked(&LeakPlan::new(40, 1030), &[("MALLOC_MMAP_THRESHOLD_", "131072")]);
    let stated = generations(&nginx);
    let snapshot = snapshot_of(&nginx);
    check_whole(&snapshot);
    check_pools(&snapshot, &stated);
    assert!(snapshot.books.as_ref().unwrap().n_mmaps >= 120);
}

#[test]
fn without_pins_nothing_is_left() {
    let (nginx, _leak) = leaked(&LeakPlan::new(40, 200).without_pins(), &[]);
    let stated = generations(&nginx);
    let snapshot = snapshot_of(&nginx);
    check_whole(&snapshot);
    check_pools(&snapshot, &stated);
    let is_leak = |finding: &Finding| matches!(finding, Finding::DeletedButReferenced { .. });
    assert!(!snapshot.findings.iter().any(is_leak), "{:?}", snapshot.findings);
}

#[test]
fn released_generations_wait_unreferenced_for_the_next_look_up() {
    let (nginx, mut leak) = leaked(&LeakPlan::new(20, 50), &[]);
    leak.release(&nginx, 5).unwrap();
    let snapshot = snapshot_of(&nginx);
    check_whole(&snapshot);
    check_pools(&snapshot, &generations(&nginx));
    let unreferenced = snapshot.owners.iter().find(|owner| owner.owner == "dyups.unreferenced").unwrap();
    assert_eq!(unreferenced.pools, 5);
    let finding = |finding: &Finding| matches!(finding, Finding::DeletedAndUnreferenced { pools: 5, .. });
    assert!(snapshot.findings.iter().any(finding), "{:?}", snapshot.findings);
}

#[test]
fn requests_and_connections_are_named_from_their_roots() {
    let (nginx, leak) = leaked(&LeakPlan::new(12, 20), &[]);
    let snapshot = snapshot_of(&nginx);
    check_whole(&snapshot);
    let pools = |owner: &str| snapshot.pools.iter().filter(|pool| pool.owner.kind == owner).count();
    assert_eq!(leak.pinned(), 12);
    assert_eq!((pools("request"), pools("upstream_connection"), pools("cycle")), (12, 12, 1));
    assert!(pools("connection") >= 12);
    assert_eq!(snapshot.pool_check.only_by_signature, [], "every pool of this worker has a known owner");
    for pool in snapshot.pools.iter().filter(|pool| pool.owner.kind == "request") {
        assert!(pool.path().starts_with("((ngx_http_request_t *) ngx_cycle->connections["), "{}", pool.path());
        assert_eq!(pool.block_size, 4096);
    }
}

#[test]
fn a_master_and_a_reloaded_worker_are_read_as_well() {
    let nginx = Nginx::builder().start().unwrap();
    let leak = Leak::run(&nginx, &LeakPlan::new(5, 30), |_| ()).unwrap();
    nginx.reload().unwrap();
    let options = Options { debug: SearchOptions::from_environment(), with_chunks: true, ..Options::default() };
    let shutting_down = nginx.shutting_down_pids();
    assert_eq!(shutting_down.len(), 1, "the pinned requests keep the old worker");
    for pid in [nginx.master_pid(), nginx.worker_pid().unwrap(), shutting_down[0]] {
        let snapshot = take(pid as i32, &options, &Silent).unwrap();
        check_whole(&snapshot);
    }
    let old = take(shutting_down[0] as i32, &options, &Silent).unwrap();
    assert_eq!(old.process.role, "worker shutting down");
    let clients = old.pools.iter().filter(|pool| pool.owner.kind == "connection").count() as u64;
    let is_kept =
        |finding: &Finding| matches!(finding, Finding::ShuttingDown { clients: kept, .. } if *kept == clients);
    assert!(clients >= 5 && old.findings.iter().any(is_kept), "{:?}", old.findings);
    assert_eq!(old.owners.iter().find(|owner| owner.owner == "dyups.deleting").map(|owner| owner.pools), Some(4));
    drop(leak);
}
