//! `poolscope doctor`: what would work and what stands in the way, without stopping anything.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use poolscope::target::freeze::{Freeze, Patience};
use poolscope_fixtures::{DebianNginx, LUA, Leak, LeakPlan, Nginx};
use serde_json::Value;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn run(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_poolscope")).args(words).stdin(Stdio::null()).output().unwrap()
}

fn diagnosis_of(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// The diagnosis of a process, and the exit status.
fn doctor(pid: u32) -> (Value, i32) {
    let output = run(&["doctor", &pid.to_string(), "--format", "json"]);
    (diagnosis_of(&output), output.status.code().unwrap())
}

fn check<'a>(diagnosis: &'a Value, what: &str) -> &'a Value {
    let checks = diagnosis["checks"].as_array().unwrap();
    checks.iter().find(|check| check["what"] == what).unwrap_or_else(|| panic!("no {what} in {diagnosis}"))
}

fn status_line(pid: u32, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(20), "not {what} after 20 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_worker_with_all_that_is_needed_is_ready() {
    let nginx = Nginx::builder().start().unwrap();
    let worker = nginx.worker_pid().unwrap();
    let (diagnosis, status) = doctor(worker);
    assert_eq!(status, 0, "{diagnosis}");
    for what in ["permission", "tracer", "nginx", "nginx debug info", "allocator", "glibc debug info", "own memory"] {
        assert_eq!(check(&diagnosis, what)["state"], "ok", "{diagnosis}");
    }
    assert!(check(&diagnosis, "nginx")["finding"].as_str().unwrap().contains("nginx/1."));
    assert!(check(&diagnosis, "glibc debug info")["finding"].as_str().unwrap().contains("build-id"));
    assert!(diagnosis["own_memory"]["needed"].as_u64() > Some(1 << 20));
    let table = String::from_utf8(run(&["doctor", &worker.to_string()]).stdout).unwrap();
    assert!(table.starts_with(&format!("process {worker}")) && table.ends_with("would work in full.\n"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    let (diagnosis, status) = doctor(nginx.master_pid());
    assert_eq!(status, 0, "{diagnosis}");
    assert!(check(&diagnosis, "nginx")["way_out"].as_str().unwrap().contains("--workers-of"), "{diagnosis}");
}

#[test]
fn a_worker_that_a_signal_has_stopped_is_told_of() {
    let nginx = Nginx::builder().start().unwrap();
    let worker = nginx.worker_pid().unwrap();
    let send = |signal| kill(Pid::from_raw(worker as i32), signal).unwrap();
    send(Signal::SIGSTOP);
    wait_until("stopped", || status_line(worker, "State:").starts_with('T'));
    let (diagnosis, status) = doctor(worker);
    assert_eq!((status, check(&diagnosis, "stopped")["state"].as_str()), (0, Some("note")), "{diagnosis}");
    assert!(check(&diagnosis, "stopped")["finding"].as_str().unwrap().contains(&format!("kill -CONT {worker}")));
    assert!(status_line(worker, "State:").starts_with('T'));
    send(Signal::SIGCONT);
    wait_until("continued", || !status_line(worker, "State:").starts_with('T'));
    let (diagnosis, _) = doctor(worker);
    assert!(!diagnosis["checks"].as_array().unwrap().iter().any(|check| check["what"] == "stopped"), "{diagnosis}");
}

#[test]
fn the_process_is_never_traced_nor_stopped() {
    let nginx = Nginx::builder().start().unwrap();
    let _leak = Leak::run(&nginx, &LeakPlan::new(40, 1030), |_| ()).unwrap();
    let worker = nginx.worker_pid().unwrap();
    let is_over = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = 0u64;
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(status_line(worker, "TracerPid:"), "0");
                assert!(!status_line(worker, "State:").to_lowercase().starts_with('t'));
                seen += 1;
            }
            seen
        });
        let (_, status) = doctor(worker);
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(status, 0);
        watcher.join().unwrap()
    });
    assert!(seen > 100, "looked only {seen} times");
}

/// Whoever else uses the machine makes single stops longer, so that the shortest of some is the one to compare with.
#[test]
fn the_pause_is_foreseen_within_a_factor_of_three() {
    let nginx = Nginx::builder().start().unwrap();
    let _leak = Leak::run(&nginx, &LeakPlan::new(150, 1030), |_| ()).unwrap();
    let worker = nginx.worker_pid().unwrap().to_string();
    let pause = || {
        let snapshot = diagnosis_of(&run(&["snapshot", &worker, "--single-stop", "--format", "json"]));
        snapshot["freeze"]["pause_microseconds"].as_f64().unwrap()
    };
    let foreseen = || {
        let diagnosis = diagnosis_of(&run(&["doctor", &worker, "--format", "json"]));
        diagnosis["expected_pause"]["single_stop_microseconds"].as_f64().unwrap()
    };
    let shortest = |times: &dyn Fn() -> f64| (0..5).map(|_| times()).fold(f64::INFINITY, f64::min);
    let (real, foreseen) = (shortest(&pause), shortest(&foreseen));
    assert!(foreseen < real * 3.0 && real < foreseen * 3.0, "{foreseen} was foreseen, {real} it was");
    let limited = diagnosis_of(&run(&["doctor", &worker, "--max-pause", "2ms", "--format", "json"]));
    assert!(limited["expected_pause"]["stops"].as_u64() > Some(1), "{limited}");
}

#[test]
fn missing_debug_info_comes_with_every_place_and_the_way_out() {
    let nginx = DebianNginx::start(LUA).unwrap();
    let (diagnosis, status) = doctor(nginx.worker_pid().unwrap());
    assert_eq!(status, 3, "{diagnosis}");
    let missing = check(&diagnosis, "nginx debug info");
    assert_eq!(missing["state"], "warn");
    let places = missing["looked_at"].to_string();
    for word in ["/usr/sbin/nginx has no .debug_info", "/usr/lib/debug/.build-id/", "does not exist"] {
        assert!(places.contains(word), "{missing}");
    }
    assert!(missing["way_out"].as_str().unwrap().contains("--debug-dir"), "{missing}");
    assert!(missing["finding"].as_str().unwrap().contains("build-id"), "{missing}");
    assert_eq!(check(&diagnosis, "glibc debug info")["state"], "ok", "{diagnosis}");
}

#[test]
fn who_traces_it_is_named_and_all_else_is_told() {
    let nginx = Nginx::builder().start().unwrap();
    let worker = nginx.worker_pid().unwrap();
    let freeze = Freeze::stop(worker as i32, Patience::default()).unwrap();
    let (diagnosis, status) = doctor(worker);
    freeze.release();
    assert_eq!(status, 1, "{diagnosis}");
    let tracer = check(&diagnosis, "tracer");
    assert_eq!(tracer["state"], "stops");
    assert!(tracer["finding"].as_str().unwrap().contains(&std::process::id().to_string()), "{tracer}");
    assert_eq!(check(&diagnosis, "permission")["state"], "ok");
    assert_eq!(check(&diagnosis, "nginx debug info")["state"], "ok");
    assert!(diagnosis["expected_pause"].is_object());
}

/// As another user, if we may become one; else of a process of another user.
fn doctor_of_a_stranger(pid: u32) -> Output {
    if !nix::unistd::geteuid().is_root() {
        return run(&["doctor", "1", "--format", "json"]);
    }
    // The binary may lie in a folder that nobody else may enter.
    let folder = std::env::temp_dir().join(format!("poolscope-doctor-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let copy = folder.join("poolscope");
    std::fs::copy(env!("CARGO_BIN_EXE_poolscope"), &copy).unwrap();
    let mut command = Command::new(&copy);
    command.args(["doctor", &pid.to_string(), "--format", "json"]).uid(65534).gid(65534).stdin(Stdio::null());
    let output = command.output().unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    output
}

#[test]
fn a_refusal_is_explained_and_the_rest_is_told_all_the_same() {
    let nginx = Nginx::builder().start().unwrap();
    let output = doctor_of_a_stranger(nginx.master_pid());
    let diagnosis = diagnosis_of(&output);
    assert_eq!(output.status.code(), Some(1), "{diagnosis}");
    let refused = check(&diagnosis, "permission");
    assert_eq!(refused["state"], "stops");
    assert!(refused["finding"].as_str().unwrap().contains("CAP_SYS_PTRACE"), "{refused}");
    assert!(refused["way_out"].as_str().unwrap().contains("sudo"), "{refused}");
    for what in ["tracer", "nginx", "nginx debug info", "glibc debug info", "processors", "priority", "expected pause"]
    {
        assert_ne!(check(&diagnosis, what)["state"], "stops", "{diagnosis}");
    }
    assert!(diagnosis["expected_pause"].is_null());
}

#[test]
fn what_has_no_heap_is_one_sentence() {
    let output = run(&["doctor", "4194305"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    assert!(message.contains("no process 4194305") && message.lines().count() == 1, "{message}");
}
