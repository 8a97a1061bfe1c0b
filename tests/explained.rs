//! What is at an address of a real nginx, told of the live process, of its core, and of a saved snapshot.

use poolscope::analysis::{Explained, Options, Silent, explain_core, explain_live, explain_saved};
use poolscope::debug::SearchOptions;
use poolscope::malloc::chunk::ChunkState;
use poolscope::snapshot::explanation::Explanation;
use poolscope::snapshot::model::Snapshot;
use poolscope::snapshot::pool::PoolRow;
use poolscope_fixtures::{Leak, LeakPlan, Nginx, cores};

fn options() -> Options {
    Options { debug: SearchOptions::from_environment(), with_chunks: true, ..Options::default() }
}

fn deleting_pool(snapshot: &Snapshot) -> &PoolRow {
    snapshot.pools.iter().find(|pool| pool.owner.kind == "dyups.deleting").unwrap()
}

/// What all three must say alike: chunk, pool, and place in the pool.
fn same(one: &Explanation, other: &Explanation) {
    assert_eq!(one.address, other.address);
    assert_eq!(one.chunk, other.chunk);
    assert_eq!(one.pool, other.pool);
    assert_eq!(one.place_in_pool, other.place_in_pool);
}

fn owners<'a>(explanation: &'a Explanation, owner: &str) -> Vec<&'a str> {
    let list = &explanation.referrers.as_ref().unwrap().list;
    list.iter().filter(|referrer| referrer.owner == owner).map(|referrer| referrer.place.as_str()).collect()
}

#[test]
fn an_address_is_explained_alike_from_process_core_and_file() {
    let nginx = Nginx::builder().start().unwrap();
    let leak = Leak::run(&nginx, &LeakPlan::new(8, 300), |_| ()).unwrap();
    let pid = nginx.worker_pid().unwrap();
    let (snapshot, _) = explain_live(pid as i32, &[], &options(), &Silent).unwrap();
    let pool = deleting_pool(&snapshot);
    let chunks = snapshot.chunks.as_ref().unwrap();
    let index = snapshot.pools.iter().position(|row| row.address == pool.address).unwrap() as u32;
    let largest = chunks.iter().filter(|chunk| chunk.pool == Some(index)).max_by_key(|chunk| chunk.size).unwrap();
    let block = pool.second_block.unwrap().0;
    let free = chunks.iter().find(|chunk| chunk.state == ChunkState::Top).unwrap();
    let addresses = [pool.address.0, block + 40, largest.address + 8, largest.address - 8, free.address + 64, 0x10];

    let (_, live): Explained = explain_live(pid as i32, &addresses, &options(), &Silent).unwrap();
    let places: Vec<_> = live.iter().map(|explanation| explanation.place_in_pool).collect();
    assert_eq!(places, [Some("header"), Some("block"), Some("large"), Some("large"), None, None]);
    let offsets: Vec<_> = live.iter().map(|explanation| explanation.chunk.as_ref().map(|chunk| chunk.offset)).collect();
    assert_eq!(offsets, [Some(0), Some(40), Some(8), Some(-8), Some(64), None]);
    assert!(live[..4].iter().all(|explanation| explanation.pool.as_ref().unwrap().path() == pool.path()));
    assert_eq!(live[0].mapping.as_ref().unwrap().what, "brk heap");
    assert!(!live[0].referrers.as_ref().unwrap().exact);
    assert!(live[5].mapping.is_none() && live[5].referrers.is_none() && live[5].what == "nothing is mapped at 0x10");
    // The slot of dy_upstreams, which lies in the cycle's pool, points to the generation's pool; the request that holds the
    // generation points into it.
    assert!(owners(&live[0], "cycle").contains(&"ngx_cycle->pool"), "{:?}", live[0].referrers);
    assert!(!owners(&live[0], "request").is_empty(), "{:?}", live[0].referrers);

    let folder = std::env::temp_dir().join(format!("poolscope-explained-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let core = cores::gcore(pid, &folder).unwrap();
    let (_, of_core) = explain_core(&core, &addresses, &options(), &Silent).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    for (one, other) in live.iter().zip(&of_core) {
        same(one, other);
    }
    assert!(of_core[0].referrers.as_ref().unwrap().exact);
    assert!(owners(&of_core[0], "cycle").contains(&"ngx_cycle->pool"));

    for (one, other) in live.iter().zip(&explain_saved(&snapshot, &addresses)) {
        same(one, other);
        assert!(other.mapping.is_none() && other.referrers.is_none() && !other.notes.is_empty());
    }
    drop(leak);
}

#[test]
fn a_variable_is_named_and_those_who_point_to_it_are_found() {
    let nginx = Nginx::builder().start().unwrap();
    let pid = nginx.worker_pid().unwrap() as i32;
    let (snapshot, _) = explain_live(pid, &[], &options(), &Silent).unwrap();
    let cycle_pool = snapshot.pools.iter().find(|pool| pool.owner.kind == "cycle").unwrap();
    let (_, explained) = explain_live(pid, &[cycle_pool.address.0], &options(), &Silent).unwrap();
    let list = &explained[0].referrers.as_ref().unwrap().list;
    let variable = list.iter().find(|referrer| referrer.place == "ngx_cycle").unwrap();
    let (_, explained) = explain_live(pid, &[variable.at.unwrap().0], &options(), &Silent).unwrap();
    let symbol = explained[0].symbol.as_ref().unwrap();
    assert_eq!((symbol.name.as_str(), symbol.offset), ("ngx_cycle", 0));
    assert!(explained[0].chunk.is_none());
}
