//! Nothing of the target is different afterwards.

use crate::looks::{options, stop_once, stop_thrice};
use crate::state::{status, threads, wait_until};
use nix::libc;
use poolscope::analysis::{Silent, take};
use poolscope::target::freeze::{Freeze, Patience};
use poolscope_fixtures::{HeapProgram, Kind, Leak, LeakPlan, Nginx};
use std::collections::hash_map::DefaultHasher;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// Every writable mapping of its own, by its line in `maps`, with a hash of what is in it.
fn contents(pid: u32) -> Vec<(String, u64)> {
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let lines = maps.lines().filter(|line| line.split_whitespace().nth(1).is_some_and(|rights| rights == "rw-p"));
    lines.map(|line| (line.to_owned(), hash_of(&memory, line))).collect()
}

fn hash_of(memory: &File, line: &str) -> u64 {
    let (begin, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
    let address = |text| u64::from_str_radix(text, 16).unwrap();
    let mut hasher = DefaultHasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut at = address(begin);
    while at < address(end) {
        let length = buffer.len().min((address(end) - at) as usize);
        memory.read_exact_at(&mut buffer[..length], at).unwrap();
        buffer[..length].hash(&mut hasher);
        at += length as u64;
    }
    hasher.finish()
}

/// The general registers of each thread, as a stop of our own finds them.
fn registers(pid: u32) -> Vec<(i32, Vec<u64>)> {
    let freeze = Freeze::stop(pid as i32, Patience::default()).unwrap();
    let registers = freeze.registers().into_iter().map(|thread| (thread.tid, thread.words)).collect();
    freeze.release();
    registers
}

#[test]
fn memory_and_registers_are_the_same_after_many_snapshots() {
    for kind in [Kind::Single, Kind::Threads] {
        // In a thread's rseq area the kernel notes the processor that the thread runs on, whenever that is another one.
        let target = HeapProgram::start_with(kind, 5, &[("GLIBC_TUNABLES", "glibc.pthread.rseq=0")]).unwrap();
        // It says "ready" a moment before it waits for the end of its input.
        wait_until("all its threads at rest", || is_at_rest(target.pid()));
        let before = (contents(target.pid()), registers(target.pid()));
        assert!(before.0.len() > 3 && before.1.iter().all(|(_, words)| words.len() > 16));
        for round in 0..50 {
            match round % 10 {
                0 => drop(take(target.pid() as i32, &options(), &Silent).unwrap()),
                1 => stop_thrice(target.pid()).unwrap(),
                _ => drop(stop_once(target.pid()).unwrap()),
            }
        }
        assert_eq!((contents(target.pid()), registers(target.pid())), before);
    }
}

/// Every thread waits in a system call, the first in `read`.
fn is_at_rest(pid: u32) -> bool {
    let waits = |tid: &u32| {
        let call = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall")).unwrap_or_default();
        let number = call.split(' ').next().and_then(|number| number.parse::<i64>().ok());
        number.is_some_and(|number| *tid != pid || number == libc::SYS_read)
    };
    threads(pid).iter().all(waits)
}

/// Of all mappings together, kilobytes.
fn rollup(pid: u32, kinds: &[&str]) -> Vec<String> {
    let pages = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let pages: Vec<String> =
        pages.lines().filter(|line| kinds.iter().any(|kind| line.starts_with(kind))).map(str::to_owned).collect();
    assert_eq!(pages.len(), kinds.len());
    pages
}

/// Page faults of the process itself: without and with reading from a disk.
fn faults(pid: u32) -> [u64; 2] {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    [7, 9].map(|field| fields[field].parse().unwrap())
}

#[test]
fn nothing_of_the_target_changes() {
    let nginx = Nginx::builder().start().unwrap();
    let _leak = Leak::run(&nginx, &LeakPlan::new(30, 1030), |_| ()).unwrap();
    let worker = nginx.worker_pid().unwrap();
    // VmRSS in status is only a sum of counters that each processor keeps for itself; these are counted page by page.
    let kinds = ["Rss:", "Anonymous:", "Private_Dirty:", "Swap:"];
    let look = || {
        let fds: Vec<_> = std::fs::read_dir(format!("/proc/{worker}/fd")).unwrap().collect();
        let maps = std::fs::read_to_string(format!("/proc/{worker}/maps")).unwrap();
        let signals = ["SigBlk", "SigIgn", "SigCgt", "SigPnd"].map(|field| status(worker, worker, field));
        (rollup(worker, &kinds), faults(worker), fds.len(), maps, threads(worker), signals)
    };
    // At each wake-up it moves on to another of its 64 time slots, on pages that it shares with its master until then; and it
    // goes through code of its own that it may not have run yet.
    for _ in 0..70 {
        stop_once(worker).unwrap();
    }
    take(worker as i32, &options(), &Silent).unwrap();
    let before = look();
    for round in 0..20 {
        match round % 4 {
            0 => stop_thrice(worker).unwrap(),
            _ => drop(take(worker as i32, &options(), &Silent).unwrap()),
        }
    }
    assert_eq!(look(), before);
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
    let before = resident_at_rest(worker);
    take(worker as i32, &options(), &Silent).unwrap();
    let after = resident_at_rest(worker);
    // The stop ends its wait for events: going on takes it through code that it may not have run yet, in nginx and in libc. The
    // kernel maps up to 64 KiB around such a page (`fault_around_bytes`).
    assert_eq!(after.0, before.0, "anonymous memory");
    assert!(after.1 <= before.1 + 2 * 64, "memory of files: {before:?} and {after:?}");
    take(worker as i32, &options(), &Silent).unwrap();
    assert_eq!(resident_at_rest(worker), after);
}

/// On a busy machine a worker is still at work on the leak when its clients have their answers.
fn resident_at_rest(pid: u32) -> (u64, u64) {
    const LOOKS: usize = 10;
    let mut latest = resident(pid);
    let mut same = 0;
    while same < LOOKS {
        std::thread::sleep(Duration::from_millis(30));
        let now = resident(pid);
        same = if now == latest { same + 1 } else { 0 };
        latest = now;
    }
    latest
}
