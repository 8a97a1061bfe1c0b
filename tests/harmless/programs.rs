//! Programs that are awkward to stop: they never rest, make children and threads, and become others.

use crate::looks::{options, patiently, stop_once, stop_thrice, tell_fault, try_to_stop, while_looking};
use crate::state::{assert_runs, name, status, threads, wait_until};
use poolscope::analysis::{Options, Silent, SnapshotError, take};
use poolscope::target::freeze::{Freeze, FreezeError, Patience, StopPlace};
use poolscope::target::place::{Judge, Standing};
use poolscope::target::registers::ThreadRegisters;
use poolscope_fixtures::{Executor, Helper, HelperKind, Nginx};
use std::time::Duration;

#[test]
fn threads_that_never_rest_are_stopped_and_let_go_every_time() {
    let target = Helper::start(HelperKind::Churn(4)).unwrap();
    for _ in 0..50 {
        let freeze = patiently(|| Freeze::stop(target.pid() as i32, Patience::default())).unwrap();
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
fn many_busy_threads_share_one_wait_for_a_good_place() {
    const THREADS: u32 = 24;
    let target = Helper::start(HelperKind::Churn(THREADS)).unwrap();
    let patience = Patience::default();
    let pause = patiently(|| Freeze::stop(target.pid() as i32, patience)).unwrap().release();
    let one_after_the_other = (patience.event_wait + patience.system_call) * THREADS;
    assert!(pause < one_after_the_other / 2, "{pause:?}");
    assert_runs(target.pid());
}

/// Finds every thread in the middle of an allocation.
#[derive(Debug)]
struct Pessimist;

impl Judge for Pessimist {
    fn standing(&self, _registers: &ThreadRegisters) -> Standing {
        Standing::Inside
    }

    fn is_locked(&self) -> bool {
        false
    }
}

#[test]
fn a_thread_that_gets_no_processor_for_its_stop_is_no_error() {
    let target = Helper::start(HelperKind::Churn(24)).unwrap();
    for _ in 0..20 {
        let stop = || Freeze::stop_judged(target.pid() as i32, Patience::default(), Some(&Pessimist));
        let freeze = patiently(stop).unwrap();
        assert_eq!(freeze.place(), StopPlace::InUserCode);
        freeze.let_go().unwrap();
        assert_runs(target.pid());
    }
}

#[test]
fn a_thread_that_cannot_be_stopped_is_let_go_all_the_same() {
    // On a busy machine the wait may be over before anybody gets to stop the thread: then it has to be longer.
    let refused = [3, 12, 48].map(Duration::from_secs).into_iter().any(is_refused_in_a_wait);
    assert!(refused, "every wait was over before the stop");
}

/// False if the wait was over too early to tell.
fn is_refused_in_a_wait(wait: Duration) -> bool {
    let target = Helper::start(HelperKind::Vforked(wait)).unwrap();
    let waits = || status(target.pid(), target.pid(), "State").starts_with('D');
    wait_until("a wait that nothing can end", waits);
    let pid = target.pid() as i32;
    let outcome = take(pid, &options(), &Silent).map(|snapshot| snapshot.freeze);
    let was_refused = match &outcome {
        Err(SnapshotError::Freeze(FreezeError::DoesNotStop { tid, .. })) => *tid == pid,
        _ => false,
    };
    assert!(was_refused || !waits(), "{outcome:?}");
    wait_until("the end of that wait", || !waits());
    assert_runs(target.pid());
    was_refused
}

/// A thread pool of nginx that reads from a slow disk must not make the worker stand still for as long.
#[test]
fn a_thread_that_cannot_be_stopped_holds_up_no_other() {
    let wait = Duration::from_millis(100);
    let target = Helper::start(HelperKind::Vforking(wait)).unwrap();
    let mut unused = 0;
    for max_pause in [5, 20].map(Duration::from_millis) {
        let options = Options { max_pause: Some(max_pause), ..options() };
        let mut pause = || {
            let freeze = take(target.pid() as i32, &options, &Silent).unwrap().freeze.unwrap();
            unused += freeze.unused_stops;
            Duration::from_micros(freeze.pause_microseconds)
        };
        let mut pauses: Vec<Duration> = (0..20).map(|_| pause()).collect();
        // Each alone is what no test can promise where others keep the processors busy. Who waits for that thread waits for what is
        // left of its wait at each stop, the longest of which is nearly all of it.
        pauses.sort_unstable();
        assert!(pauses[pauses.len() / 2] < max_pause + wait / 4, "{pauses:?}");
    }
    assert!(unused > 10, "{unused} stops were tried in vain");
    assert_runs(target.pid());
}

/// The number behind a word in the name of a program that counts there.
fn count_in_name(pid: u32, word: &str) -> u64 {
    let name = name(pid);
    let count = name.strip_prefix(word).and_then(|count| count.trim().parse().ok());
    count.unwrap_or_else(|| panic!("{word} is not what {name:?} says"))
}

#[test]
fn children_that_are_made_during_a_stop_are_never_traced() {
    let target = Helper::start(HelperKind::Forks).unwrap();
    wait_until("the first child", || name(target.pid()) != "forks");
    let before = count_in_name(target.pid(), "ok");
    for _ in 0..150 {
        stop_once(target.pid()).unwrap();
    }
    for _ in 0..10 {
        stop_thrice(target.pid()).unwrap();
    }
    let after = count_in_name(target.pid(), "ok");
    assert!(after > before + 20, "{before} and {after} children");
    assert_goes_on(target.pid(), "ok");
}

#[test]
fn threads_that_come_and_go_are_stopped_and_let_go_every_time() {
    let target = Helper::start(HelperKind::ThreadStorm(3)).unwrap();
    wait_until("the first thread", || name(target.pid()).starts_with("ran "));
    let mut longest = Duration::ZERO;
    for _ in 0..100 {
        longest = longest.max(stop_once(target.pid()).unwrap());
    }
    for _ in 0..10 {
        stop_thrice(target.pid()).unwrap();
    }
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    assert_goes_on(target.pid(), "ran");
}

/// Nothing of the target stands still, and what it counts goes on.
fn assert_goes_on(pid: u32, word: &str) {
    assert_runs(pid);
    let count = count_in_name(pid, word);
    wait_until("something counted afterwards", || count_in_name(pid, word) > count + 5);
    assert_runs(pid);
}

/// How often such a program has become itself.
fn execs(pid: u32) -> u64 {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = line.split(|byte| *byte == 0).collect();
    words.get(2).and_then(|word| std::str::from_utf8(word).ok()?.parse().ok()).unwrap_or(0)
}

#[test]
fn a_target_that_becomes_another_program_runs_on_at_once() {
    becomes_another_program(Executor::Leader);
}

#[test]
fn so_does_one_whose_second_thread_makes_it_another_program() {
    becomes_another_program(Executor::Thread);
}

fn becomes_another_program(executor: Executor) {
    let target = Helper::start(HelperKind::ExecLoop(executor)).unwrap();
    wait_until("the first exec", || execs(target.pid()) > 3);
    let mut held_up = 0;
    for round in 0..200 {
        match round % 4 {
            0 => tell_fault(stop_thrice(target.pid())),
            _ => match try_to_stop(target.pid()) {
                Ok(_) | Err(FreezeError::Gone(_)) => {}
                Err(FreezeError::DoesNotStop { .. }) => held_up += 1,
                Err(error) => panic!("{error}"),
            },
        }
        assert_eq!(status(target.pid(), target.pid(), "TracerPid"), "0", "{executor:?}");
    }
    // It would be so in every other round if the exec had to wait for threads that have ended and that nobody reaps.
    assert!(held_up < 30, "{executor:?}: held up {held_up} times");
    let before = execs(target.pid());
    wait_until("a further exec", || execs(target.pid()) > before + 5);
    assert!(threads(target.pid()).len() <= 3);
}

#[test]
fn a_target_that_ends_under_many_looks_leaves_nothing() {
    for milliseconds in 0..40 {
        let target = Helper::start(HelperKind::QuickExit(Duration::from_millis(milliseconds))).unwrap();
        let pid = target.pid();
        while_looking(|| vec![pid], |_| wait_until("its end", || threads(pid).is_empty() || is_zombie(pid)));
        assert!(!is_traced(pid));
    }
}

/// A process that is gone is not.
fn is_traced(pid: u32) -> bool {
    !["0", ""].contains(&status(pid, pid, "TracerPid").as_str())
}

fn is_zombie(pid: u32) -> bool {
    status(pid, pid, "State").starts_with('Z')
}
