//! Programs whose threads allocate and free as fast as they can: a snapshot that is called exact is their heap as it was at
//! the stop, to the chunk, and any other one says that it is not. `benches/churn` measures how far off these are.

mod churn_support;

use churn_support::{Comparison, Difference, compare};
use poolscope::analysis::SnapshotError;
use poolscope::snapshot::model::{IN_CHANGE, SEVERAL_MOMENTS};
use poolscope::target::freeze::FreezeError;
use poolscope_fixtures::{Churn, ChurnCall, ChurnPlan};
use std::time::Duration;

/// What holds of every snapshot, exact or not.
fn check(found: &Comparison, threads: u32, name: &str) {
    let freeze = &found.freeze;
    if freeze.is_exact() {
        assert_eq!((freeze.stops, found.problems.as_slice()), (1, [].as_slice()), "{name}: {freeze:?}");
        assert!(found.at_last_stop == Difference::default(), "{name}: {:?} {freeze:?}", found.at_last_stop);
        // Each thread has one, and the first thread.
        assert_eq!(found.tcaches, u64::from(threads) + 1, "{name}");
    } else {
        // "Contradicted" would be a heap that is whole and that was not understood.
        let expected = if freeze.stops > 1 { SEVERAL_MOMENTS } else { IN_CHANGE };
        assert_eq!(freeze.consistency, expected, "{name}: {:?}", found.problems);
    }
}

/// On a machine whose processors are all busy, a thread may get no turn to stop in, and so an error is all there is to get.
fn compare_patiently(churn: &mut Churn, max_pause: Option<Duration>) -> Comparison {
    for _ in 0..10 {
        match compare(churn, max_pause) {
            Ok(found) => return found,
            Err(failure) => match failure.downcast_ref() {
                Some(SnapshotError::Freeze(FreezeError::DoesNotStop { .. } | FreezeError::TooShort { .. })) => {}
                _ => panic!("{failure}"),
            },
        }
    }
    panic!("it could not be stopped ten times in a row")
}

/// Takes so many snapshots, and more as long as none of them is exact and there are fewer than `most`. How many are exact.
fn exact_of(plan: &ChurnPlan, count: u32, most: u32) -> usize {
    let mut churn = Churn::start(plan).unwrap();
    let (mut taken, mut exact) = (0, 0);
    while taken < count || (exact == 0 && taken < most) {
        let found = compare_patiently(&mut churn, None);
        check(&found, plan.threads, &format!("{plan:?} snapshot {taken}, {} held up", found.held_up));
        assert_eq!(found.freeze.stops, 1);
        exact += usize::from(found.freeze.is_exact());
        taken += 1;
    }
    exact
}

#[test]
fn threads_that_wait_for_events_are_read_exactly() {
    for one_arena in [false, true] {
        let plan = ChurnPlan { one_arena, threads: 3, ..ChurnPlan::default() };
        assert!(exact_of(&plan, 6, 40) > 0, "{plan:?}");
    }
}

#[test]
fn threads_that_make_other_system_calls_are_read_exactly() {
    for one_arena in [false, true] {
        let plan = ChurnPlan { one_arena, call: ChurnCall::Other, every: 50, ..ChurnPlan::default() };
        assert!(exact_of(&plan, 6, 40) > 0, "{plan:?}");
    }
}

#[test]
fn what_is_said_of_threads_that_only_churn_is_so() {
    for one_arena in [false, true] {
        let plan = ChurnPlan { one_arena, call: ChurnCall::None, ..ChurnPlan::default() };
        exact_of(&plan, 6, 6);
    }
}

#[test]
fn several_stops_are_not_called_exact_and_hold_what_does_not_change() {
    let plan = ChurnPlan { slots: 30_000, churning: 3_000, resting: 40_000, events: 1 << 21, ..ChurnPlan::default() };
    let mut churn = Churn::start(&plan).unwrap();
    let mut changes = 0;
    for round in 0..4 {
        let found = compare_patiently(&mut churn, Some(Duration::from_millis(5)));
        let name = format!("snapshot {round}");
        check(&found, plan.threads, &name);
        assert!(found.freeze.stops > 1, "{name}: {:?}", found.freeze);
        // Threads whose logs are full wait.
        changes += found.changes;
        // Of what rests nothing is lost but what a seam has fallen on; most of the heap rests.
        assert!(found.at_no_stop.sum().chunks < found.in_use.chunks / 20, "{name}: {found:?}");
    }
    assert!(changes > 0);
}
