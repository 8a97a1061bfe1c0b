//! How much memory poolscope takes itself.

use poolscope_fixtures::{Leak, LeakPlan, Nginx};
use std::process::{Command, Output};

fn snapshot(worker: u32, limit: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_poolscope"));
    command.args(["snapshot", &worker.to_string(), "--memory-limit", limit]).output().unwrap()
}

#[test]
fn what_would_take_more_memory_than_it_may_is_refused_before_the_stop() {
    let nginx = Nginx::builder().start().unwrap();
    let _leak = Leak::run(&nginx, &LeakPlan::new(120, 1030), |_| ()).unwrap();
    let worker = nginx.worker_pid().unwrap();
    let log = nginx.error_log_length();
    let refused = snapshot(worker, "64M");
    let why = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{why}");
    assert!(why.contains("(--memory-limit); the process was not stopped"), "{why}");
    assert!(refused.stdout.is_empty());
    // A stop would have ended its wait for events, which nginx logs.
    assert_eq!(nginx.error_log_length(), log);

    let taken = snapshot(worker, "1G");
    assert_eq!(taken.status.code(), Some(0), "{}", String::from_utf8_lossy(&taken.stderr));
    assert!(String::from_utf8(taken.stdout).unwrap().contains("dyups upstream, deleted but still referenced"));

    let too_little = snapshot(worker, "1M");
    assert_eq!(too_little.status.code(), Some(2));
}
