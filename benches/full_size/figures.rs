//! What tools found in the worker, so that one sees whether they did the same job.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use poolscope_fixtures::{Generation, State};
use serde_json::Value;

use crate::common::Failure;
use crate::common::run;
use crate::common::scratch::Scratch;
use crate::worker::Worker;

pub(crate) const DELETING: &str = "dyups.deleting";
pub(crate) const LIVE: &str = "dyups.live";
pub(crate) const OTHER: &str = "other pools";

/// Chunks of glibc, sizes with headers, or pools with the chunks that they hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) pools: u64,
    pub(crate) chunks: u64,
    pub(crate) bytes: u64,
}

/// What one tool found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    /// Chunks of the main heap that the chunk behind says are in use, those in tcaches and fastbins among them.
    pub(crate) main_heap: Option<Tally>,
    /// Those in tcaches and fastbins, of a tool that tells them apart.
    pub(crate) cached: Option<Tally>,
    /// By [`DELETING`], [`LIVE`] and [`OTHER`].
    pub(crate) owners: BTreeMap<&'static str, Tally>,
    /// The version of glibc in the worker.
    pub(crate) glibc: Option<String>,
}

impl Figures {
    /// From the line that benches/heap_walk.py writes; `None` if it is not there.
    pub(crate) fn of_script(text: &str) -> Option<Figures> {
        let line = text.lines().find(|line| line.starts_with('{'))?;
        let found: Value = serde_json::from_str(line).ok()?;
        let chunks = found.get("chunks_in_use")?.as_u64()?;
        let bytes = found.get("bytes_in_use")?.as_u64()?;
        let mut figures = Figures { main_heap: Some(Tally { pools: 0, chunks, bytes }), ..Figures::default() };
        for (owner, row) in found.get("owners")?.as_object()? {
            figures.add(owner, tally(row));
        }
        Some(figures)
    }

    fn add(&mut self, owner: &str, more: Tally) {
        let owner = match owner {
            LIVE => LIVE,
            // poolscope tells those that nothing refers to any more from the rest; the module's state is the same.
            DELETING | "dyups.unreferenced" => DELETING,
            _ => OTHER,
        };
        let sum = self.owners.entry(owner).or_default();
        sum.pools += more.pools;
        sum.chunks += more.chunks;
        sum.bytes += more.bytes;
    }
}

fn tally(row: &Value) -> Tally {
    let number = |name: &str| row.get(name).and_then(Value::as_u64).unwrap_or(0);
    Tally { pools: number("pools"), chunks: number("chunks"), bytes: number("bytes") }
}

/// What the dyups module counts of its own pools, from inside.
pub(crate) fn of_module(generations: &[Generation]) -> Figures {
    let mut figures = Figures::default();
    for generation in generations {
        let owner = match generation.state {
            State::Live => LIVE,
            State::Deleting => DELETING,
            State::Deleted => continue,
        };
        figures.add(owner, Tally { pools: 1, chunks: generation.blocks + generation.large, bytes: generation.bytes });
    }
    figures
}

/// What `poolscope snapshot --format json` says.
pub(crate) fn of_poolscope(scratch: &Scratch, worker: &Worker) -> Result<Figures, Failure> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_poolscope"));
    command.args(["snapshot", "--format", "json"]).arg(worker.pid.to_string());
    let finished = run::run(command, Duration::from_secs(20), scratch)?;
    let snapshot: Value = serde_json::from_str(&finished.stdout)?;
    let mut figures = Figures::default();
    let arenas = snapshot.pointer("/books/arenas").and_then(Value::as_array).ok_or("the snapshot has no arenas")?;
    let main = arenas.iter().find(|arena| arena.get("is_main") == Some(&Value::Bool(true)));
    let main = main.ok_or("the snapshot has no main arena")?;
    let of_main = |name: &str| main.get(name).map(tally).unwrap_or_default();
    let cached = sum(of_main("tcache"), of_main("fastbin"));
    figures.main_heap = Some(sum(of_main("in_use"), cached));
    figures.cached = Some(cached);
    figures.glibc = snapshot.pointer("/process/allocator_version").and_then(Value::as_str).map(str::to_owned);
    let owners = snapshot.get("owners").and_then(Value::as_array).ok_or("the snapshot has no owners")?;
    for row in owners {
        let sum = tally(row);
        if let Some(owner) = row.get("owner").and_then(Value::as_str).filter(|_| sum.pools > 0) {
            figures.add(owner, sum);
        }
    }
    Ok(figures)
}

fn sum(one: Tally, other: Tally) -> Tally {
    Tally { pools: one.pools + other.pools, chunks: one.chunks + other.chunks, bytes: one.bytes + other.bytes }
}
