//! What ends poolscope.

use crate::campaign::end::End;
use crate::campaign::round::{Aim, Campaign, Stops};
use crate::looks::options;
use crate::state::{assert_runs, status, threads};
use poolscope::analysis::{Silent, SnapshotError, take};
use poolscope::target::freeze::{Freeze, Patience};
use poolscope_fixtures::{Helper, HelperKind, Leak, LeakPlan, Nginx};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A part of what `cargo bench --bench harmless` does.
#[test]
fn poolscope_ended_at_any_moment_leaves_the_worker_as_it_was() {
    let mut campaign = Campaign::start(Path::new(env!("CARGO_BIN_EXE_poolscope")), 0x9e37_79b9_7f4a_7c15).unwrap();
    let (mut held, mut cut_short, mut waits) = (0, 0, Vec::new());
    for end in End::ALL {
        for (round, aim) in [Aim::Anywhere, Aim::InStop, Aim::Anywhere, Aim::InStop].into_iter().enumerate() {
            let stops = if round < 2 { Stops::Single } else { Stops::Several };
            let round = campaign.round(end, stops, aim).unwrap();
            held += u32::from(round.held);
            cut_short += u32::from(round.cut_short);
            waits.push(round.waited);
        }
    }
    // A client may have to wait where others keep the processors busy, but not most of them.
    waits.sort_unstable();
    assert!(waits[waits.len() / 2] < Duration::from_millis(500), "{waits:?}");
    assert!(campaign.subject().answered() > 100);
    assert!(held > 0 && cut_short > 10, "{held} held, {cut_short} cut short");
    assert!(campaign.subject().undisturbed(10).unwrap().len() == 10);
    campaign.finish().unwrap();
}

#[test]
fn a_panic_during_the_stop_lets_the_target_go() {
    let target = Helper::start(HelperKind::Churn(3)).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let freeze = Freeze::stop(target.pid() as i32, Patience::default()).unwrap();
        assert_eq!(freeze.thread_ids().len(), threads(target.pid()).len());
        for tid in threads(target.pid()) {
            assert!(status(target.pid(), tid, "State").starts_with('t'), "thread {tid} is stopped");
        }
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    assert_runs(target.pid());
}

#[test]
fn a_target_that_exits_in_the_middle_is_an_error_and_not_a_hang() {
    let mut ends = [0, 0];
    for milliseconds in (0..60).map(|step| step * 3) {
        let target = Helper::start(HelperKind::QuickExit(Duration::from_millis(milliseconds))).unwrap();
        let begin = Instant::now();
        match take(target.pid() as i32, &options(), &Silent) {
            Ok(snapshot) => {
                assert!(snapshot.coverage.is_some());
                ends[0] += 1;
            }
            Err(SnapshotError::Target(_) | SnapshotError::Freeze(_) | SnapshotError::Memory { .. }) => ends[1] += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(begin.elapsed() < Duration::from_secs(60));
    }
    assert!(ends[1] > 0, "no target was early enough to exit in the middle: {ends:?}");
}

#[test]
fn two_at_once_take_turns() {
    let nginx = Nginx::builder().start().unwrap();
    let _leak = Leak::run(&nginx, &LeakPlan::new(40, 1030), |_| ()).unwrap();
    let worker = nginx.worker_pid().unwrap().to_string();
    for _ in 0..10 {
        let start = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_poolscope"));
            command.args(["snapshot", &worker]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        };
        for child in [start(), start(), start()] {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    assert_runs(nginx.worker_pid().unwrap());
}
