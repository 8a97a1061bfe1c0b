//! The tools, and how each is called.

use crate::common::Failure;
use crate::common::scratch::Scratch;
use crate::floor::Listed;
use crate::live_tool::Recipe;
use crate::plan::{Contents, Plan};

/// Rounds of poolscope and of the floor; the others take seconds each.
pub(crate) const MOST_ROUNDS: usize = 7;
const ROUNDS_OF_OTHERS: usize = 2;

/// gdb's script ends after so many seconds, if it has not come to the end.
pub(crate) const GDB_SECONDS: u64 = 60;

/// Which tool it is, where one is set against another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    SingleStop,
    Default,
    FiveMilliseconds,
    FloorWindows,
    FloorPages,
    Gcore,
    Gdb,
}

impl Role {
    /// Whether it is poolscope.
    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Role::SingleStop | Role::Default | Role::FiveMilliseconds)
    }

    /// Whether it says itself how long the target stood still.
    pub(crate) fn tells(self) -> bool {
        !matches!(self, Role::Gcore | Role::Gdb)
    }
}

/// A way to look at a program.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    pub(crate) rounds: usize,
    pub(crate) recipe: Recipe,
}

/// poolscope first, then what it is set against.
pub(crate) fn all(plan: &Plan, scratch: &Scratch, list: &Listed) -> Result<Vec<Tool>, Failure> {
    let ours = |options: &[&str]| Recipe::poolscope(&[&["snapshot", "{pid}", "--format", "json"], options].concat());
    let program = std::env::current_exe()?;
    let floor = |list: &std::path::Path| Recipe::new(&program, &["--floor", "{pid}", &list.display().to_string()]);
    let tool = |name, role: Role, recipe| {
        let rounds = if role.tells() { MOST_ROUNDS } else { ROUNDS_OF_OTHERS };
        Tool { name, role, rounds, recipe }
    };
    Ok(vec![
        tool("poolscope --single-stop", Role::SingleStop, ours(&["--single-stop"])),
        tool("poolscope", Role::Default, ours(&[])),
        tool("poolscope --max-pause 5ms", Role::FiveMilliseconds, ours(&["--max-pause", "5ms"])),
        tool("floor, windows of 64 KiB", Role::FloorWindows, floor(&list.windows.file)),
        tool("floor, pages only", Role::FloorPages, floor(&list.pages.file)),
        tool("gcore", Role::Gcore, Recipe::gcore(Ok(&scratch.disk))),
        tool("gdb script", Role::Gdb, gdb(plan)),
    ])
}

/// What is in a worker's pools needs another script than chunks alone.
fn gdb(plan: &Plan) -> Recipe {
    match plan.contents {
        Contents::Leak { .. } => Recipe::gdb("gdb_walk.py", &["$pid = {pid}"]),
        Contents::Chunks { .. } => {
            Recipe::gdb("gdb_arenas.py", &["$pid = {pid}", &format!("$seconds = {GDB_SECONDS}")])
        }
    }
}
