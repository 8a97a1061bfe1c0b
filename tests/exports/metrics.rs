//! Gauges: as they are read, and as their readers take them.

use crate::consumers::{folder, promtool, python};
use crate::samples;
use poolscope::report::openmetrics;
use poolscope::snapshot::model::Snapshot;
use serde_json::{Value, json};

fn exposition(snapshots: &[Snapshot]) -> String {
    let mut out = Vec::new();
    openmetrics::write(snapshots, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn workers() -> Vec<Snapshot> {
    let mut second = samples::full();
    second.process.pid = 4243;
    vec![samples::full(), second, samples::bare()]
}

/// Every sample as prometheus_client's OpenMetrics parser sees it: `[name, labels, value]`.
fn parsed(text: &str) -> Vec<Value> {
    let program = "import json, sys\n\
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n\
        text = sys.stdin.buffer.read().decode()\n\
        families = list(parse(text))\n\
        assert all(f.type == 'gauge' and f.documentation for f in families)\n\
        assert all(s.timestamp is None for f in families for s in f.samples)\n\
        print(json.dumps([[s.name, s.labels, s.value] for f in families for s in f.samples]))";
    serde_json::from_str(&python(program, &folder("parsed"), text)).unwrap()
}

#[test]
fn gauges_of_a_worker() {
    insta::assert_snapshot!(exposition(&[samples::full()]));
}

#[test]
fn promtool_finds_nothing_to_complain_of() {
    for (name, snapshots) in [("many", workers()), ("one", vec![samples::bare()])] {
        let said = promtool(&["check", "metrics"], &folder(&format!("promtool-{name}")), &exposition(&snapshots));
        assert_eq!(said, (true, String::new()), "{name}");
    }
    // It does complain where there is reason to.
    let broken = exposition(&workers()).replace("poolscope_findings{", "poolscope_findings_total{");
    assert!(!promtool(&["check", "metrics"], &folder("promtool-broken"), &broken).0);
}

#[test]
fn an_openmetrics_parser_reads_what_was_meant() {
    let snapshots = workers();
    let rows = parsed(&exposition(&snapshots));
    let find = |name: &str, labels: Value| {
        let mut found = rows.iter().filter(|row| row[0] == name && row[1] == labels);
        let value = found.next().unwrap_or_else(|| panic!("{name} {labels} is missing"))[2].as_f64().unwrap();
        assert!(found.next().is_none());
        value
    };
    for snapshot in &snapshots {
        let pid = snapshot.process.pid.to_string();
        assert_eq!(find("poolscope_snapshot_timestamp_seconds", json!({"pid": pid})), snapshot.taken_at);
        for owner in &snapshot.owners {
            let labels = json!({"pid": pid, "owner": owner.owner});
            assert_eq!(find("poolscope_owner_bytes", labels.clone()), owner.bytes as f64);
            assert_eq!(find("poolscope_owner_chunks", labels), owner.chunks as f64);
            for bucket in &owner.sizes.buckets {
                let labels = json!({"pid": pid, "owner": owner.owner, "from": bucket.from.to_string()});
                assert_eq!(find("poolscope_bucket_chunks", labels.clone()), bucket.chunks as f64);
                assert_eq!(find("poolscope_bucket_bytes", labels), bucket.bytes as f64);
            }
        }
    }
    let odd = rows.iter().find(|row| row[0] == "poolscope_info" && row[1]["pid"] == "99").unwrap();
    assert_eq!(odd[1]["server"], "se\"rv\\er\n");
}

#[test]
fn kinds_of_memory_can_be_summed() {
    let rows = parsed(&exposition(&[samples::full()]));
    let sizes = rows.iter().filter(|row| row[0] == "poolscope_memory_bytes");
    let sum: f64 = sizes.map(|row| row[2].as_f64().unwrap()).sum();
    assert_eq!(sum, f64::from(318_000 + (13 << 20)));
}
