//! Pools and other memory that nobody points to are told from all the rest, by the same process that says what it has lost.

use poolscope::analysis::{Options, Silent, take};
use poolscope::debug::SearchOptions;
use poolscope::snapshot::finding::Finding;
use poolscope::snapshot::model::{ChunkGroup, Snapshot};
use poolscope::snapshot::pool::PoolRow;
use poolscope_fixtures::{Habit, Nginx};
use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn snapshot_of(pid: i32) -> Snapshot {
    let options = Options { debug: SearchOptions::from_environment(), ..Options::default() };
    take(pid, &options, &Silent).unwrap()
}

fn worker_snapshot(nginx: &Nginx) -> Snapshot {
    snapshot_of(nginx.worker_pid().unwrap() as i32)
}

fn unreachable(snapshot: &Snapshot) -> BTreeSet<u64> {
    let pools = snapshot.pools.iter().filter(|pool| pool.owner.kind == "unreachable_pool");
    pools.map(|pool| pool.address.0).collect()
}

fn group<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a ChunkGroup> {
    snapshot.groups.iter().find(|group| group.owner == "unreferenced" && group.name == name)
}

/// Bytes in use that have an owner, in per mille.
fn owned(snapshot: &Snapshot) -> u64 {
    let unknown =
        snapshot.owners.iter().filter(|owner| ["outside_pools", "unknown_pool"].contains(&owner.owner.as_str()));
    let unknown: u64 = unknown.map(|owner| owner.bytes).sum();
    1000 - unknown * 1000 / snapshot.in_use_bytes().max(1)
}

#[test]
fn leaked_pools_and_no_others_are_unreachable() {
    let nginx = Nginx::builder().start().unwrap();
    for habit in ["static", "location", "opaque"] {
        nginx.make_habit(habit, 1).unwrap();
    }
    for habit in ["array", "queue", "rbtree", "list", "hash", "malloced", "timer", "leaked"] {
        nginx.make_habit(habit, 7).unwrap();
    }
    let habits = nginx.habits().unwrap();
    let leaked: BTreeSet<u64> =
        habits.iter().filter(|habit| habit.habit == "leaked").map(|habit: &Habit| habit.pool).collect();
    let snapshot = worker_snapshot(&nginx);
    assert_eq!(unreachable(&snapshot), leaked);
    let found = snapshot.findings.iter().find_map(|finding| match finding {
        Finding::UnreachablePools { pools, bytes, block_size, cleanups, .. } => {
            Some((*pools, *bytes, *block_size, cleanups))
        }
        _ => None,
    });
    let stated: u64 = habits.iter().filter(|habit| habit.habit == "leaked").map(|habit| habit.bytes).sum();
    let (pools, bytes, block_size, cleanups) = found.expect("the lost pools stand out");
    assert_eq!((pools, bytes, block_size), (7, stated, 1808));
    assert!(!cleanups.is_empty(), "they have a cleanup handler");
}

#[test]
fn what_was_lost_outside_pools_is_counted_by_kind() {
    let nginx = Nginx::builder().start().unwrap();
    for (what, count, size) in [("session", 120, 0), ("block", 700, 200), ("plain", 300, 2500)] {
        nginx.lose(what, count, size).unwrap();
    }
    let snapshot = worker_snapshot(&nginx);
    let count = |name: &str| group(&snapshot, name).map_or(0, |group| group.chunks);
    // nginx leaves a few words that point to configuration memory which it has freed. They lead to what was lost first, here
    // to sessions, which only the address of their start holds. Once in dozens of runs such a word leads to another chunk, too.
    for (name, lost) in [("SSL_SESSION", 120), ("ngx_http_habits_lost_ops", 700), ("chunk of 2512 bytes", 300)] {
        assert!((lost - 2..=lost).contains(&count(name)), "{} {name}\n{:#?}", count(name), snapshot.groups);
    }
    let named: Vec<(&str, u64)> = snapshot
        .findings
        .iter()
        .filter_map(|finding| match finding {
            Finding::Unreferenced { name, chunks, .. } => Some((name.as_str(), *chunks)),
            _ => None,
        })
        .collect();
    for name in ["SSL_SESSION", "ngx_http_habits_lost_ops", "chunk of 2512 bytes"] {
        assert!(named.contains(&(name, count(name))), "{named:?}");
    }
}

/// A free connection keeps the addresses of its pool and of what lay in that. Where they led, lost pools lie now.
#[test]
fn what_closed_connections_have_left_hides_no_lost_pool() {
    const CLIENTS: usize = 200;
    const LOST: usize = 60;
    let nginx = Nginx::builder().start().unwrap();
    let address = format!("127.0.0.1:{}", nginx.ports().http);
    let clients: Vec<TcpStream> = (0..CLIENTS)
        .map(|_| {
            let mut client = TcpStream::connect(&address).unwrap();
            // A request that is not whole: nginx has made a pool for the connection and one for the request.
            client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n").unwrap();
            client
        })
        .collect();
    let active = || nginx.stub_status().unwrap().active;
    wait_until("all clients are accepted", || active() > CLIENTS);
    drop(clients);
    wait_until("all clients are gone", || active() < 3);
    nginx.make_habit("leaked", LOST).unwrap();
    let habits = nginx.habits().unwrap();
    let leaked: BTreeSet<u64> =
        habits.iter().filter(|habit| habit.habit == "leaked").map(|habit: &Habit| habit.pool).collect();
    let snapshot = worker_snapshot(&nginx);
    let found = unreachable(&snapshot);
    assert!(found.is_subset(&leaked));
    // Some can lie where `cf->temp_pool` was, to which the configuration still points. No slot of a connection holds one.
    let hidden: Vec<&PoolRow> = snapshot
        .pools
        .iter()
        .filter(|pool| leaked.contains(&pool.address.0) && !found.contains(&pool.address.0))
        .collect();
    assert_eq!(found.len() + hidden.len(), LOST);
    let is_by_configuration = |pool: &&PoolRow| {
        pool.path() == "pointed to from the pool ngx_cycle->pool" || pool.path().starts_with("ngx_cycle->conf_ctx[")
    };
    assert!(hidden.len() < LOST / 4 && hidden.iter().all(is_by_configuration), "{hidden:#?}");
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(90);
    while !is_so() {
        assert!(Instant::now() < end, "{what}: not within 90 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn groups_of_a_worker_have_names_of_their_own_and_say_which_paths_are_examples() {
    let nginx = Nginx::builder().start().unwrap();
    let snapshot = worker_snapshot(&nginx);
    let mut names: Vec<(&str, &str)> =
        snapshot.groups.iter().map(|group| (group.owner.as_str(), group.name.as_str())).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "{:#?}", snapshot.groups);
    let is_example = |group: &&ChunkGroup| group.path.ends_with(", for example");
    let examples: Vec<&ChunkGroup> = snapshot.groups.iter().filter(is_example).collect();
    assert!(examples.iter().all(|group| group.chunks > 1), "{examples:#?}");
    assert!(!examples.is_empty(), "{:#?}", snapshot.groups);
}

/// The configuration's `server_names` and `ports` point to memory of `cf->temp_pool`, which nginx has freed. What is there
/// now counts as held, because it cannot be told from what a module keeps by a pointer to its middle: a few are missing from
/// the lost ones, and never is one too many.
#[test]
fn stale_words_hold_a_few_plain_chunks_and_no_session() {
    let nginx = Nginx::builder().start().unwrap();
    nginx.lose("plain", 300, 2500).unwrap();
    nginx.lose("session", 120, 0).unwrap();
    let snapshot = worker_snapshot(&nginx);
    let count = |name: &str| group(&snapshot, name).map_or(0, |group| group.chunks);
    assert_eq!(count("SSL_SESSION"), 120, "{:#?}", snapshot.groups);
    let plain = count("chunk of 2512 bytes");
    assert!((296..=300).contains(&plain), "{plain}: {:#?}", snapshot.groups);
}

#[test]
fn nearly_all_that_is_in_use_has_an_owner_in_worker_and_master() {
    let nginx = Nginx::builder().start().unwrap();
    let worker = worker_snapshot(&nginx);
    let master = snapshot_of(nginx.master_pid() as i32);
    assert!(owned(&worker) >= 990, "{:#?}", worker.groups);
    assert!(owned(&master) >= 990, "{:#?}", master.groups);
    assert_eq!((unreachable(&worker), unreachable(&master)), (BTreeSet::new(), BTreeSet::new()));
}

#[test]
fn no_pool_of_a_worker_at_work_is_called_unreachable() {
    let nginx = Nginx::builder().start().unwrap();
    let worker = nginx.worker_pid().unwrap() as i32;
    let url = format!("https://127.0.0.1:{}/small", nginx.ports().https);
    let mut load = std::process::Command::new("wrk")
        .args(["--threads", "1", "--connections", "32", "--duration", "300s", &url])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("wrk is there: fixtures/prerequisites.sh tests");
    for round in 0..40 {
        // Every other time in stops so short that there are several.
        let max_pause = (round % 2 == 1).then_some(Duration::from_millis(2));
        let snapshot = take(worker, &Options { max_pause, ..Options::default() }, &Silent).unwrap();
        assert_eq!(unreachable(&snapshot), BTreeSet::new(), "{:#?}", snapshot.findings);
        let lost: Vec<_> = snapshot.groups.iter().filter(|group| group.owner == "unreferenced").collect();
        assert!(lost.is_empty(), "{lost:#?}");
    }
    load.kill().unwrap();
    load.wait().unwrap();
}
