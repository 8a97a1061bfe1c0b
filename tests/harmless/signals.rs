//! Signals that reach the target before and during a stop.

use crate::campaign::Sequence;
use crate::campaign::receipt::{Receipt, Receiver};
use crate::campaign::round::{Aim, Stops};
use crate::looks::{options, stop_once, while_looking};
use crate::state::{assert_runs, fault_of_threads, name, status, wait_for_state, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use poolscope::analysis::{Silent, take};
use poolscope_fixtures::{HeapProgram, Helper, HelperKind, Kind};
use std::path::Path;
use std::time::Duration;

fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid as i32), signal).unwrap();
}

#[test]
fn a_stopped_job_is_read_and_stays_stopped_until_it_is_continued() {
    let target = HeapProgram::start(Kind::Single, 3).unwrap();
    send(target.pid(), Signal::SIGSTOP);
    wait_for_state(target.pid(), &['T']);
    let snapshot = take(target.pid() as i32, &options(), &Silent).unwrap();
    assert_eq!(snapshot.coverage, Some(1.0));
    let way_out = format!("kill -CONT {}", target.pid());
    assert!(snapshot.notes.iter().any(|note| note.contains(&way_out)), "{:?}", snapshot.notes);
    wait_for_state(target.pid(), &['T']);
    assert_eq!(status(target.pid(), target.pid(), "TracerPid"), "0");
    send(target.pid(), Signal::SIGCONT);
    wait_for_state(target.pid(), &['S']);
    let snapshot = take(target.pid() as i32, &options(), &Silent).unwrap();
    assert!(!snapshot.notes.iter().any(|note| note.contains(&way_out)), "{:?}", snapshot.notes);
}

/// Stopped and continued by its owner at random moments of the looks: afterwards it is what its owner said last.
#[test]
fn what_a_shell_says_to_a_job_holds_whenever_it_comes() {
    for kind in [HelperKind::Churn(3), HelperKind::ThreadStorm(2)] {
        let target = Helper::start(kind).unwrap();
        let pid = target.pid();
        let mut sequence = Sequence::new(7);
        while_looking(
            || vec![pid],
            |looking| {
                for _ in 0..60 {
                    let mut pause = || std::thread::sleep(Duration::from_micros(sequence.below(6_000)));
                    send(pid, Signal::SIGSTOP);
                    pause();
                    send(pid, Signal::SIGCONT);
                    pause();
                    send(pid, Signal::SIGSTOP);
                    pause();
                    wait_for_state(pid, &['T']);
                    let before = name(pid);
                    // A stop that a look undoes would show as a thread that runs afterwards.
                    looking.wait_for_more();
                    wait_for_state(pid, &['T']);
                    assert_eq!(name(pid), before, "what it counts has gone on");
                    send(pid, Signal::SIGCONT);
                    wait_until("the job at work", || fault_of_threads(pid).is_none());
                }
            },
        );
        assert_runs(pid);
        send(pid, Signal::SIGSTOP);
        wait_for_state(pid, &['T']);
        stop_once(pid).unwrap();
        wait_for_state(pid, &['T']);
        send(pid, Signal::SIGCONT);
        wait_until("the job at work", || fault_of_threads(pid).is_none());
    }
}

#[test]
fn every_signal_that_arrives_meanwhile_is_delivered_exactly_once() {
    const SIGNALS: u32 = 20_000;
    let target = Helper::start(HelperKind::Signals(SIGNALS)).unwrap();
    let mut stops = 0;
    wait_until("the last signal", || {
        stop_once(target.pid()).unwrap();
        stops += 1;
        name(target.pid()).starts_with("got ")
    });
    assert!(stops > 20, "{stops}");
    assert_eq!(name(target.pid()), format!("got {SIGNALS}"));
}

#[test]
fn every_signal_to_a_thread_reaches_that_thread_with_its_value_and_in_order() {
    const SIGNALS: u32 = 60_000;
    let target = Helper::start(HelperKind::ThreadSignals(SIGNALS, 4)).unwrap();
    let pid = target.pid();
    let looks = while_looking(
        || vec![pid],
        |looking| {
            wait_until("the last signal", || name(pid) != "thread_signals");
            looking.count()
        },
    );
    assert!(looks > 10, "{looks}");
    assert_eq!(name(pid), format!("right {SIGNALS}"));
    assert_runs(pid);
}

/// A part of what `cargo bench --bench harmless` does.
#[test]
fn nginx_does_about_each_signal_what_it_does_unobserved() {
    let mut receiver = Receiver::start(Path::new(env!("CARGO_BIN_EXE_poolscope")), 0x2545_f491_4f6c_dd1d).unwrap();
    let mut held = 0;
    for receipt in Receipt::ALL {
        let mut reports = 0;
        for round in 0..4 {
            let stops = if round % 2 == 0 { Stops::Single } else { Stops::Several };
            let aim = if round < 2 { Aim::Anywhere } else { Aim::InStop };
            let round = receiver.round(receipt, stops, aim).unwrap();
            held += u32::from(round.held);
            reports += u32::from(!round.cut_short);
        }
        // A worker that a reload ends may end first, in all of them.
        assert!(reports > 0 || receipt == Receipt::Reload, "{receipt:?}: poolscope never gave a report");
    }
    assert!(held > 0);
    assert!(receiver.campaign().subject().answered() > 100);
    receiver.finish().unwrap();
}
