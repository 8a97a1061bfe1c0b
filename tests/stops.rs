//! Several short stops instead of a long one: what is found is the same, and the target runs on whatever happens.

use poolscope::analysis::{Options, Progress, Silent, SnapshotError, take};
use poolscope::debug::SearchOptions;
use poolscope::snapshot::model::Snapshot;
use poolscope::target::freeze::FreezeError;
use poolscope::target::live::LiveMemory;
use poolscope::target::memory::{Memory, Moment};
use poolscope::target::stops::{StopLimits, read_stopped};
use poolscope_fixtures::{Helper, HelperKind, Leak, LeakPlan, Nginx};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn options(max_pause: Option<Duration>) -> Options {
    Options { debug: SearchOptions::from_environment(), max_pause, ..Options::default() }
}

fn is_traced(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    !status.lines().any(|line| line == "TracerPid:\t0")
}

/// What of a snapshot does not depend on when it was taken.
fn lasting(snapshot: &Snapshot) -> Vec<(u64, u64, u64, String)> {
    let mut pools: Vec<_> = snapshot
        .pools
        .iter()
        .map(|pool| (pool.address.0, pool.bytes(), pool.block_size, pool.owner.kind.clone()))
        .collect();
    pools.sort();
    pools
}

/// On a busy machine a stop of two milliseconds may leave no time to read two pieces: the books say so, and it is tried again.
fn in_short_stops(pid: i32) -> Snapshot {
    let is_too_short = |snapshot: &Snapshot| {
        let books = snapshot.books.as_ref().unwrap();
        books.problems.iter().any(|problem| problem.contains("give a longer --max-pause"))
    };
    let tries = std::iter::repeat_with(|| take(pid, &options(Some(Duration::from_millis(2))), &Silent).unwrap());
    tries.take(5).find(|snapshot| !is_too_short(snapshot)).expect("one of five tries is long enough")
}

#[test]
fn a_heap_at_rest_is_found_the_same_in_one_stop_and_in_many() {
    let nginx = Nginx::builder().start().unwrap();
    let _leak = Leak::run(&nginx, &LeakPlan::new(120, 1030), |_| ()).unwrap();
    let worker = nginx.worker_pid().unwrap();
    let one = take(worker as i32, &options(None), &Silent).unwrap();
    let many = in_short_stops(worker as i32);
    let stops = |snapshot: &Snapshot| snapshot.freeze.as_ref().unwrap().stops;
    assert_eq!(stops(&one), 1);
    assert!(stops(&many) > 2, "{}", stops(&many));
    assert_eq!(many.books.as_ref().unwrap().problems, Vec::<String>::new());
    assert_eq!(many.coverage, Some(1.0));
    assert_eq!(many.freeze.as_ref().unwrap().seams.changed, 0);
    assert_eq!(lasting(&many), lasting(&one));
    assert!(!is_traced(worker));
}

/// Prepares for long, and notes when that has come to its end.
#[derive(Debug, Default)]
struct Slow(Mutex<Option<SystemTime>>);

impl Progress for Slow {
    fn step(&self, what: &str) {
        if what.starts_with("rehearsing") {
            std::thread::sleep(Duration::from_millis(1200));
            *self.0.lock().unwrap() = Some(SystemTime::now());
        }
    }
}

#[test]
fn a_snapshot_is_of_the_moment_of_its_stop_and_not_of_its_preparation() {
    let target = Helper::start(HelperKind::Churn(1)).unwrap();
    for longest in [None, Some(Duration::from_millis(20))] {
        let slow = Slow::default();
        // On a busy machine a thread may get no processor for its stop.
        let tries = std::iter::repeat_with(|| take(target.pid() as i32, &options(longest), &slow));
        let snapshot = tries.take(5).find_map(Result::ok).expect("one of five tries");
        let since_1970 = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let prepared = since_1970(slow.0.lock().unwrap().unwrap());
        // It has milliseconds, cut off.
        assert!(
            (prepared - 0.001..=since_1970(SystemTime::now())).contains(&snapshot.taken_at),
            "{}",
            snapshot.taken_at
        );
        let age = snapshot.taken_at - snapshot.process.started_at.unwrap();
        assert!(age >= 1.2 && snapshot.process.age_seconds == Some(age as u64), "{age} {:?}", snapshot.process);
    }
}

#[test]
fn reads_of_different_stops_tell_so() {
    let target = Helper::start(HelperKind::Churn(1)).unwrap();
    let memory = LiveMemory::open(target.pid() as i32).unwrap();
    let limits = StopLimits { longest: Some(Duration::from_millis(20)), ..StopLimits::default() };
    let (moments, log) = read_stopped(&memory, limits, |memory| {
        let first = memory.moment();
        while memory.moment() == first {
            std::thread::sleep(Duration::from_millis(1));
        }
        (first, memory.moment())
    })
    .unwrap();
    assert_eq!(moments.0, Moment(0));
    assert!(moments.1 >= Moment(1));
    assert_eq!(log.stops.len(), moments.1.0 as usize + 1);
    assert!(!is_traced(target.pid()));
}

#[test]
fn a_target_is_not_stopped_again_before_somebody_wants_to_read() {
    let target = Helper::start(HelperKind::Churn(1)).unwrap();
    let memory = LiveMemory::open(target.pid() as i32).unwrap();
    let limits = StopLimits { longest: Some(Duration::from_millis(5)), ..StopLimits::default() };
    let (moments, log) = read_stopped(&memory, limits, |memory| {
        let first = memory.moment();
        std::thread::sleep(Duration::from_millis(300));
        (first, memory.moment())
    })
    .unwrap();
    assert_eq!(moments.0, Moment(0));
    // It is once; on a busy machine a stop may be over before the reader has its turn. By the clock it would be twenty times.
    let again = log.used().count() - 1;
    assert!((1..6).contains(&again) && moments.1.0 as usize == again, "{again} {moments:?}");
}

#[test]
fn the_next_moment_is_that_of_another_stop_unless_there_is_only_one() {
    let target = Helper::start(HelperKind::Churn(1)).unwrap();
    let memory = LiveMemory::open(target.pid() as i32).unwrap();
    for (longest, stops) in [(None, 1), (Some(Duration::from_secs(20)), 2)] {
        let limits = StopLimits { longest, ..StopLimits::default() };
        let (moment, log) = read_stopped(&memory, limits, |memory| {
            memory.threads().unwrap();
            memory.next_moment();
            memory.moment()
        })
        .unwrap();
        assert_eq!((moment, log.used().count()), (Moment(stops as u32 - 1), stops));
        assert!(log.used().all(|stop| stop.pause < Duration::from_secs(10)), "{log:?}");
    }
}

#[test]
fn a_panic_of_who_reads_lets_the_target_go() {
    let target = Helper::start(HelperKind::Churn(2)).unwrap();
    let memory = LiveMemory::open(target.pid() as i32).unwrap();
    for longest in [None, Some(Duration::from_millis(20))] {
        let limits = StopLimits { longest, ..StopLimits::default() };
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            read_stopped(&memory, limits, |memory| {
                memory.threads().unwrap();
                panic!("on purpose");
            })
        }));
        assert!(panicked.is_err());
        assert!(!is_traced(target.pid()));
    }
}

#[test]
fn what_ends_between_two_stops_is_an_error_and_not_a_hang() {
    let target = Helper::start(HelperKind::Churn(1)).unwrap();
    let memory = LiveMemory::open(target.pid() as i32).unwrap();
    let limits = StopLimits { longest: Some(Duration::from_millis(5)), ..StopLimits::default() };
    let mut target = Some(target);
    let outcome = read_stopped(&memory, limits, |memory| {
        let first = memory.moment();
        drop(target.take());
        (0..1_000).find_map(|_| {
            std::thread::sleep(Duration::from_millis(1));
            (memory.moment() != first).then_some(())
        })
    });
    assert!(outcome.is_err());
}

/// With two dozen threads that never rest a stop of a millisecond may be over before it has begun.
#[test]
fn stops_that_are_too_short_end_in_a_snapshot_or_say_so() {
    let target = Helper::start(HelperKind::Churn(24)).unwrap();
    match take(target.pid() as i32, &options(Some(Duration::from_millis(1))), &Silent) {
        Ok(snapshot) => assert!(snapshot.freeze.is_some_and(|freeze| freeze.stops > 0)),
        Err(SnapshotError::Freeze(error @ FreezeError::TooShort { .. })) => {
            assert!(error.to_string().contains("give a longer --max-pause"));
        }
        // Where others keep the processors busy, too, one of so many threads may not come to its stop in time.
        Err(SnapshotError::Freeze(FreezeError::DoesNotStop { .. })) => {}
        Err(error) => panic!("{error}"),
    }
    assert!(!is_traced(target.pid()));
}
