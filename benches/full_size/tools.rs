//! The tools, and how each is called.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::scratch::Scratch;

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
    program: PathBuf,
    arguments: Vec<String>,
    /// Where it leaves a core, to be emptied after each run.
    leavings: Option<PathBuf>,
    /// Why it cannot be run, and what to do about it.
    pub(crate) missing: Option<String>,
}

impl Tool {
    fn new(name: &'static str, program: impl Into<PathBuf>, prints: Prints) -> Tool {
        let program = program.into();
        Tool { name, rounds: ROUNDS_OF_OTHERS, prints, program, arguments: Vec::new(), leavings: None, missing: None }
    }

    /// Arguments; `{pid}` stands for the worker's.
    fn arguments(mut self, arguments: &[&str]) -> Tool {
        self.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        self
    }

    fn missing(mut self, reason: Option<String>) -> Tool {
        self.missing = reason;
        self
    }

    /// The command for the process `pid`.
    pub(crate) fn command(&self, pid: u32) -> Command {
        let mut command = Command::new(&self.program);
        command.args(self.arguments.iter().map(|argument| argument.replace("{pid}", &pid.to_string())));
        command
    }

    /// Removes the core.
    pub(crate) fn tidy(&self) {
        let Some(entries) = self.leavings.as_ref().and_then(|dir| fs::read_dir(dir).ok()) else { return };
        for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("core.")) {
            // What cannot be removed now goes with the folder.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// poolscope first, then all others.
pub(crate) fn all(scratch: &Scratch, drgn: Result<PathBuf, String>) -> Vec<Tool> {
    let mut poolscope = Tool::new("poolscope snapshot", env!("CARGO_BIN_EXE_poolscope"), Prints::Report)
        .arguments(&["snapshot", "{pid}"]);
    poolscope.rounds = MOST_ROUNDS;
    let in_memory = scratch.memory.as_deref().ok_or_else(|| "no tmpfs at /dev/shm".to_owned());
    vec![
        poolscope,
        gcore("gcore to tmpfs", in_memory),
        gcore("gcore to disk", Ok(&scratch.disk)),
        Tool::new("gdb script", "gdb", Prints::Figures)
            .arguments(&["-nx", "-batch", "-ex", "set $pid = {pid}", "-x", &script("gdb_walk.py")])
            .missing(absent("gdb")),
        drgn_walk(drgn),
    ]
}

fn gcore(name: &'static str, dir: Result<&Path, String>) -> Tool {
    let tool = Tool::new(name, "gcore", Prints::Core);
    match dir {
        Ok(dir) => {
            let core = dir.join("core").display().to_string();
            let mut tool = tool.arguments(&["-o", &core, "{pid}"]).missing(absent("gcore"));
            tool.leavings = Some(dir.to_owned());
            tool
        }
        Err(reason) => tool.missing(Some(reason)),
    }
}

fn drgn_walk(python: Result<PathBuf, String>) -> Tool {
    let name = "drgn script";
    match python {
        Ok(python) => Tool::new(name, python, Prints::Figures).arguments(&[&script("drgn_walk.py"), "{pid}"]),
        Err(reason) => Tool::new(name, "python3", Prints::Figures).missing(Some(reason)),
    }
}

fn script(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(name).display().to_string()
}

/// Why a program of Debian's package gdb cannot be run.
fn absent(program: &str) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    (!found).then(|| format!("no {program} in PATH: it is in Debian's package gdb"))
}
