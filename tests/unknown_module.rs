//! Modules that no file of poolscope knows, in snapshots of a real nginx: their pools are named by their types alone, and the
//! pools that they have lost, and no others, are unreachable.

use poolscope::analysis::{Options, Silent, take};
use poolscope::debug::SearchOptions;
use poolscope::snapshot::finding::Finding;
use poolscope::snapshot::model::Snapshot;
use poolscope::snapshot::pool::{PoolRow, Trust};
use poolscope_fixtures::{Habit, Leak, LeakPlan, MIXED, MixedLoad, MixedPlan, Nginx, State};
use std::collections::{BTreeMap, BTreeSet};

fn snapshot_with(pid: u32, without: &[&str]) -> Snapshot {
    let without = without.iter().map(|what| (*what).to_owned()).collect();
    let options = Options { debug: SearchOptions::from_environment(), without, ..Options::default() };
    take(pid as i32, &options, &Silent).unwrap()
}

fn snapshot_of(pid: u32) -> Snapshot {
    snapshot_with(pid, &[])
}

/// Makes pools in every unusual way; of the ways that allow it, `count`.
fn make_habits(nginx: &Nginx, count: usize) -> Vec<Habit> {
    for habit in ["static", "location", "opaque"] {
        nginx.make_habit(habit, 1).unwrap();
    }
    for habit in ["array", "queue", "rbtree", "list", "hash", "malloced", "timer", "leaked"] {
        nginx.make_habit(habit, count).unwrap();
    }
    nginx.habits().unwrap()
}

fn leaked(habits: &[Habit]) -> BTreeSet<u64> {
    habits.iter().filter(|habit| habit.habit == "leaked").map(|habit| habit.pool).collect()
}

fn unreachable(snapshot: &Snapshot) -> BTreeSet<u64> {
    let pools = snapshot.pools.iter().filter(|pool| pool.owner.kind == "unreachable_pool");
    pools.map(|pool| pool.address.0).collect()
}

/// Nothing else than these is unreachable. In a worker under load the address of one of them may be left over in a buffer or on a
/// stack for a moment, and then it is not said to be lost.
fn assert_lost(snapshot: &Snapshot, leaked: &BTreeSet<u64>, name: &str) {
    let lost = unreachable(snapshot);
    assert!(lost.is_subset(leaked) && lost.len() + 1 >= leaked.len(), "{name}: {:#?}", snapshot.findings);
}

fn by_address(snapshot: &Snapshot) -> BTreeMap<u64, &PoolRow> {
    snapshot.pools.iter().map(|pool| (pool.address.0, pool)).collect()
}

/// What each habit's pools are: kind, name, and a part of their paths that tells the way.
const HABITS: [(&str, &str, &str, &str); 10] = [
    ("static", "module", "ngx_http_habits_pointers.c", "habits_static_pool (ngx_http_habits_pointers.c)"),
    ("location", "module", "ngx_http_habits_module", "->loc_conf[ngx_http_habits_module]->pool"),
    ("array", "module", "ngx_http_habits_module", "->main_conf[ngx_http_habits_module]->entries[#].pool"),
    ("queue", "module", "ngx_http_habits_module", "->main_conf[ngx_http_habits_module]->jobs[#].pool"),
    ("rbtree", "module", "ngx_http_habits_module", "->main_conf[ngx_http_habits_module]->leases[#].pool"),
    ("opaque", "module", "ngx_http_habits_module", "->main_conf[ngx_http_habits_module]->opaque)->pool"),
    ("list", "module", "ngx_http_habits_module", "->main_conf[ngx_http_habits_module]->tickets[#].pool"),
    ("hash", "module", "ngx_http_habits_module", "->main_conf[ngx_http_habits_module]->table[#]"),
    ("malloced", "module", "ngx_http_habits_pointers.c", "habits_records"),
    ("timer", "timer", "ngx_http_habits", "ngx_event_timer_rbtree"),
];

/// The path with every number replaced.
fn without_numbers(path: &str) -> String {
    let mut parts = path.split('[');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| match part.split_once(']') {
        Some((index, rest)) if index.bytes().all(|byte| byte.is_ascii_digit()) => format!("{text}[#]{rest}"),
        _ => format!("{text}[{part}"),
    })
}

#[test]
fn the_pools_of_every_habit_are_named_and_the_leaked_ones_are_unreachable() {
    let nginx = Nginx::builder().start().unwrap();
    let habits = make_habits(&nginx, 40);
    let snapshot = snapshot_of(nginx.worker_pid().unwrap());
    let pools = by_address(&snapshot);
    let mut wrong = Vec::new();
    for habit in &habits {
        let pool = pools.get(&habit.pool).unwrap_or_else(|| panic!("{habit:?} is no pool"));
        assert_eq!((pool.bytes(), pool.block_size), (habit.bytes, habit.size), "{habit:?}");
        let Some((_, kind, name, way)) = HABITS.iter().find(|(known, ..)| *known == habit.habit) else {
            assert_eq!((habit.habit.as_str(), pool.owner.kind.as_str()), ("leaked", "unreachable_pool"));
            continue;
        };
        let path = without_numbers(&pool.path());
        let owner = &pool.owner;
        let is_right = owner.kind == *kind
            && owner.name.as_deref().is_some_and(|stated| stated.contains(name))
            && path.contains(way)
            && matches!(owner.trust, Trust::TypedPath | Trust::InferredPath);
        if !is_right {
            wrong.push(format!("{}: {} {:?} {:?} {path}", habit.habit, owner.kind, owner.name, owner.trust));
        }
    }
    wrong.dedup();
    assert_eq!(wrong, Vec::<String>::new());

    assert_eq!(unreachable(&snapshot), leaked(&habits));
    let found: Vec<_> =
        snapshot.findings.iter().filter(|finding| matches!(finding, Finding::UnreachablePools { .. })).collect();
    let [Finding::UnreachablePools { pools, bytes, block_size, cleanups, .. }] = found[..] else {
        panic!("one finding for pools that are alike: {found:#?}");
    };
    let lost: Vec<&Habit> = habits.iter().filter(|habit| habit.habit == "leaked").collect();
    assert_eq!((*pools, *bytes), (40, lost.iter().map(|habit| habit.bytes).sum()));
    assert_eq!(*block_size, lost[0].size);
    assert!(!cleanups.is_empty() && cleanups.iter().all(|name| name.contains("ngx_http_habits")), "{cleanups:?}");
}

/// An old worker that shuts down, a new one and the master, with everything that the fixtures can do.
#[test]
fn no_pool_but_the_leaked_ones_is_ever_unreachable() {
    let nginx = Nginx::builder().config(MIXED).start().unwrap();
    let leak = Leak::run(&nginx, &LeakPlan::new(20, 20), |_| ()).unwrap();
    let of_old = leaked(&make_habits(&nginx, 10));
    let load = MixedLoad::start(&nginx, &MixedPlan::default()).unwrap();
    let old = nginx.worker_pid().unwrap();
    for round in 0..4 {
        assert_lost(&snapshot_of(old), &of_old, &format!("alone, round {round}"));
    }
    nginx.reload().unwrap();
    let new = nginx.worker_pid().unwrap();
    assert!(new != old && nginx.shutting_down_pids().contains(&old));
    let of_new = leaked(&make_habits(&nginx, 10));
    for round in 0..8 {
        let snapshot = snapshot_of(old);
        assert_eq!(snapshot.process.role, "worker shutting down");
        assert_lost(&snapshot, &of_old, &format!("old worker, round {round}"));
        assert_lost(&snapshot_of(new), &of_new, &format!("new worker, round {round}"));
        assert_lost(&snapshot_of(nginx.master_pid()), &BTreeSet::new(), &format!("master, round {round}"));
    }
    drop((load, leak));
}

#[test]
fn dyups_comes_out_right_with_its_own_finder_left_out() {
    let nginx = Nginx::builder().start().unwrap();
    let leak = Leak::run(&nginx, &LeakPlan::new(60, 30), |_| ()).unwrap();
    let stated: Vec<_> = nginx.detail().unwrap().into_iter().filter(|entry| entry.state != State::Deleted).collect();
    assert!(stated.len() >= 60, "{}", stated.len());
    let worker = nginx.worker_pid().unwrap();
    let is_dyups = |pool: &&PoolRow| pool.owner.kind.starts_with("dyups.");
    assert_eq!(snapshot_of(worker).pools.iter().filter(is_dyups).count(), stated.len());

    let snapshot = snapshot_with(worker, &["dyups upstreams"]);
    assert_eq!(snapshot.pools.iter().filter(is_dyups).count(), 0);
    let pools = by_address(&snapshot);
    for generation in &stated {
        let pool = pools.get(&generation.pool).unwrap_or_else(|| panic!("{generation:?} is no pool"));
        assert_eq!((pool.owner.kind.as_str(), pool.bytes()), ("module", generation.bytes), "{}", pool.path());
        assert_eq!(pool.owner.name.as_deref(), Some("ngx_http_dyups_module"));
        assert_eq!(pool.owner.trust, Trust::InferredPath);
        let way = format!("dy_upstreams[{}].pool", generation.slot);
        assert!(pool.path().ends_with(&way), "{} does not end with {way}", pool.path());
    }
    assert_eq!(unreachable(&snapshot), BTreeSet::new());
    drop(leak);
}
