//! docs/diff.md against what is written, and rows against each other.

use crate::samples::{self, Rest, as_core, gateway};
use poolscope::diff::{Diff, Fate, Relation, Steadiness, Trend, Verdict};
use poolscope::report::diff::{PoolChangeRow, json, pool_rows};
use poolscope::report::rows::{Machine, Row, write};
use poolscope::snapshot::model::Snapshot;
use serde_json::Value;
use std::collections::BTreeSet;

const DOCUMENT: &str = include_str!("../../docs/diff.md");

fn document(snapshots: &[Snapshot]) -> Value {
    let mut out = Vec::new();
    json::write(&Trend::of(snapshots).unwrap(), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.matches('\n').count(), 1, "one line, so that several are newline-delimited JSON");
    serde_json::from_str(&text).unwrap()
}

fn five() -> Vec<Snapshot> {
    (0..5u32).map(|hour| gateway(f64::from(hour), 10 + hour * 20, 0..20, Rest::default())).collect()
}

fn collect(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                names.insert(name.clone());
                // These two are described where snapshots are.
                if !["process", "source", "findings"].contains(&name.as_str()) {
                    collect(value, names);
                }
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
    collect(&document(&five()), &mut names);
    collect(&document(&[samples::old(), as_core(samples::leaked())]), &mut names);
    names.extend(PoolChangeRow::FIELDS.iter().map(|name| (*name).to_owned()));
    assert!(names.len() > 60, "{names:?}");
    assert_eq!(undocumented(names), Vec::<String>::new());
}

fn names<T: serde::Serialize>(values: &[T]) -> Vec<String> {
    values.iter().map(|value| serde_json::to_value(value).unwrap().as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_word_is_documented() {
    use Relation::*;
    let relations = [
        SameProcess,
        ReloadedInPlace,
        Sibling,
        Respawned,
        AfterReload,
        OtherMaster,
        OtherBinary,
        Rebooted,
        OtherMachine,
        NotComparable,
        Unknown,
    ];
    let verdicts = [
        Verdict::Nothing,
        Verdict::InUse,
        Verdict::FreeButKept,
        Verdict::FreedAndKept,
        Verdict::OutsideMalloc,
        Verdict::HeapOfUnknownUse,
    ];
    let fates = [Fate::Appeared, Fate::Gone, Fate::Grown, Fate::Shrunk, Fate::Unchanged];
    let steady =
        [Steadiness::Steady, Steadiness::Uneven, Steadiness::NotSteady, Steadiness::NotGrowing, Steadiness::Unknown];
    let outlooks = ["reaches", "not_growing", "other_process", "too_short", "limit_unknown"].map(str::to_owned);
    let words = [names(&relations), names(&verdicts), names(&fates), names(&steady), outlooks.to_vec()];
    assert_eq!(undocumented(words.concat()), Vec::<String>::new());
    for fate in fates {
        assert_eq!(names(&[fate]), [fate.name()]);
    }
}

#[test]
fn the_document_says_what_the_diff_says() {
    let (old, new) = (samples::old(), samples::leaked());
    let diff = Diff::between(&old, &new);
    let value = document(&[old.clone(), new.clone()]);
    assert_eq!(value["diff_version"], 1);
    assert!(DOCUMENT.contains("`diff_version`: 1"));
    assert_eq!(value["in_use_bytes"]["change"], diff.growth_in_use().unwrap() as i64);
    assert_eq!(value["pools"]["counts"]["appeared"]["pools"], 122);
    assert_eq!(value["pools"]["changed"].as_array().unwrap().len(), 122 + 5 + 1);
    assert_eq!(value["suspects"][0]["name"], "svc");
    assert_eq!(value["suspects"][0]["findings"][0]["kind"], "deleted_but_referenced");
    assert_eq!(value["trend"], Value::Null);
    assert_eq!(document(&five())["trend"]["in_use"]["grew_in"], 4);
}

#[test]
fn rows_are_the_same_in_every_format() {
    let (old, new) = (samples::old(), samples::leaked());
    let diff = Diff::between(&old, &new);
    let written = |format| {
        let mut out = Vec::new();
        write(pool_rows(&diff), format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let (csv, lines) = (written(Machine::Csv), written(Machine::Ndjson));
    assert_eq!(csv.lines().next().unwrap(), PoolChangeRow::FIELDS.join(","));
    assert_eq!(lines.lines().count(), 128);
    for (record, line) in csv.lines().skip(1).zip(lines.lines()) {
        let value: Value = serde_json::from_str(line).unwrap();
        assert_eq!(value.as_object().unwrap().len(), PoolChangeRow::FIELDS.len());
        let fields = PoolChangeRow::FIELDS.iter().map(|name| match &value[*name] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        });
        let fields: Vec<String> =
            fields.map(|field| if field.contains(',') { format!("\"{field}\"") } else { field }).collect();
        assert_eq!(record, fields.join(","));
    }
    let mut other = new.clone();
    other.process.start_ticks = Some(1);
    assert_eq!(pool_rows(&Diff::between(&old, &other)).count(), 0);
}
