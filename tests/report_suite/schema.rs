//! docs/snapshot-schema.md against what is written.

use crate::samples;
use poolscope::report::json;
use poolscope::report::rows::{ChunkLine, Row};
use poolscope::snapshot::finding::Finding;
use poolscope::snapshot::model::Snapshot;
use poolscope::snapshot::pool::PoolRow;
use serde_json::Value;
use std::collections::BTreeSet;

const DOCUMENT: &str = include_str!("../../docs/snapshot-schema.md");

fn document(snapshot: &Snapshot) -> Value {
    let mut out = Vec::new();
    json::write(snapshot, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.matches('\n').count(), 1, "one line, so that several are newline-delimited JSON");
    serde_json::from_str(&text).unwrap()
}

/// Every field that a snapshot can have.
fn everything() -> Snapshot {
    let mut snapshot = samples::with_chunks();
    let leak = samples::incomplete();
    snapshot.pool_check = leak.pool_check;
    snapshot.books = leak.books;
    snapshot.findings.extend(samples::busy().findings);
    snapshot.layouts.nginx = samples::stripped().layouts.nginx;
    snapshot.groups = samples::loaded().groups;
    snapshot.pools.extend(samples::with_clients().pools);
    snapshot
}

fn collect(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                names.insert(name.clone());
                collect(value, names);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, names)),
        _ => {}
    }
}

fn undocumented(names: impl IntoIterator<Item = String>) -> Vec<String> {
    names.into_iter().filter(|name| !DOCUMENT.contains(&format!("`{name}`"))).collect()
}

#[test]
fn every_field_is_documented() {
    let mut names = BTreeSet::new();
    collect(&document(&everything()), &mut names);
    names.extend(PoolRow::FIELDS.iter().chain(ChunkLine::FIELDS).map(|name| (*name).to_owned()));
    assert!(names.len() > 80, "{names:?}");
    assert_eq!(undocumented(names), Vec::<String>::new());
}

#[test]
fn every_kind_of_finding_and_of_memory_is_documented() {
    let document = document(&everything());
    let kinds = |list: &str| -> Vec<String> {
        document[list].as_array().unwrap().iter().map(|item| item["kind"].as_str().unwrap().to_owned()).collect()
    };
    let findings = kinds("findings");
    assert_eq!(findings.iter().collect::<BTreeSet<_>>().len(), 9, "{findings:?}");
    // A new kind must be added to the samples, too: this match makes the compiler say so.
    for finding in &everything().findings {
        match finding {
            Finding::DeletedButReferenced { .. }
            | Finding::DeletedAndUnreferenced { .. }
            | Finding::PoolsWithoutOwner { .. }
            | Finding::OutsidePools { .. }
            | Finding::FreeButKept { .. }
            | Finding::LargePool { .. }
            | Finding::ShuttingDown { .. }
            | Finding::UnreachablePools { .. }
            | Finding::Unreferenced { .. }
            | Finding::Unknown => {}
        }
    }
    assert_eq!(undocumented(findings), Vec::<String>::new());
    assert_eq!(undocumented(kinds("memory")), Vec::<String>::new());
    assert_eq!(undocumented(["brk_heap", "dwarf", "built_in", "none"].map(str::to_owned)), Vec::<String>::new());
}

#[test]
fn addresses_are_hex_strings() {
    let document = document(&everything());
    assert_eq!(document["pools"][0]["address"], "0x55d0c8b4f2b0");
    assert_eq!(document["chunks"][1], serde_json::json!(["0x55d0c8a40000", 311312, "in_use", "main", 0, 1, null]));
    assert_eq!(document["pool_check"]["only_by_name"][0][0], "0x55d0c8a3f2b0");
    let large =
        document["findings"].as_array().unwrap().iter().find(|finding| finding["kind"] == "large_pool").unwrap();
    assert_eq!(large["address"], "0x55d0c7ff1010");
    assert_eq!(document["books"]["arenas"][0]["address"], "0x7f601d7f6ac0");
}

#[test]
fn chunks_are_left_out_unless_asked_for() {
    assert!(document(&samples::leak()).get("chunks").is_none());
}

#[test]
fn the_version_is_that_of_the_document() {
    let version = document(&samples::leak())["schema_version"].to_string();
    assert!(DOCUMENT.contains(&format!("Schema version {version}")));
}
