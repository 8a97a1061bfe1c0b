//! `poolscope ps`: which nginx processes there are, and what only looks like one.

use nix::sys::signal::Signal;
use poolscope_fixtures::{Nginx, spawn_tied};
use serde_json::Value;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn ps(program: &Path, words: &[&str], user: Option<u32>) -> Output {
    let mut command = Command::new(program);
    command.arg("ps").args(words).stdin(Stdio::null());
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Rows of the processes that `keep` accepts. Other tests run nginx at the same time.
fn rows(keep: impl Fn(&Value) -> bool) -> Vec<Value> {
    let output = ps(Path::new(env!("CARGO_BIN_EXE_poolscope")), &["--format", "ndjson"], None);
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).filter(|row| keep(row)).collect()
}

fn row_of(pid: u32) -> Option<Value> {
    rows(|row| row["pid"] == pid).pop()
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("poolscope-ps-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A child that ends with the test.
struct Running(Child);

impl Running {
    fn start(command: Command) -> Running {
        Running(spawn_tied(command, Signal::SIGTERM).unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.0.id() as i32), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// A copy of the fixture's binary under another name, that listens nowhere.
fn start_copy(folder: &Folder, name: &str, directives: &str) -> (Running, PathBuf) {
    let nginx = Nginx::builder().start().unwrap();
    let binary = folder.0.join(name);
    std::fs::copy(format!("/proc/{}/exe", nginx.master_pid()), &binary).unwrap();
    let text = format!("daemon off; {directives} pid nginx.pid; error_log error.log; events {{}}\n");
    std::fs::write(folder.0.join("nginx.conf"), text).unwrap();
    let mut command = Command::new(&binary);
    command.arg("-p").arg(&folder.0).args(["-c", "nginx.conf", "-e", "error.log"]).stdin(Stdio::null());
    let running = Running::start(command);
    (running, binary)
}

#[test]
fn masters_and_workers_are_listed_with_what_they_are() {
    let nginx = Nginx::builder().workers(2).start().unwrap();
    let master = nginx.master_pid();
    let listed = rows(|row| row["master"] == master);
    let roles: Vec<&str> = listed.iter().map(|row| row["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["master", "worker", "worker"]);
    let mut pids: Vec<u64> = listed[1..].iter().map(|row| row["pid"].as_u64().unwrap()).collect();
    pids.sort_unstable();
    assert_eq!(pids, nginx.worker_pids().into_iter().map(u64::from).collect::<Vec<_>>());
    for row in &listed {
        assert!(row["resident"].as_u64() > Some(1 << 20), "{row}");
        assert!(row["executable"].as_str().unwrap().ends_with("/nginx"), "{row}");
        assert_eq!(row["executable_state"], "present", "{row}");
        assert!(row["server"].as_str().unwrap().starts_with("nginx/"), "{row}");
    }
    assert!(listed[1..].iter().all(|row| row["parent"] == master));
    assert!(listed[1]["resident"].as_u64() >= listed[2]["resident"].as_u64());
    let table = text(&ps(Path::new(env!("CARGO_BIN_EXE_poolscope")), &[], None).stdout);
    assert!(table.lines().next().unwrap().trim_start().starts_with("pid  parent  role"), "{table}");
    let line = table.lines().find(|line| line.split_whitespace().next() == Some(&master.to_string())).unwrap();
    assert!(line.contains("master") && line.contains(&nginx.prefix().display().to_string()), "{line}");
}

#[test]
fn what_only_looks_like_nginx_is_not_listed() {
    let folder = Folder::new("alike");
    let copy = folder.0.join("nginx");
    std::fs::copy("/bin/sleep", &copy).unwrap();
    let alike = |program: &Path, title: &str| {
        let mut command = Command::new(program);
        command.arg0(title).arg("60").stdin(Stdio::null());
        Running::start(command)
    };
    let sleep = Path::new("/bin/sleep");
    let running = [
        alike(sleep, "nginx: worker process"),
        alike(sleep, "vim nginx.conf"),
        alike(sleep, "nginx"),
        alike(&copy, "nginx"),
    ];
    for child in &running {
        let started =
            || std::fs::read(format!("/proc/{}/cmdline", child.0.id())).is_ok_and(|line| line.ends_with(b"60\0"));
        wait_for("it has been started", started);
        assert_eq!(row_of(child.0.id()), None);
    }
}

#[test]
fn a_binary_of_another_name_is_known_by_its_title_and_a_deleted_one_is_marked() {
    let folder = Folder::new("renamed");
    let (running, binary) = start_copy(&folder, "gateway", "worker_processes 1;");
    let pid = running.0.id();
    wait_for("it has a worker", || rows(|row| row["master"] == pid).len() == 2);
    let row = row_of(pid).unwrap();
    assert_eq!((&row["role"], &row["executable_state"]), (&Value::from("master"), &Value::from("present")));
    assert_eq!(row["executable"], binary.display().to_string());
    std::fs::remove_file(&binary).unwrap();
    assert_eq!(row_of(pid).unwrap()["executable_state"], "deleted");
    std::fs::write(&binary, "another").unwrap();
    assert_eq!(row_of(pid).unwrap()["executable_state"], "replaced");
    assert_eq!(row_of(pid).unwrap()["executable"], binary.display().to_string());
}

#[test]
fn a_process_without_a_title_is_known_by_its_name() {
    let folder = Folder::new("single");
    let (running, _) = start_copy(&folder, "nginx", "master_process off;");
    wait_for("it is listed", || row_of(running.0.id()).is_some());
    let row = row_of(running.0.id()).unwrap();
    assert_eq!(row["role"], "single_process");
    assert!(row["master"].is_null());
}

#[test]
fn without_root_all_is_listed_that_can_be_read() {
    let nginx = Nginx::builder().start().unwrap();
    let folder = Folder::new("nobody");
    // The binary may lie in a folder that nobody else may enter.
    let copy = folder.0.join("poolscope");
    std::fs::copy(env!("CARGO_BIN_EXE_poolscope"), &copy).unwrap();
    let is_root = nix::unistd::geteuid().is_root();
    let output = ps(&copy, &["--format", "ndjson"], is_root.then_some(65534));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines = text(&output.stdout);
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let master = rows.iter().find(|row| row["pid"] == nginx.master_pid()).unwrap();
    assert_eq!(master["role"], "master");
    assert!(master["resident"].as_u64() > Some(1 << 20));
    // The master is root's if we are root.
    assert_eq!(master["executable"].is_null(), is_root);
    let notes = text(&output.stderr);
    assert_eq!(notes.lines().count(), usize::from(is_root), "{notes}");
    assert_eq!(notes.contains("CAP_SYS_PTRACE"), is_root, "{notes}");
}
