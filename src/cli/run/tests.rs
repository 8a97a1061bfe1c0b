use super::*;
use crate::cli::args::Args;
use crate::cli::outcome::of_error;
use crate::cli::terminal::Environment;
use crate::malloc::books::Books;
use crate::snapshot::model::{FreezeInfo, HexAddr, Layouts, PoolCheck, ProcessInfo, SCHEMA_VERSION};
use crate::target::process::TargetError;
use clap::Parser;

/// A process with an empty heap that reconciles.
fn snapshot(pid: i32) -> Snapshot {
    Snapshot {
        schema_version: SCHEMA_VERSION,
        poolscope_version: "0".into(),
        taken_at: 0,
        process: ProcessInfo {
            pid,
            parent: 1,
            role: "process".into(),
            title: "test".into(),
            executable: "/bin/test".into(),
            build_id: None,
            server: None,
            age_seconds: 0,
            start_ticks: 0,
            threads: 1,
            resident: 0,
            allocator: "glibc".into(),
            allocator_version: None,
        },
        freeze: FreezeInfo { pause_microseconds: 1, place: "between_events".into(), stops: 1, bytes_read: 0 },
        layouts: Layouts::default(),
        memory: Vec::new(),
        coverage: Some(1.0),
        books: Some(Books::default()),
        mallinfo: None,
        thresholds: None,
        notes: Vec::new(),
        owners: Vec::new(),
        pool_check: PoolCheck::default(),
        pools: Vec::new(),
        findings: Vec::new(),
        chunks: None,
    }
}

/// 7 is not nginx. Pids from 1000 on are not there; those from 100 on are incomplete.
fn take(pid: i32, _: &Options, _: &dyn Progress) -> Result<Snapshot, SnapshotError> {
    match pid {
        1000.. => Err(TargetError::NoSuchProcess(pid).into()),
        7 => Ok(Snapshot { notes: vec!["/bin/test is not nginx".into()], ..snapshot(pid) }),
        100.. => Ok(Snapshot { coverage: Some(0.5), ..snapshot(pid) }),
        _ => Ok(snapshot(pid)),
    }
}

fn ran(words: &str) -> (Outcome, String, String) {
    let args = Args::try_parse_from(words.split(' ')).unwrap();
    let plan = Plan::new(args, &Environment::default()).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let outcome = run(&plan, &take, &mut out, &mut err).unwrap();
    (outcome, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
fn reports_of_several_processes_are_separated_by_an_empty_line() {
    let (outcome, out, err) = ran("poolscope snapshot 1 2");
    assert_eq!(outcome, Outcome::Fine);
    assert!(out.starts_with("process 1 ") && out.contains("\n\nprocess 2 "), "{out}");
    assert!(err.is_empty());
}

#[test]
fn json_of_several_processes_is_a_line_for_each() {
    let (_, out, _) = ran("poolscope snapshot 1 2 --format json");
    let pids =
        out.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["process"]["pid"].clone());
    assert_eq!(pids.collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn one_failure_does_not_keep_the_others_from_being_shown() {
    let (outcome, out, err) = ran("poolscope snapshot 1000 2 100");
    assert_eq!(outcome, Outcome::Failed);
    assert!(out.starts_with("process 2 ") && out.contains("process 100 "), "{out}");
    assert!(err.starts_with("poolscope: there is no process 1000"), "{err}");
}

#[test]
fn what_is_incomplete_is_told_unless_it_is_to_be_quiet() {
    let (outcome, _, err) = ran("poolscope snapshot 100");
    assert_eq!(outcome, Outcome::Incomplete);
    assert_eq!(
        err,
        "poolscope: the snapshot of 100 is incomplete: 50.00 % of the heap was accounted for; the report says why\n"
    );
    let (outcome, out, err) = ran("poolscope pools 100 --format ndjson --quiet");
    assert_eq!((outcome, out.as_str(), err.as_str()), (Outcome::Incomplete, "", ""));
    let (.., err) = ran("poolscope chunks 100 --format csv");
    assert!(err.ends_with("`poolscope snapshot 100` says why\n"), "{err}");
}

#[test]
fn an_empty_list_of_pools_is_explained() {
    assert_eq!(ran("poolscope pools 7").2, "poolscope: /bin/test is not nginx\n");
    assert_eq!(ran("poolscope pools 7 --quiet").2, "");
    assert_eq!(ran("poolscope chunks 7").2, "");
}

#[test]
fn any_disagreement_makes_a_snapshot_incomplete() {
    assert_eq!(shortcoming(&snapshot(1)), None);
    let mut disagreeing = snapshot(1);
    disagreeing.pool_check.problems.push("two pools claim a chunk".into());
    assert!(shortcoming(&disagreeing).is_some());
    let mut disagreeing = snapshot(1);
    disagreeing.pool_check.only_by_name.push((HexAddr(1), "path".into()));
    assert!(shortcoming(&disagreeing).is_some());
    assert!(shortcoming(&Snapshot { coverage: None, books: None, ..snapshot(1) }).is_some());
    let mut blind = snapshot(1);
    blind.process.server = Some("nginx/1.28.3".into());
    blind.layouts.nginx.kind = "none".into();
    assert!(shortcoming(&blind).is_some_and(|why| why.contains("debug info")));
}

/// An output that cannot be written to.
struct Closed(io::ErrorKind);

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(self.0.into())
    }
}

#[test]
fn a_reader_who_has_seen_enough_is_no_error_but_a_full_disk_is() {
    for words in ["poolscope snapshot 1", "poolscope snapshot 1 --format json", "poolscope pools 1 --format csv"] {
        let plan = Plan::new(Args::try_parse_from(words.split(' ')).unwrap(), &Environment::default()).unwrap();
        let fail = |kind| of_error(run(&plan, &take, &mut Closed(kind), &mut Vec::new()).unwrap_err());
        assert_eq!(fail(io::ErrorKind::BrokenPipe), Outcome::Fine);
        assert_eq!(fail(io::ErrorKind::StorageFull), Outcome::Failed);
    }
}
