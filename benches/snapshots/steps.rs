//! The steps that are measured, each run in a process of its own.

use std::path::Path;
use std::time::Instant;

use poolscope::diff::{Diff, Fate};
use poolscope::snapshot::file::{Wanted, load, save};
use serde::{Deserialize, Serialize};

use crate::common::Failure;
use crate::model;

/// What is expected of a step.
pub(crate) struct Limits {
    pub(crate) seconds: Option<f64>,
    /// Bytes.
    pub(crate) memory: Option<u64>,
    /// Bytes.
    pub(crate) file: Option<u64>,
}

const NONE: Limits = Limits { seconds: None, memory: None, file: None };
const FOR_POOLS: Limits = Limits { seconds: Some(1.0), memory: Some(500_000_000), file: None };

/// A step.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) limits: Limits,
}

/// All steps, in an order in which each finds the files that it needs.
pub(crate) const STEPS: &[Step] = &[
    Step { name: "save-old", label: "save 1 M pools", limits: FOR_POOLS },
    Step { name: "save-new", label: "save 1 M pools, 3 h later", limits: FOR_POOLS },
    Step { name: "load", label: "load 1 M pools", limits: FOR_POOLS },
    Step { name: "diff", label: "diff of two times 1 M pools", limits: FOR_POOLS },
    Step { name: "load-and-diff", label: "load both and diff", limits: NONE },
    Step {
        name: "save-chunks",
        label: "save 10 M chunks",
        limits: Limits { seconds: None, memory: None, file: Some(100_000_000) },
    },
    Step { name: "load-chunks", label: "load 10 M chunks", limits: NONE },
    Step { name: "load-without-chunks", label: "load its pools only", limits: NONE },
];

/// What a step says of itself, as one line of JSON.
#[derive(Serialize, Deserialize)]
pub(crate) struct Answer {
    /// That the step alone took.
    pub(crate) seconds: f64,
    /// Bytes of the file that was written or read.
    pub(crate) file_size: Option<u64>,
    pub(crate) outcome: String,
}

/// Runs the step of that name in this process, and prints its answer.
///
/// # Errors
/// What went wrong.
pub(crate) fn run(name: &str, folder: &Path) -> Result<(), Failure> {
    let [old, new, chunks] = ["old", "new", "chunks"].map(|name| folder.join(format!("{name}.snapshot")));
    let answer = match name {
        "save-old" => saved(&model::with_pools(model::Age::Old), &old)?,
        "save-new" => saved(&model::with_pools(model::Age::New), &new)?,
        "load" => loaded(&old, Wanted::POOLS)?,
        "diff" => compared(&old, &new, false)?,
        "load-and-diff" => compared(&old, &new, true)?,
        "save-chunks" => saved(&model::with_chunks(), &chunks)?,
        "load-chunks" => loaded(&chunks, Wanted::ALL)?,
        "load-without-chunks" => loaded(&chunks, Wanted::POOLS)?,
        other => return Err(format!("there is no step {other}").into()),
    };
    println!("{}", serde_json::to_string(&answer)?);
    Ok(())
}

fn saved(snapshot: &poolscope::snapshot::model::Snapshot, path: &Path) -> Result<Answer, Failure> {
    let start = Instant::now();
    save(snapshot, path)?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(Answer { seconds, file_size: Some(path.metadata()?.len()), outcome: contents(snapshot) })
}

fn loaded(path: &Path, wanted: Wanted) -> Result<Answer, Failure> {
    let start = Instant::now();
    let snapshot = load(path, wanted)?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(Answer { seconds, file_size: Some(path.metadata()?.len()), outcome: contents(&snapshot) })
}

/// What `poolscope diff` does before it prints; timed with the loading or without.
fn compared(old: &Path, new: &Path, with_loading: bool) -> Result<Answer, Failure> {
    let start = Instant::now();
    let (old, new) = (load(old, Wanted::POOLS)?, load(new, Wanted::POOLS)?);
    let start = if with_loading { start } else { Instant::now() };
    let diff = Diff::between(&old, &new);
    let seconds = start.elapsed().as_secs_f64();
    let pools = diff.pools.as_ref().ok_or("the two snapshots were not taken for one process")?;
    let number = |fate: Fate| pools.tallies.get(&fate).map_or(0, |tally| tally.pools);
    let outcome =
        format!("{} appeared, {} gone, {} grown", number(Fate::Appeared), number(Fate::Gone), number(Fate::Grown));
    Ok(Answer { seconds, file_size: None, outcome })
}

fn contents(snapshot: &poolscope::snapshot::model::Snapshot) -> String {
    match &snapshot.chunks {
        Some(chunks) => format!("{} pools, {} chunks", snapshot.pools.len(), chunks.len()),
        None => format!("{} pools", snapshot.pools.len()),
    }
}
