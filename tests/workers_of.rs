//! `snapshot --workers-of`: all workers of a master, side by side, shown in order.

use poolscope_fixtures::Nginx;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn run(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_poolscope")).args(words).stdin(Stdio::null()).output().unwrap()
}

fn refused(words: &[&str], status: i32) -> String {
    let output = run(words);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(status), "{message}");
    assert!(output.stdout.is_empty());
    message
}

fn assert_untraced(pids: &[u32]) {
    for pid in pids {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.lines().any(|line| line == "TracerPid:\t0"), "{status}");
    }
}

/// A request whose body does not come: the worker that has it cannot end before it.
fn hold_a_worker(nginx: &Nginx) -> TcpStream {
    let mut client = TcpStream::connect(("127.0.0.1", nginx.ports().http)).unwrap();
    let head = "POST /kept/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n";
    client.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100");
    client
}

#[test]
fn every_worker_is_shown_the_largest_first_and_those_that_shut_down_too() {
    let nginx = Nginx::builder().workers(3).start().unwrap();
    let _held = hold_a_worker(&nginx);
    nginx.reload().unwrap();
    // The others of the old ones end a little later than the new ones begin.
    let deadline = Instant::now() + Duration::from_secs(90);
    while nginx.shutting_down_pids().len() > 1 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut workers = [nginx.worker_pids(), nginx.shutting_down_pids()].concat();
    assert_eq!(workers.len(), 4);
    let master = nginx.master_pid().to_string();
    let output = run(&["snapshot", "--workers-of", &master, "--format", "json"]);
    let lines = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let snapshots: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sizes: Vec<u64> = snapshots.iter().map(|snapshot| snapshot["process"]["resident"].as_u64().unwrap()).collect();
    assert!(sizes.is_sorted_by(|first, second| first >= second), "{sizes:?}");
    let mut pids: Vec<u32> =
        snapshots.iter().map(|snapshot| snapshot["process"]["pid"].as_u64().unwrap() as u32).collect();
    pids.sort_unstable();
    workers.sort_unstable();
    assert_eq!(pids, workers);
    let roles: Vec<&Value> = snapshots.iter().map(|snapshot| &snapshot["process"]["role"]).collect();
    assert_eq!(roles.iter().filter(|role| **role == "worker shutting down").count(), 1);
    for snapshot in &snapshots {
        assert_eq!(snapshot["coverage"], 1.0);
        assert_eq!(snapshot["layouts"]["nginx"]["kind"], "dwarf");
    }
    assert_untraced(&workers);
}

#[test]
fn each_is_saved_in_a_file_of_its_own() {
    let nginx = Nginx::builder().workers(2).start().unwrap();
    let master = nginx.master_pid().to_string();
    let folder = std::env::temp_dir().join(format!("poolscope-workers-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let output = run(&["snapshot", "--workers-of", &master, "-o", &folder.display().to_string()]);
    let names: Vec<String> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    for worker in nginx.worker_pids() {
        assert_eq!(names.iter().filter(|name| name.contains(&format!("-{worker}-"))).count(), 1, "{names:?}");
    }
    let report = String::from_utf8(output.stdout).unwrap();
    let heads = report.lines().filter(|line| line.starts_with("worker ") && line.contains("nginx: worker process"));
    assert_eq!(heads.count(), 2, "{report}");
    assert!(refused(&["snapshot", "--workers-of", &master, "-o", "one.snap"], 2).contains("must be a directory"));
}

#[test]
fn who_is_no_master_is_told_what_to_give() {
    let nginx = Nginx::builder().start().unwrap();
    let (master, worker) = (nginx.master_pid().to_string(), nginx.worker_pid().unwrap().to_string());
    let message = refused(&["snapshot", "--workers-of", &worker], 1);
    assert!(message.contains(&format!("a worker of master {master}: give --workers-of {master}")), "{message}");
    let own = std::process::id().to_string();
    assert!(refused(&["snapshot", "--workers-of", &own], 1).contains("is no nginx master"));
    assert!(refused(&["snapshot", "--workers-of", "4194305"], 1).contains("there is no process 4194305"));
    assert!(refused(&["snapshot", &worker, "--workers-of", &master], 2).contains("cannot be used with"));
    assert!(refused(&["snapshot", "--core", "core", "--workers-of", &master], 2).contains("cannot be used with"));
    assert!(refused(&["snapshot", "--workers-of", "0"], 2).contains("is not a pid"));
}
