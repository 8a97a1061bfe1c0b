//! What docs/fleet.md tells to run, run as it stands there.

use crate::consumers::{duckdb, folder, promtool};
use crate::samples::{self, owner, worker};
use poolscope::report::{openmetrics, parquet};
use poolscope::snapshot::model::Snapshot;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Blocks of code of a language, in order.
fn blocks(language: &str) -> Vec<String> {
    let text = include_str!("../../docs/fleet.md");
    let fence = format!("```{language}\n");
    let blocks: Vec<String> =
        text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect();
    assert!(!blocks.is_empty(), "docs/fleet.md has no {language}");
    blocks
}

/// Bytes of an owner as chunks of 1040 and 48 bytes, which lie in two buckets.
fn held(key: &str, large: u64, small: u64) -> poolscope::snapshot::model::OwnerSummary {
    owner(key, large, &[(large, 1_040), (small, 48)])
}

fn export(folder: &Path, name: &str, snapshots: &[Snapshot]) {
    let create = |table: &str| File::create(folder.join(format!("exports/{table}-{name}.parquet"))).unwrap();
    parquet::write_owners(snapshots, create("owners")).unwrap();
    parquet::write_pools(snapshots, create("pools")).unwrap();
}

/// Workers of three machines, looked at several times over some hours.
fn fleet(name: &str) -> PathBuf {
    let folder = folder(name);
    fs::create_dir(folder.join("exports")).unwrap();
    let with_pools = |mut snapshot: Snapshot, slots: std::ops::Range<u32>| {
        snapshot.pools = slots.map(|slot| samples::pool(slot, &format!("svc-{}", slot % 2), 2_000)).collect();
        snapshot
    };
    // 1000 chunks of 1040 in two hours; requests that come and go; an owner that appears.
    let a = [
        worker("a", 7, 0.0, vec![held("dyups.deleting", 100, 5), held("request", 50, 0)]),
        worker("a", 7, 1.0, vec![held("dyups.deleting", 900, 5), held("request", 80, 0)]),
        worker("a", 7, 2.0, vec![held("dyups.deleting", 1100, 5), held("request", 50, 0), held("cycle", 4, 0)]),
    ];
    let [first, middle, last] = a;
    let (first, last) = (with_pools(first, 0..9), with_pools(last, 0..3));
    // Two of them come twice.
    export(&folder, "a-1", &[first, middle.clone()]);
    export(&folder, "a-2", &[middle, last.clone(), last]);
    // The same pid on another machine, which shrinks; then a new worker with that pid, seen once.
    let mut restarted = worker("b", 7, 4.5, vec![held("dyups.deleting", 9_000, 0)]);
    restarted.process.start_ticks = Some(900_000);
    let b = [0.0, 4.0].map(|hours| worker("b", 7, hours, vec![held("dyups.deleting", 500 - 100 * hours as u64, 0)]));
    export(&folder, "b", &[&b[..], &[with_pools(restarted, 3..4)]].concat());
    // An owner that goes away, and a core of nobody knows which worker.
    let mut core = worker("c", 9, 3.0, vec![held("request", 7_777, 0)]);
    (core.process.host, core.process.boot_id, core.process.start_ticks) = (None, None, None);
    let c = [
        worker("c", 9, 0.0, vec![held("connection", 10, 0), held("request", 1, 0)]),
        worker("c", 9, 0.5, vec![held("request", 1, 0)]),
    ];
    export(&folder, "c", &[&c[..], &[core]].concat());
    folder
}

#[test]
fn the_top_growing_owners_of_a_fleet_are_found() {
    let folder = fleet("fleet");
    let [view, owners, workers, deleted] = &blocks("sql")[..] else { panic!("four statements") };
    let rate = |chunks: f64, hours: f64| chunks * 1_040.0 / hours;
    let dyups = [rate(1_000.0, 2.0), rate(-400.0, 4.0)];
    assert_eq!(
        duckdb(&format!("{view}{owners}"), &folder),
        [
            format!("dyups.deleting | 2 | {} | {:?}", 1_040 * (1_100 + 100) + 5 * 48, dyups[0] + dyups[1]),
            format!("cycle | 1 | {} | {:?}", 1_040 * 4, rate(4.0, 2.0)),
            format!("request | 2 | {} | 0.0", 1_040 * 51),
            format!("connection | 1 | 0 | {:?}", rate(-10.0, 0.5)),
        ]
    );
    assert_eq!(
        duckdb(&format!("{view}{workers}"), &folder),
        [
            format!("a | 7 | dyups.deleting | {} | {} | {:?}", 1_040 * 100 + 240, 1_040 * 1_100 + 240, dyups[0]),
            format!("a | 7 | cycle | 0 | {} | {:?}", 1_040 * 4, rate(4.0, 2.0)),
        ]
    );
    // Slots 0 to 2 of the last snapshot of a's worker, and slot 3 of the new worker of b.
    assert_eq!(duckdb(deleted, &folder), ["svc-0 | 2 | 6 | 4000 | 1", "svc-1 | 2 | 6 | 4000 | 2"]);
}

#[test]
fn the_rules_are_valid_and_measure_growth() {
    let folder = folder("rules");
    fs::write(folder.join("rules.yml"), blocks("yaml").concat()).unwrap();
    // 10 MB more every ten minutes are 60 MB an hour; the group gets the same, and its limit is ten hours away.
    let test = r#"
rule_files: [rules.yml]
evaluation_interval: 10m
tests:
  - interval: 10m
    input_series:
      - series: 'poolscope_owner_bytes{instance="a", pid="7", owner="dyups.deleting"}'
        values: '0+10000000x60'
      - series: 'poolscope_owner_bytes{instance="a", pid="7", owner="cycle"}'
        values: '5000x60'
      - series: 'poolscope_cgroup_usage_bytes{instance="a", pid="7"}'
        values: '0+10000000x60'
      - series: 'poolscope_cgroup_limit_bytes{instance="a", pid="7"}'
        values: '1200000000x60'
      - series: 'poolscope_snapshot_timestamp_seconds{instance="a", pid="7"}'
        values: '0x60'
    promql_expr_test:
      - expr: round(poolscope:owner_growth_bytes_per_hour)
        eval_time: 6h
        exp_samples:
          - labels: '{instance="a", pid="7", owner="dyups.deleting"}'
            value: 60000000
          - labels: '{instance="a", pid="7", owner="cycle"}'
            value: 0
      - expr: round(instance_owner:poolscope_owner_growth_bytes_per_hour:sum{owner="dyups.deleting"})
        eval_time: 6h
        exp_samples:
          - labels: '{instance="a", owner="dyups.deleting"}'
            value: 60000000
    alert_rule_test:
      - alertname: PoolscopeOwnerGrows
        eval_time: 6h
        exp_alerts:
          - exp_labels: {instance: a, pid: "7", owner: dyups.deleting}
            exp_annotations: {summary: "dyups.deleting grows by 57.22MiB per hour in worker 7 of a"}
      - alertname: PoolscopeLimitNear
        eval_time: 6h
        exp_alerts:
          - exp_labels: {instance: a, pid: "7"}
            exp_annotations: {summary: "worker 7 of a will reach its memory limit within a day"}
      - alertname: PoolscopeSnapshotsAreOld
        eval_time: 30m
        exp_alerts: []
      - alertname: PoolscopeSnapshotsAreOld
        eval_time: 2h
        exp_alerts:
          - exp_labels: {instance: a, pid: "7"}
"#;
    fs::write(folder.join("test.yml"), test).unwrap();
    for arguments in [["check", "rules", "rules.yml"], ["test", "rules", "test.yml"]] {
        let (content, said) = promtool(&arguments, &folder, "");
        assert!(content, "{arguments:?}: {said}");
    }
}

/// Runs the documented script with a `poolscope` that writes `text` and ends with `status`.
fn collect(folder: &Path, text: &str, status: i32) -> bool {
    fs::write(folder.join("metrics"), text).unwrap();
    let program = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    program("poolscope", &format!("#!/bin/sh\ncat '{}/metrics'\nexit {status}\n", folder.display()));
    program("pgrep", "#!/bin/sh\necho 4242\n");
    program("poolscope-metrics", &blocks("sh")[0]);
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    Command::new(folder.join("poolscope-metrics")).arg(folder).env("PATH", path).status().unwrap().success()
}

#[test]
fn the_collector_gets_whole_files_only() {
    let folder = folder("collector");
    let mut text = Vec::new();
    openmetrics::write([samples::full()], &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let place = folder.join("poolscope.prom");
    // One of several workers ended: the others are there, and poolscope's status is 1.
    assert!(collect(&folder, &text, 1));
    assert_eq!(fs::read_to_string(&place).unwrap(), text);
    assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o644);
    for broken in ["", &text[..text.len() - 6]] {
        assert!(!collect(&folder, broken, 1));
        assert_eq!(fs::read_to_string(&place).unwrap(), text, "what was there stays");
        assert!(!folder.join("poolscope.prom.new").exists());
    }
}
