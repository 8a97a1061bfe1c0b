use super::*;
use crate::analysis::doctor::{Diagnosis, State};
use crate::analysis::processes::{Listed, WorkersError};
use crate::analysis::{Options, Progress};
use crate::cli::args::Args;
use crate::cli::outcome::of_error;
use crate::cli::terminal::Environment;
use crate::malloc::books::{ArenaBooks, Books};
use crate::malloc::chunk::ChunkState;
use crate::snapshot::chunks::{ArenaName, ChunkRow, ChunkTable};
use crate::snapshot::explanation::Explanation;
use crate::snapshot::model::{FreezeInfo, HexAddr, OwnerSummary, ProcessInfo};
use crate::snapshot::pool::{PoolOwner, PoolRow};
use crate::target::process::TargetError;
use clap::Parser;

/// A process with an empty heap that reconciles.
fn snapshot(pid: i32) -> Snapshot {
    Snapshot {
        process: ProcessInfo {
            pid,
            parent: 1,
            role: "process".into(),
            executable: "/bin/test".into(),
            ..ProcessInfo::default()
        },
        coverage: Some(1.0),
        books: Some(Books::default()),
        chunks: Some(ChunkTable::default()),
        ..Snapshot::default()
    }
}

const MAIN: u64 = 0x7f60_1d7f_6ac0;
const OTHER: u64 = 0x7f5a_2c00_0030;

/// A worker of nginx without debug info, with two arenas and a chunk in each.
fn stripped(pid: i32) -> Snapshot {
    let mut snapshot = snapshot(pid);
    snapshot.process.server = Some("nginx/1.28.3".into());
    snapshot.layouts.nginx.kind = "built_in".into();
    let arena = |address| ArenaBooks { address, is_main: address == MAIN, ..ArenaBooks::default() };
    snapshot.books = Some(Books { arenas: vec![arena(MAIN), arena(OTHER)], ..Books::default() });
    let chunk = |address, arena| ChunkRow {
        address,
        size: 32,
        state: ChunkState::InUse,
        arena,
        owner: None,
        pool: None,
        group: None,
    };
    let rows = [chunk(0x1010, ArenaName::Main), chunk(0x2010, ArenaName::Other(OTHER))];
    snapshot.chunks = Some(rows.into_iter().collect());
    snapshot
}

/// A worker of nginx with debug info, with one pool, of its cycle.
fn with_cycle(pid: i32) -> Snapshot {
    let mut snapshot = stripped(pid);
    snapshot.layouts.nginx.kind = "dwarf".into();
    let owner = PoolOwner { kind: "cycle".into(), label: "cycle".into(), ..PoolOwner::default() };
    snapshot.pools = vec![PoolRow { owner: owner.into(), ..PoolRow::default() }];
    snapshot.owners = vec![OwnerSummary { owner: "cycle".into(), pools: 1, ..OwnerSummary::default() }];
    snapshot
}

/// A worker of nginx whose heap was not walked.
fn not_walked(pid: i32) -> Snapshot {
    let notes = vec!["the allocator is musl, and only glibc's heap can be walked".into(), "another note".into()];
    Snapshot { coverage: None, books: None, chunks: None, notes, ..stripped(pid) }
}

/// 6 is nginx, 7 is not, 8 is nginx without debug info, and 9 is one with another allocator. Pids from 1000 on are not there;
/// those from 100 on are incomplete. Files hold process 1, or as many of it as their name says.
struct Made;

impl Obtain for Made {
    fn processes(&self) -> Vec<Listed> {
        Vec::new()
    }

    /// 1 has three, of which one has exited by now.
    fn workers_of(&self, master: i32) -> anyhow::Result<Vec<i32>> {
        match master {
            1 => Ok(vec![7, 1000, 3]),
            _ => Err(WorkersError::NotNginx(master).into()),
        }
    }

    /// Pids are those of `obtain`; without debug info something is missing.
    fn examine(&self, pid: i32, _: &Options, _: &dyn Progress) -> anyhow::Result<Diagnosis> {
        let verdict = match pid {
            1000.. => return Err(TargetError::NoSuchProcess(pid).into()),
            8 => State::Warn,
            9 => State::Stops,
            _ => State::Ok,
        };
        let (expected_pause, own_memory) = (None, None);
        Ok(Diagnosis { pid, title: None, verdict, checks: Vec::new(), expected_pause, own_memory })
    }

    fn obtain(&self, target: &Target, _: Wanted, _: &Options, _: &dyn Progress) -> anyhow::Result<Vec<Snapshot>> {
        let Target::Pid(pid) = target else { return Ok(vec![snapshot(1)]) };
        match pid {
            1000.. => Err(TargetError::NoSuchProcess(*pid).into()),
            6 => Ok(vec![with_cycle(6)]),
            8 => Ok(vec![stripped(8)]),
            9 => Ok(vec![not_walked(9)]),
            100.. => Ok(vec![Snapshot { coverage: Some(0.5), ..snapshot(*pid) }]),
            _ => Ok(vec![snapshot(*pid)]),
        }
    }

    fn explain(
        &self,
        target: &Target,
        addresses: &[u64],
        options: &Options,
        progress: &dyn Progress,
    ) -> anyhow::Result<(Snapshot, Vec<Explanation>)> {
        let wanted = Wanted { pools: true, chunks: true };
        let snapshot = self.obtain(target, wanted, options, progress)?.remove(0);
        let explained = crate::analysis::explain_saved(&snapshot, addresses);
        Ok((snapshot, explained))
    }
}

fn ran(words: &str) -> (Outcome, String, String) {
    let args = Args::try_parse_from(words.split(' ')).unwrap();
    let plan = Plan::new(args, &Environment::default()).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let outcome = run(&plan, &Made, &mut out, &mut err).unwrap();
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
    let (outcome, out, err) = ran("poolscope chunks 100 --format ndjson --quiet");
    assert_eq!((outcome, out.as_str(), err.as_str()), (Outcome::Incomplete, "", ""));
    let (.., err) = ran("poolscope chunks 100 --format csv");
    assert!(err.ends_with("`poolscope snapshot 100` says why\n"), "{err}");
}

#[test]
fn what_cannot_be_listed_is_one_sentence_and_no_table() {
    for words in ["poolscope pools 7", "poolscope pools 7 --format csv", "poolscope pools 7 --quiet"] {
        let (outcome, out, err) = ran(words);
        assert_eq!((outcome, out.as_str()), (Outcome::Failed, ""));
        assert_eq!(err, "poolscope: process 7 has no pools: /bin/test is not nginx\n");
    }
    for what in ["pools", "chunks"] {
        let (outcome, out, err) = ran(&format!("poolscope {what} 9"));
        assert_eq!((outcome, out.as_str()), (Outcome::Failed, ""));
        assert_eq!(
            err,
            format!(
                "poolscope: no {what} of process 9 can be listed: the allocator is musl, and only glibc's heap can be walked\n"
            )
        );
    }
    assert_eq!(ran("poolscope chunks 7").0, Outcome::Fine);
    assert_eq!(ran("poolscope snapshot 9").0, Outcome::Incomplete);
}

#[test]
fn unknown_owners_are_told_by_every_command() {
    for (command, told) in [
        ("snapshot 8", "the report says why"),
        ("pools 8", "`poolscope snapshot 8` says why"),
        ("pools 8 --owner dyups", "`poolscope snapshot 8` says why"),
        ("chunks 8", "`poolscope snapshot 8` says why"),
    ] {
        let (outcome, out, err) = ran(&format!("poolscope {command}"));
        assert_eq!(outcome, Outcome::Incomplete);
        assert!(!out.is_empty());
        let told = format!("owners of pools are not known without nginx's debug info; {told}\n");
        assert_eq!(err, format!("poolscope: the snapshot of 8 is incomplete: {told}"));
    }
}

#[test]
fn an_owner_that_nobody_has_is_told_beside_clean_rows() {
    for format in ["table", "ndjson", "csv"] {
        let (outcome, out, err) = ran(&format!("poolscope pools 6 --owner nosuch --format {format}"));
        assert_eq!(outcome, Outcome::Fine);
        assert!(!out.contains("nosuch"), "{out}");
        assert_eq!(err, "poolscope: no pool has the owner \"nosuch\": the only owner here is cycle\n");
        let (outcome, out, err) = ran(&format!("poolscope chunks 6 --owner nosuch --format {format}"));
        assert_eq!(outcome, Outcome::Fine);
        assert!(!out.contains("nosuch"), "{out}");
        assert_eq!(err, "poolscope: no chunk has the owner \"nosuch\": the owners here are cycle, outside_pools\n");
    }
    let (_, _, err) = ran("poolscope pools 6 --owner cycle --size 1M..");
    assert_eq!(err, "poolscope: no pool fits all that was asked for\n");
    assert_eq!(ran("poolscope pools 6 --owner cycle").2, "");
    assert_eq!(ran("poolscope pools 6 --owner nosuch --quiet").2, "");
}

#[test]
fn an_arena_is_found_by_its_address() {
    let rows = |arena: String| {
        let (_, out, _) = ran(&format!("poolscope chunks 8 --format csv --arena {arena}"));
        out.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(rows(format!("{MAIN:#x}")), ["0x1010,32,in_use,main,,,,"]);
    assert_eq!(rows(format!("{MAIN:#x}")), rows("main".into()));
    assert_eq!(rows(format!("{OTHER:#x}")), ["0x2010,32,in_use,0x7f5a2c000030,,,,"]);
    assert_eq!(rows("mmapped".into()), Vec::<String>::new());
    let (outcome, out, err) = ran("poolscope chunks 8 --arena 0x1000");
    assert_eq!((outcome, out.as_str()), (Outcome::Failed, ""));
    assert_eq!(err, "poolscope: process 8 has no arena at 0x1000; it has main (0x7f601d7f6ac0), 0x7f5a2c000030\n");
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
    // Between two stops they may have become what they are.
    disagreeing.pool_check.problems.push("a pool leads nowhere".into());
    disagreeing.freeze = Some(FreezeInfo { stops: 2, ..FreezeInfo::default() });
    assert_eq!((shortcoming(&disagreeing), disagreeing.changed_meanwhile()), (None, 2));
    disagreeing.pool_check.unfinished.push("a tree has no end".into());
    assert!(shortcoming(&disagreeing).is_some());
    assert!(shortcoming(&Snapshot { coverage: None, books: None, ..snapshot(1) }).is_some());
    let blind = Snapshot { coverage: Some(0.5), ..stripped(1) };
    assert_eq!(
        shortcoming(&blind).unwrap(),
        "50.00 % of the heap was accounted for, and owners of pools are not known without nginx's debug info"
    );
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
    for words in ["poolscope snapshot 1", "poolscope snapshot 1 --format json", "poolscope pools 8 --format csv"] {
        let plan = Plan::new(Args::try_parse_from(words.split(' ')).unwrap(), &Environment::default()).unwrap();
        let fail = |kind| of_error(run(&plan, &Made, &mut Closed(kind), &mut Vec::new()).unwrap_err());
        assert_eq!(fail(io::ErrorKind::BrokenPipe), Outcome::Fine);
        assert_eq!(fail(io::ErrorKind::StorageFull), Outcome::Failed);
    }
}

#[test]
fn an_address_is_explained_by_its_chunk() {
    let (outcome, out, _) = ran("poolscope explain 8 0x1018 0x5000");
    assert_eq!(outcome, Outcome::Incomplete);
    assert!(out.contains("0x1010, 32 B, in use, arena main: 0x8 in"), "{out}");
    assert!(out.contains("\n\n0x5000\n"), "{out}");
    let (_, out, _) = ran("poolscope explain 8 0x1008 --format json");
    let explained: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(explained["chunk"]["offset"], -8);
    assert_eq!(ran("poolscope explain 1000 0x1008").0, Outcome::Failed);
}

#[test]
fn a_snapshot_is_saved_where_it_is_told_to_and_shown_all_the_same() {
    let folder = std::env::temp_dir().join(format!("poolscope-saved-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (outcome, out, err) = ran(&format!("poolscope snapshot 1 2 -o {}", folder.display()));
    let mut names: Vec<String> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    std::fs::remove_dir_all(&folder).unwrap();
    names.sort();
    assert_eq!(outcome, Outcome::Fine);
    assert!(out.contains("process 1 ") && err.matches("poolscope: saved ").count() == 2, "{out}{err}");
    assert_eq!(names, ["test-1-19700101T000000Z.snap", "test-2-19700101T000000Z.snap"]);
    let (outcome, out, err) = ran("poolscope snapshot 1 -o /proc/x.snap");
    assert_eq!(outcome, Outcome::Failed);
    assert!(out.starts_with("process 1 ") && err.contains("cannot create a file in /proc:"), "{err}");
}

#[test]
fn workers_of_a_master_are_shown_in_order_and_one_that_has_exited_is_told() {
    let (outcome, out, err) = ran("poolscope snapshot --workers-of 1");
    assert_eq!(outcome, Outcome::Failed);
    assert!(out.starts_with("process 7 ") && out.contains("\n\nprocess 3 "), "{out}");
    assert!(err.contains("no process 1000") && err.lines().count() == 1, "{err}");
}

#[test]
fn who_is_no_master_has_no_workers() {
    let (outcome, out, err) = ran("poolscope snapshot --workers-of 7");
    assert_eq!((outcome, out.as_str()), (Outcome::Failed, ""));
    assert!(err.contains("process 7 is no nginx master"), "{err}");
}

#[test]
fn many_targets_are_shown_in_the_order_in_which_they_were_given() {
    let pids: Vec<String> = (10..40).rev().map(|pid| pid.to_string()).collect();
    let (outcome, out, err) = ran(&format!("poolscope snapshot {}", pids.join(" ")));
    assert_eq!((outcome, err.as_str()), (Outcome::Fine, ""));
    let shown = out.lines().filter_map(|line| line.strip_prefix("process ")?.split(' ').next().map(str::to_owned));
    assert_eq!(shown.collect::<Vec<_>>(), pids);
}

#[test]
fn no_nginx_is_a_sentence_and_status_1() {
    for words in ["poolscope ps", "poolscope ps --format json"] {
        let (outcome, out, err) = ran(words);
        assert_eq!((outcome, out.as_str()), (Outcome::Failed, ""));
        assert!(err.contains("no nginx is running here") && err.lines().count() == 1, "{err}");
    }
}

#[test]
fn a_diagnosis_ends_as_a_snapshot_would() {
    let outcome = |words: &str| ran(words).0;
    assert_eq!(outcome("poolscope doctor 7"), Outcome::Fine);
    assert_eq!(outcome("poolscope doctor 7 8"), Outcome::Incomplete);
    assert_eq!(outcome("poolscope doctor 9 8"), Outcome::Failed);
    let (outcome, out, err) = ran("poolscope doctor 1000 7");
    assert_eq!(outcome, Outcome::Failed);
    assert!(out.starts_with("process 7") && err.contains("no process 1000"), "{out}{err}");
    assert_eq!(ran("poolscope doctor 7 8 --format json").1.lines().count(), 2);
}
