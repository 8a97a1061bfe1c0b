//! The tools, and how each is called.

use std::path::PathBuf;

use crate::common::scratch::Scratch;
use crate::live_tool::{Recipe, script};

/// Rounds of poolscope; the others take seconds each.
pub(crate) const MOST_ROUNDS: usize = 5;
const ROUNDS_OF_OTHERS: usize = 2;

/// What a run prints that is of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prints {
    /// poolscope's report, with the time that it says the worker was frozen.
    Report,
    /// Nothing: there is a core file instead, and figures would take another tool.
    Core,
    /// One line of JSON, as benches/heap_walk.py writes it.
    Figures,
}

/// A way to look at a worker.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) rounds: usize,
    pub(crate) prints: Prints,
    pub(crate) recipe: Recipe,
}

/// poolscope first, then all others.
pub(crate) fn all(scratch: &Scratch, drgn: Result<PathBuf, String>) -> Vec<Tool> {
    let poolscope = Recipe::poolscope(&["snapshot", "{pid}"]);
    let in_memory = scratch.memory.as_deref().ok_or_else(|| "no tmpfs at /dev/shm".to_owned());
    let other = |name, prints, recipe| Tool { name, rounds: ROUNDS_OF_OTHERS, prints, recipe };
    vec![
        Tool { name: "poolscope snapshot", rounds: MOST_ROUNDS, prints: Prints::Report, recipe: poolscope },
        other("gcore to tmpfs", Prints::Core, Recipe::gcore(in_memory)),
        other("gcore to disk", Prints::Core, Recipe::gcore(Ok(&scratch.disk))),
        other("gdb script", Prints::Figures, Recipe::gdb("gdb_walk.py", &["$pid = {pid}"])),
        other("drgn script", Prints::Figures, drgn_walk(drgn)),
    ]
}

fn drgn_walk(python: Result<PathBuf, String>) -> Recipe {
    match python {
        Ok(python) => Recipe::new(python, &[&script("drgn_walk.py"), "{pid}"]),
        Err(reason) => Recipe::new("python3", &[]).missing(Some(reason)),
    }
}
