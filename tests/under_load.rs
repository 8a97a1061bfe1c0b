//! Snapshots of a worker at work: nobody notices.

use poolscope_fixtures::{Leak, LeakPlan, Nginx};
use std::process::{Command, Stdio};

/// What `wrk` says of a run, as far as it says that something went wrong.
fn failures(report: &str) -> Vec<&str> {
    report.lines().filter(|line| line.contains("Socket errors") || line.contains("Non-2xx")).collect()
}

#[test]
fn snapshots_under_load_fail_no_request() {
    let nginx = Nginx::builder().start().unwrap();
    let _leak = Leak::run(&nginx, &LeakPlan::new(60, 1030), |_| ()).unwrap();
    let worker = nginx.worker_pid().unwrap();
    let log = nginx.error_log_length();
    let url = format!("http://127.0.0.1:{}/small", nginx.ports().http);
    let wrk = Command::new("wrk")
        .args(["--threads", "1", "--connections", "32", "--duration", "300s", &url])
        .stdout(Stdio::piped())
        .spawn()
        .expect("wrk is there: fixtures/prerequisites.sh tests");
    let mut places = Vec::new();
    for _ in 0..40 {
        let output = Command::new(env!("CARGO_BIN_EXE_poolscope"))
            .args(["snapshot", &worker.to_string(), "--format", "json"])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let snapshot: serde_json::Value = serde_json::from_str(&text).unwrap();
        let place = snapshot["freeze"]["place"].as_str().unwrap().to_owned();
        // Read in the middle of an allocation, or in several stops, a heap may not add up, and the report says so.
        if place != "in_user_code" && snapshot["freeze"]["stops"] == 1 {
            assert_eq!(snapshot["freeze"]["consistency"], "exact");
            assert_eq!(snapshot["books"]["problems"], serde_json::json!([]), "{}", snapshot["freeze"]);
            assert_eq!(snapshot["coverage"], 1.0);
            assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        }
        places.push(place);
    }
    // SIGINT makes wrk stop and report.
    assert!(Command::new("kill").args(["-INT", &wrk.id().to_string()]).status().unwrap().success());
    let report = String::from_utf8(wrk.wait_with_output().unwrap().stdout).unwrap();
    assert!(report.contains("Requests/sec"), "{report}");
    assert_eq!(failures(&report), Vec::<&str>::new());
    assert_eq!(nginx.worker_pid().unwrap(), worker);
    assert_eq!(nginx.complaints_since(log), Vec::<String>::new());
    // A machine that gives the worker no time can keep it from its next system call; that is not the rule.
    let safe = places.iter().filter(|place| *place != "in_user_code").count();
    assert!(safe >= 36, "{places:?}");
}
