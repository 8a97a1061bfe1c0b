//! What an operator does to nginx while snapshots are taken: reloads, new logs, binary upgrades.

use crate::looks::while_looking;
use crate::state::assert_runs;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use poolscope::analysis::{Silent, take};
use poolscope_fixtures::{DaemonNginx, Leak, LeakPlan, Nginx};

fn send(pid: u32, signal: Signal) {
    // It may have ended just now.
    let _ = kill(Pid::from_raw(pid as i32), signal);
}

/// The master and all its workers, also those that are about to end.
fn family(nginx: &Nginx) -> Vec<u32> {
    [vec![nginx.master_pid()], nginx.worker_pids(), nginx.shutting_down_pids()].concat()
}

#[test]
fn a_reload_under_snapshots_replaces_the_worker_as_ever() {
    let nginx = Nginx::builder().start().unwrap();
    let _leak = Leak::run(&nginx, &LeakPlan::new(3, 40), |_| ()).unwrap();
    while_looking(
        || family(&nginx),
        |looking| {
            for _ in 0..8 {
                nginx.reload().unwrap();
                nginx.get("/files/small.txt").unwrap();
                looking.wait_for_more();
                for signal in [Signal::SIGUSR1, Signal::SIGWINCH, Signal::SIGUSR1] {
                    send(nginx.master_pid(), signal);
                    nginx.get("/small").unwrap();
                }
            }
            assert!(looking.count() > 20, "{}", looking.count());
        },
    );
    family(&nginx).into_iter().for_each(assert_runs);
    take(nginx.worker_pid().unwrap() as i32, &crate::looks::options(), &Silent).unwrap();
}

#[test]
fn a_worker_that_is_told_to_end_ends_and_is_replaced() {
    let nginx = Nginx::builder().start().unwrap();
    while_looking(
        || family(&nginx),
        |looking| {
            for signal in [Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGKILL].into_iter().cycle().take(12) {
                let worker = nginx.worker_pid().unwrap();
                looking.wait_for_more();
                send(worker, signal);
                crate::state::wait_until("another worker", || {
                    // A worker that was asked to end with status 0 is not replaced: the master is told to make one.
                    if nginx.worker_pids().is_empty() && signal != Signal::SIGKILL {
                        send(nginx.master_pid(), Signal::SIGHUP);
                    }
                    nginx.worker_pid().is_ok_and(|new| new != worker)
                });
                nginx.get("/small").unwrap();
            }
        },
    );
    family(&nginx).into_iter().for_each(assert_runs);
}

#[test]
fn a_binary_upgrade_under_snapshots_goes_through() {
    let nginx = DaemonNginx::start().unwrap();
    let family = || nginx.master_pid().into_iter().chain(nginx.worker_pids()).collect::<Vec<u32>>();
    for _ in 0..3 {
        let old = nginx.master_pid().unwrap();
        let old_workers = nginx.worker_pids();
        let everyone = || [vec![old], old_workers.clone(), family()].concat();
        while_looking(everyone, |looking| {
            nginx
                .upgrade(|| {
                    nginx.get().unwrap();
                    looking.wait_for_more();
                })
                .unwrap();
        });
        assert_ne!(nginx.master_pid().unwrap(), old);
        assert_eq!(nginx.worker_pids().len(), 1);
        family().into_iter().for_each(assert_runs);
        nginx.get().unwrap();
    }
}
