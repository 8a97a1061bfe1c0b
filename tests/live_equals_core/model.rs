//! What of two models must be equal: everything but what a core cannot know.

use poolscope::snapshot::chunks::ChunkTable;
use poolscope::snapshot::model::Snapshot;
use serde_json::Value;
use std::path::Path;

/// What only a live process tells: when and how it was looked at, since when it runs, how much of it is in memory.
const OF_THE_LIVING: [&str; 4] = ["taken_at", "freeze", "limits", "source"];
const OF_LIVING_PROCESSES: [&str; 7] =
    ["host", "age_seconds", "started_at", "start_ticks", "parent_start_ticks", "boot_id", "resident"];

/// Asserts that the two models are the same, chunk by chunk. `name` says which they are.
pub fn assert_equal(live: &Snapshot, core: &Snapshot, name: &str) {
    check_titles(live, core, name);
    check_parents(live, core, name);
    assert_eq_values(&comparable(live), &comparable(core), name);
    assert_equal_chunks(live.chunks.as_ref().unwrap(), core.chunks.as_ref().unwrap(), name);
}

/// The command line in a core: 80 bytes at most by Linux (`ELF_PRARGSZ`, one of them is a zero), and no more than the first word by gcore.
fn check_titles(live: &Snapshot, core: &Snapshot, name: &str) {
    let (live, core) = (&live.process.title, &core.process.title);
    assert!(!core.is_empty() && live.starts_with(core.as_str()), "{name}: {live:?} and {core:?}");
}

/// The kernel writes the id of the very thread that started the process, gcore the pid of its parent. The parent still runs.
fn check_parents(live: &Snapshot, core: &Snapshot, name: &str) {
    let (live, core) = (live.process.parent, core.process.parent);
    assert!(Path::new(&format!("/proc/{live}/task/{core}")).exists(), "{name}: {live} and {core}");
}

/// All that must be equal, without the chunks.
pub fn comparable(snapshot: &Snapshot) -> Value {
    let mut value = serde_json::to_value(Snapshot { chunks: None, ..snapshot.clone() }).unwrap();
    remove(&mut value, &OF_THE_LIVING);
    remove(&mut value["process"], &OF_LIVING_PROCESSES);
    remove(&mut value["process"], &["title", "parent"]);
    // What is in memory and what is swapped out a core does not tell.
    for row in value["memory"].as_array_mut().unwrap() {
        remove(row, &["resident", "swapped"]);
    }
    for finding in value["findings"].as_array_mut().unwrap() {
        finding.as_object_mut().unwrap().remove("resident");
        for holder in finding.get_mut("holders").and_then(Value::as_array_mut).into_iter().flatten() {
            remove(holder, &["oldest_ms"]);
        }
    }
    // The process is held with a signal, so that both see the same; a core does not tell.
    let notes = value["notes"].as_array_mut().unwrap();
    notes.retain(|note| !note.as_str().unwrap().contains("kill -CONT"));
    // What time it was when a core was written only nginx's own clock tells, which stands still while nginx waits.
    value["pools"].as_array_mut().unwrap().iter_mut().for_each(|pool| remove(pool, &["age_ms"]));
    value
}

fn remove(value: &mut Value, names: &[&str]) {
    let object = value.as_object_mut().unwrap();
    for name in names {
        assert!(object.remove(*name).is_some(), "the model has no {name}");
    }
}

/// Names what differs: whole models fill many screens.
pub fn assert_eq_values(live: &Value, core: &Value, name: &str) {
    let mut differences = Vec::new();
    compare(live, core, String::new(), &mut differences);
    differences.truncate(20);
    assert!(differences.is_empty(), "{name}: {differences:#?}");
}

fn compare(a: &Value, b: &Value, path: String, differences: &mut Vec<String>) {
    match (a, b) {
        (Value::Object(one), Value::Object(other)) if one.keys().eq(other.keys()) => {
            one.iter().for_each(|(key, value)| compare(value, &other[key], format!("{path}.{key}"), differences));
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            let pairs = one.iter().zip(other).enumerate();
            pairs.for_each(|(index, (one, other))| compare(one, other, format!("{path}[{index}]"), differences));
        }
        _ if a != b => differences.push(format!("{path} is {a} in the one and {b} in the other")),
        _ => {}
    }
}

/// Asserts that two models of one core are the same to the last field, but for the file that they were read from.
pub fn assert_same_core(one: &Snapshot, other: &Snapshot, name: &str) {
    let value = |snapshot: &Snapshot| {
        let mut value = serde_json::to_value(Snapshot { chunks: None, ..snapshot.clone() }).unwrap();
        remove(&mut value, &["taken_at"]);
        remove(&mut value["source"], &["file"]);
        value
    };
    assert_eq_values(&value(one), &value(other), name);
    assert_equal_chunks(one.chunks.as_ref().unwrap(), other.chunks.as_ref().unwrap(), name);
}

fn assert_equal_chunks(live: &ChunkTable, core: &ChunkTable, name: &str) {
    let different = live.iter().zip(core.iter()).find(|(live, core)| live != core);
    assert_eq!(different, None, "{name}");
    assert_eq!(live, core, "{name}");
}
