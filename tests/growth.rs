//! Differences between snapshots of a real nginx to which a known thing was done in between.

use poolscope::analysis::{Options, Silent, take};
use poolscope::debug::SearchOptions;
use poolscope::diff::{Diff, Fate, Moved, Relation, Steadiness, Trend, Verdict};
use poolscope::snapshot::file::{Wanted, load, save};
use poolscope::snapshot::model::Snapshot;
use poolscope_fixtures::{Leak, LeakPlan, Nginx};

fn options() -> Options {
    Options { debug: SearchOptions::from_environment(), with_chunks: true, ..Options::default() }
}

/// A snapshot of the process that has been saved and read again.
fn saved(pid: u32) -> Snapshot {
    let snapshot = take(pid as i32, &options(), &Silent).unwrap();
    let folder = std::env::temp_dir().join(format!("poolscope-growth-{}-{pid}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("worker.snap");
    save(&snapshot, &path).unwrap();
    let loaded = load(&path, Wanted::POOLS).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    loaded
}

fn worker(nginx: &Nginx) -> Snapshot {
    saved(nginx.worker_pid().unwrap())
}

/// How many pools of a kind appeared, and how many are gone.
fn traffic(diff: &Diff<'_>, kind: &str) -> (u64, u64) {
    let of_kind = diff.pools.as_ref().unwrap().by_kind.get(kind).copied().unwrap_or_default();
    (of_kind.appeared, of_kind.gone)
}

fn moved<'a>(diff: &'a Diff<'_>, from: &str, to: &str) -> Option<&'a Moved<'a>> {
    diff.pools.as_ref().unwrap().moved.iter().find(|moved| moved.from == from && moved.to == to)
}

fn pools_of(diff: &Diff<'_>, kind: &str) -> i128 {
    diff.owners.iter().find(|owner| owner.owner == kind).map_or(0, |owner| owner.pools.by())
}

#[test]
fn generations_that_were_added_and_requests_that_ended_are_counted_exactly() {
    const BEFORE: usize = 20;
    const ADDED: u64 = 25;
    const ENDED: u64 = 7;
    let nginx = Nginx::builder().start().unwrap();
    let mut leak = Leak::run(&nginx, &LeakPlan::new(BEFORE, 60), |_| ()).unwrap();
    let old = worker(&nginx);
    let added = Leak::run(&nginx, &LeakPlan::new(ADDED as usize, 60), |_| ()).unwrap();
    leak.release(&nginx, ENDED as usize).unwrap();
    let new = worker(&nginx);
    let diff = Diff::between(&old, &new);

    assert_eq!(diff.related.relation, Relation::SameProcess);
    assert_eq!(diff.related.assumed_from, None);
    for kind in ["request", "upstream_connection", "connection"] {
        assert_eq!(traffic(&diff, kind), (ADDED, ENDED), "{kind}");
    }
    // All but the last of the new generations are deleting; the one that was live before is deleting now, and those whose
    // requests ended wait unreferenced.
    assert_eq!(traffic(&diff, "dyups.deleting"), (ADDED - 1, 0));
    assert_eq!(traffic(&diff, "dyups.live"), (1, 0));
    assert_eq!(moved(&diff, "dyups.live", "dyups.deleting").unwrap().pools, 1);
    assert_eq!(moved(&diff, "dyups.deleting", "dyups.unreferenced").unwrap().pools, ENDED);
    assert_eq!(pools_of(&diff, "dyups.deleting"), i128::from(ADDED) - i128::from(ENDED));
    assert_eq!(pools_of(&diff, "cycle"), 0);

    let pools = diff.pools.as_ref().unwrap();
    let all = |fate| pools.tally(fate).pools;
    assert_eq!(all(Fate::Appeared), ADDED * 4);
    assert_eq!(all(Fate::Gone), ENDED * 3);
    assert_eq!(new.pools.len() as u64, old.pools.len() as u64 + all(Fate::Appeared) - all(Fate::Gone));
    let of_pools: i128 =
        [Fate::Appeared, Fate::Gone, Fate::Grown, Fate::Shrunk].into_iter().map(|fate| pools.tally(fate).change).sum();
    let bytes = |snapshot: &Snapshot| snapshot.pools.iter().map(|pool| i128::from(pool.bytes())).sum::<i128>();
    assert_eq!(of_pools, bytes(&new) - bytes(&old));
    assert_eq!(diff.growth_in_use(), Some(i128::from(new.in_use_bytes()) - i128::from(old.in_use_bytes())));
    assert!(matches!(diff.judgement.verdict, Verdict::InUse), "{:?}", diff.judgement);
    let suspect = diff.suspects.first().unwrap();
    assert!(suspect.owner.starts_with("dyups."), "{suspect:?}");
    drop(added);
}

#[test]
fn nothing_grows_where_nobody_holds_a_generation() {
    let nginx = Nginx::builder().start().unwrap();
    let plan = LeakPlan::new(40, 200).without_pins();
    // Once before the first snapshot, so that buffers and the array of upstreams have their size.
    drop(Leak::run(&nginx, &plan, |_| ()).unwrap());
    let old = worker(&nginx);
    drop(Leak::run(&nginx, &plan, |_| ()).unwrap());
    let new = worker(&nginx);
    let diff = Diff::between(&old, &new);
    assert_eq!(diff.growth_in_use(), Some(0), "{:?}", diff.owners);
    assert_eq!((pools_of(&diff, "dyups.live"), pools_of(&diff, "dyups.deleting")), (0, 0));
    assert!(matches!(diff.judgement.verdict, Verdict::Nothing), "{:?}", diff.judgement);
    assert!(diff.suspects.is_empty(), "{:?}", diff.suspects);
}

#[test]
fn a_leak_that_goes_on_is_a_steady_trend() {
    let nginx = Nginx::builder().start().unwrap();
    let mut held = vec![Leak::run(&nginx, &LeakPlan::new(5, 100), |_| ()).unwrap()];
    let mut snapshots = vec![worker(&nginx)];
    for _ in 0..4 {
        held.push(Leak::run(&nginx, &LeakPlan::new(6, 100), |_| ()).unwrap());
        snapshots.push(worker(&nginx));
    }
    // The tests' machine decides how long each step takes: here one per hour.
    for (hour, snapshot) in snapshots.iter_mut().enumerate() {
        snapshot.taken_at = 1_772_000_000.0 + 3600.0 * hour as f64;
    }
    let trend = Trend::of(&snapshots).unwrap();
    assert_eq!(trend.overall.pools.as_ref().unwrap().by_kind["request"].appeared, 24);
    let words = trend.summary().join(" ");
    assert!(words.contains("4 of 4 intervals"), "{words}");
    assert_eq!(trend.in_use.as_ref().unwrap().steadiness, Steadiness::Steady);
}

#[test]
fn a_reload_a_sibling_and_a_restart_are_told_apart() {
    let nginx = Nginx::builder().workers(2).start().unwrap();
    let pids = nginx.worker_pids();
    let (one, other, master) = (saved(pids[0]), saved(pids[1]), saved(nginx.master_pid()));
    assert_eq!(Diff::between(&one, &other).related.relation, Relation::Sibling);
    assert_eq!(Diff::between(&one, &master).related.relation, Relation::NotComparable);
    nginx.reload().unwrap();
    let reloaded = saved(nginx.worker_pids()[0]);
    let diff = Diff::between(&one, &reloaded);
    assert_eq!(diff.related.relation, Relation::AfterReload, "{}", diff.related.sentence);
    assert!(diff.pools.is_none(), "single pools of two processes are not compared");
    let diff_of_masters = saved(nginx.master_pid());
    assert_eq!(Diff::between(&master, &diff_of_masters).related.relation, Relation::ReloadedInPlace);
    drop(nginx);
    let restarted = Nginx::builder().start().unwrap();
    let after = worker(&restarted);
    assert_eq!(Diff::between(&one, &after).related.relation, Relation::OtherMaster);
}

#[test]
fn a_worker_that_was_killed_is_followed_by_one_of_the_same_configuration() {
    let nginx = Nginx::builder().start().unwrap();
    let old_pid = nginx.worker_pid().unwrap();
    let old = saved(old_pid);
    // Start times are told in whole seconds of age: the new worker must be younger than the old snapshot by more.
    std::thread::sleep(std::time::Duration::from_secs(2));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(old_pid as i32), nix::sys::signal::Signal::SIGKILL).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(90);
    let new_pid = loop {
        match nginx.worker_pid() {
            Ok(pid) if pid != old_pid => break pid,
            _ => assert!(std::time::Instant::now() < deadline, "the master started no other worker"),
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    let new = saved(new_pid);
    let diff = Diff::between(&old, &new);
    assert_eq!(diff.related.relation, Relation::Respawned, "{}", diff.related.sentence);
}
