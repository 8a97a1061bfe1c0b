//! What cannot be studied: one clear sentence, the right exit status, the target untouched.

use assert_cmd::Command;
use poolscope_fixtures::{HeapProgram, Helper, HelperKind, Kind, Nginx};
use std::process::Stdio;

struct Answer {
    status: i32,
    stdout: String,
    stderr: String,
}

fn poolscope(arguments: &[&str]) -> Answer {
    let output = Command::new(env!("CARGO_BIN_EXE_poolscope")).args(arguments).output().unwrap();
    Answer {
        status: output.status.code().expect("no signal ended it"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The command fails with exactly one sentence, which names all these things.
fn assert_refused(arguments: &[&str], words: &[&str]) {
    let answer = poolscope(arguments);
    assert_eq!(answer.status, 1, "{}", answer.stderr);
    assert_eq!(answer.stdout, "");
    assert_eq!(answer.stderr.lines().count(), 1, "{}", answer.stderr);
    assert!(answer.stderr.starts_with("poolscope: "), "{}", answer.stderr);
    for word in words {
        assert!(answer.stderr.contains(word), "{word:?} is not in: {}", answer.stderr);
    }
}

fn snapshot_of(pid: u32) -> [String; 2] {
    ["snapshot".to_owned(), pid.to_string()]
}

fn assert_pid_refused(pid: u32, words: &[&str]) {
    let arguments = snapshot_of(pid);
    assert_refused(&[&arguments[0], &arguments[1]], words);
}

#[test]
fn a_pid_that_does_not_exist() {
    // One above the largest pid that Linux gives out (PID_MAX_LIMIT).
    assert_refused(&["snapshot", "4194305"], &["no process 4194305", "poolscope ps"]);
}

#[test]
fn a_thread_of_a_process() {
    let program = HeapProgram::start(Kind::Threads, 1).unwrap();
    let mut threads = std::fs::read_dir(format!("/proc/{}/task", program.pid())).unwrap();
    let thread = threads.find_map(|entry| {
        let tid: u32 = entry.unwrap().file_name().to_str()?.parse().ok()?;
        (tid != program.pid()).then_some(tid)
    });
    let process = format!("process {}", program.pid());
    assert_pid_refused(thread.unwrap(), &["is a thread of", &process]);
}

#[test]
fn a_zombie() {
    let zombie = Helper::start(HelperKind::Zombie).unwrap();
    assert_pid_refused(zombie.pid(), &["zombie", "parent"]);
}

#[test]
fn a_kernel_thread() {
    // kthreadd is pid 2, or in a container not to be seen at all: then pid 2 is somebody else, or nobody.
    match std::fs::read_to_string("/proc/2/comm").as_deref().map(str::trim) {
        Ok("kthreadd") => assert_pid_refused(2, &["kthreadd", "kernel thread"]),
        Ok(_) => assert!(!poolscope(&["snapshot", "2"]).stderr.contains("kernel thread")),
        Err(_) => assert_pid_refused(2, &["no process 2"]),
    }
}

#[test]
fn a_process_that_somebody_else_traces() {
    use poolscope::target::freeze::{Freeze, Patience};
    let program = HeapProgram::start(Kind::Single, 1).unwrap();
    let freeze = Freeze::stop(program.pid() as i32, Patience::default()).unwrap();
    let tracer = std::process::id().to_string();
    assert_pid_refused(program.pid(), &["already traced", &tracer, "detach"]);
    freeze.release();
}

/// As another user, if we may become one.
fn as_nobody(pid: u32) -> Option<std::process::Output> {
    use std::os::unix::process::CommandExt;
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    // The binary may lie in a folder that nobody else may enter; what is already open can be run all the same.
    let folder = std::env::temp_dir().join(format!("poolscope-as-nobody-{}-{pid}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let copy = folder.join("poolscope");
    std::fs::copy(env!("CARGO_BIN_EXE_poolscope"), &copy).unwrap();
    let output = std::process::Command::new(&copy)
        .args(snapshot_of(pid))
        .uid(65534)
        .gid(65534)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    Some(output)
}

#[test]
fn a_process_of_another_user() {
    let program = HeapProgram::start(Kind::Single, 2).unwrap();
    match as_nobody(program.pid()) {
        Some(output) => {
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{stderr}");
            for word in ["CAP_SYS_PTRACE", "user 0", "65534", "sudo"] {
                assert!(stderr.contains(word), "{word:?} is not in: {stderr}");
            }
        }
        // Not root ourselves: then the first process is one of another user.
        None => assert_pid_refused(1, &["CAP_SYS_PTRACE", "sudo"]),
    }
}

#[test]
fn a_process_that_is_not_dumpable() {
    let program = Helper::start(HelperKind::Undumpable).unwrap();
    match as_nobody(program.pid()) {
        // It runs as root here, which is told first: being another user's is reason enough.
        Some(output) => {
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{stderr}");
            assert!(stderr.contains("CAP_SYS_PTRACE"), "{stderr}");
            // With the capability it is no obstacle.
            assert_eq!(poolscope(&["snapshot", &program.pid().to_string()]).status, 0);
        }
        None => assert_pid_refused(program.pid(), &["not dumpable", "CAP_SYS_PTRACE"]),
    }
}

/// A process with a library of that name loaded first, as one that replaces malloc would be.
fn with_library(name: &str) -> std::process::Child {
    let folder = std::env::temp_dir().join(format!("poolscope-library-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let source = folder.join("library.c");
    std::fs::write(&source, "int poolscope_test_library;\n").unwrap();
    let library = folder.join(name);
    let compiler = ["-shared", "-fPIC", "-o"];
    let status = std::process::Command::new("cc").args(compiler).arg(&library).arg(&source).status().unwrap();
    assert!(status.success());
    let child = std::process::Command::new("sleep").arg("60").env("LD_PRELOAD", &library).spawn().unwrap();
    let maps = || std::fs::read_to_string(format!("/proc/{}/maps", child.id())).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(90);
    while !(maps().contains(name) && maps().contains("libc.so.6")) {
        assert!(std::time::Instant::now() < deadline, "{}", maps());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    std::fs::remove_dir_all(folder).unwrap();
    child
}

#[test]
fn another_allocator_is_named_and_its_heap_not_walked() {
    let mut child = with_library("libjemalloc.so.2");
    let answer = poolscope(&["snapshot", &child.id().to_string()]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(answer.status, 3, "{}", answer.stderr);
    assert!(answer.stdout.contains("the allocator is jemalloc"), "{}", answer.stdout);
    assert!(answer.stdout.contains("[heap], not walked"), "{}", answer.stdout);
    assert!(!answer.stdout.contains("glibc, in use"), "{}", answer.stdout);
}

#[test]
fn a_process_that_is_not_nginx_still_shows_its_heap() {
    let program = HeapProgram::start(Kind::Single, 4).unwrap();
    let answer = poolscope(&["snapshot", &program.pid().to_string()]);
    assert_eq!(answer.status, 0, "{}", answer.stderr);
    assert!(answer.stdout.contains("not nginx"), "{}", answer.stdout);
    assert!(answer.stdout.contains("glibc, in use"), "{}", answer.stdout);
}

#[test]
fn a_binary_for_32_bits_is_named_as_such() {
    let nginx = Nginx::builder().start().unwrap();
    let binary = format!("/proc/{}/exe", nginx.worker_pid().unwrap());
    let mut bytes = std::fs::read(binary).unwrap();
    // EI_CLASS of the ELF header: 1 is 32-bit.
    bytes[4] = 1;
    let path = std::env::temp_dir().join(format!("poolscope-elf32-{}", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    let binary = poolscope::debug::Binary::open(&path).unwrap();
    let error = poolscope::debug::DebugInfo::load(&binary, &Default::default()).unwrap_err();
    std::fs::remove_file(&path).unwrap();
    assert!(error.to_string().contains("64-bit"), "{error}");
}

#[test]
fn wrong_usage_is_status_2() {
    for arguments in [&["snapshot"][..], &["snapshot", "worker"], &["no-such-command"], &["chunks", "1", "--size", "x"]]
    {
        assert_eq!(poolscope(arguments).status, 2, "{arguments:?}");
    }
}
