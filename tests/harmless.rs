//! Whatever becomes of poolscope or of the target in the middle of a snapshot: the target runs on, untraced.

use poolscope::analysis::{Options, Silent, SnapshotError, take};
use poolscope::debug::SearchOptions;
use poolscope::target::freeze::{Freeze, FreezeError, Patience, StopPlace};
use poolscope_fixtures::{HeapProgram, Helper, HelperKind, Kind, Leak, LeakPlan, Nginx};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A field of `/proc/PID/status`, of one thread.
fn status(pid: u32, tid: u32, field: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

fn threads(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect()
}

/// Every thread is untraced, and neither in a tracing stop nor in a group-stop. The kernel lets a tracee go when its tracer
/// is reaped, which a caller that has waited for the tracer has seen.
fn assert_runs(pid: u32) {
    for tid in threads(pid) {
        assert_eq!(status(pid, tid, "TracerPid"), "0", "thread {tid}");
        let state = status(pid, tid, "State");
        assert!(state.starts_with(['R', 'S', 'D']), "thread {tid}: {state}");
    }
}

fn options() -> Options {
    Options { debug: SearchOptions::from_environment(), with_chunks: false, ..Options::default() }
}

/// Numbers that look random and are the same each time.
struct Sequence(u64);

impl Sequence {
    fn next_below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
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
fn threads_that_never_rest_are_stopped_and_let_go_every_time() {
    let target = Helper::start(HelperKind::Churn(4)).unwrap();
    for _ in 0..50 {
        let freeze = Freeze::stop(target.pid() as i32, Patience::default()).unwrap();
        assert_eq!(freeze.thread_pointers().len(), freeze.thread_ids().len());
        freeze.release();
        assert_runs(target.pid());
    }
}

#[test]
fn an_idle_target_is_stopped_between_events() {
    let nginx = Nginx::builder().start().unwrap();
    let freeze = Freeze::stop(nginx.worker_pid().unwrap() as i32, Patience::default()).unwrap();
    assert_eq!(freeze.place(), StopPlace::BetweenEvents);
    let pause = freeze.release();
    assert!(pause > Duration::ZERO && pause < Duration::from_secs(1), "{pause:?}");
}

#[test]
fn signals_at_any_moment_leave_the_worker_answering() {
    let nginx = Nginx::builder().start().unwrap();
    let _leak = Leak::run(&nginx, &LeakPlan::new(150, 1030), |_| ()).unwrap();
    let worker = nginx.worker_pid().unwrap();
    let log = nginx.error_log_length();
    let begin = Instant::now();
    take(worker as i32, &options(), &Silent).unwrap();
    let whole = begin.elapsed().as_micros() as u64 * 3 / 2;
    let mut sequence = Sequence(0x9e37_79b9_7f4a_7c15);
    for signal in ["KILL", "INT", "TERM", "HUP", "PIPE", "QUIT"].iter().cycle().take(120) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_poolscope"))
            .args(["snapshot", &worker.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(sequence.next_below(whole)));
        let _ =
            Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).stderr(Stdio::null()).status();
        child.wait().unwrap();
        assert_runs(worker);
        nginx.list().unwrap();
    }
    assert_eq!(nginx.worker_pid().unwrap(), worker);
    assert_eq!(nginx.complaints_since(log), Vec::<String>::new());
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
            Err(SnapshotError::Open { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => ends[1] += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
    assert!(ends[1] > 0, "no target was early enough to exit in the middle: {ends:?}");
}

#[test]
fn a_stopped_job_is_read_and_stays_stopped_until_it_is_continued() {
    let target = HeapProgram::start(Kind::Single, 3).unwrap();
    let signal = |name: &str| {
        assert!(Command::new("kill").args([name, &target.pid().to_string()]).status().unwrap().success());
    };
    let wait_for = |state: char| {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !status(target.pid(), target.pid(), "State").starts_with(state) {
            assert!(Instant::now() < deadline, "never in state {state}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    signal("-STOP");
    wait_for('T');
    let snapshot = take(target.pid() as i32, &options(), &Silent).unwrap();
    assert_eq!(snapshot.coverage, Some(1.0));
    wait_for('T');
    assert_eq!(status(target.pid(), target.pid(), "TracerPid"), "0");
    signal("-CONT");
    wait_for('S');
}

#[test]
fn nothing_of_the_target_changes() {
    let nginx = Nginx::builder().start().unwrap();
    let _leak = Leak::run(&nginx, &LeakPlan::new(30, 1030), |_| ()).unwrap();
    let worker = nginx.worker_pid().unwrap();
    let look = || {
        // VmRSS in status is only a sum of counters that each processor keeps for itself; these are counted page by page.
        // What of it is private is the worker's own doing: at each wake-up it moves on to another of its 64 time slots, on
        // pages that it shares with its master until then.
        let pages = std::fs::read_to_string(format!("/proc/{worker}/smaps_rollup")).unwrap();
        let kinds = ["Anonymous:", "Swap:"];
        let pages: Vec<String> =
            pages.lines().filter(|line| kinds.iter().any(|kind| line.starts_with(kind))).map(str::to_owned).collect();
        assert_eq!(pages.len(), kinds.len());
        let fds = std::fs::read_dir(format!("/proc/{worker}/fd")).unwrap().count();
        (pages, fds, threads(worker).len(), status(worker, worker, "SigBlk"))
    };
    take(worker as i32, &options(), &Silent).unwrap();
    let before = look();
    for _ in 0..20 {
        take(worker as i32, &options(), &Silent).unwrap();
    }
    assert_eq!(look(), before);
}

#[test]
fn every_signal_that_arrives_meanwhile_is_delivered_exactly_once() {
    const SIGNALS: u32 = 20_000;
    let target = Helper::start(HelperKind::Signals(SIGNALS)).unwrap();
    let name = || std::fs::read_to_string(format!("/proc/{}/comm", target.pid())).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut snapshots = 0;
    while !name().starts_with("got ") {
        let freeze = Freeze::stop(target.pid() as i32, Patience::default()).unwrap();
        freeze.release();
        snapshots += 1;
        assert!(Instant::now() < deadline, "the sender has not ended after {snapshots} stops");
    }
    assert!(snapshots > 20, "{snapshots}");
    assert_eq!(name().trim(), format!("got {SIGNALS}"));
}

#[test]
fn a_thread_that_cannot_be_stopped_is_let_go_all_the_same() {
    let target = Helper::start(HelperKind::Vforked(Duration::from_secs(3))).unwrap();
    let state = || status(target.pid(), target.pid(), "State");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !state().starts_with('D') {
        assert!(Instant::now() < deadline, "{}", state());
        std::thread::sleep(Duration::from_millis(1));
    }
    match take(target.pid() as i32, &options(), &Silent) {
        Err(SnapshotError::Freeze(FreezeError::DoesNotStop { tid, .. })) => assert_eq!(tid, target.pid() as i32),
        other => panic!("{:?}", other.map(|snapshot| snapshot.freeze)),
    }
    while state().starts_with('D') {
        assert!(Instant::now() < deadline, "{}", state());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_runs(target.pid());
}

#[test]
fn many_busy_threads_share_one_wait_for_a_good_place() {
    const THREADS: u32 = 24;
    let target = Helper::start(HelperKind::Churn(THREADS)).unwrap();
    let patience = Patience::default();
    let pause = Freeze::stop(target.pid() as i32, patience).unwrap().release();
    let one_after_the_other = (patience.event_wait + patience.system_call) * THREADS;
    assert!(pause < one_after_the_other / 2, "{pause:?}");
    assert_runs(target.pid());
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

/// Resident kilobytes of a process that are anonymous, and those of files.
fn resident(pid: u32) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    (of("RssAnon:"), of("RssFile:"))
}

#[test]
fn a_snapshot_gives_the_target_no_pages() {
    let nginx = Nginx::builder().start().unwrap();
    let _leak = Leak::run(&nginx, &LeakPlan::new(5, 40), |_| ()).unwrap();
    let worker = nginx.worker_pid().unwrap();
    let before = resident(worker);
    take(worker as i32, &options(), &Silent).unwrap();
    let after = resident(worker);
    // The stop ends its wait for events: going on takes it through code that it may not have run yet.
    assert_eq!(after.0, before.0, "anonymous memory");
    assert!(after.1 <= before.1 + 32, "memory of files: {before:?} and {after:?}");
    take(worker as i32, &options(), &Silent).unwrap();
    assert_eq!(resident(worker), after);
}
