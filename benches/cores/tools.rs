//! The tools, and how each is called.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::figures::Prints;
use crate::subject::Subject;

/// Rounds of poolscope; the others take long.
pub(crate) const MOST_ROUNDS: usize = 3;

/// Chunks that gdb looks at as its own values.
const FEW_CHUNKS: &str = "1000000";

/// Which tool it is, where one is set against another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Poolscope,
    PoolscopePacked,
    Gdb,
    Drgn,
    Chap,
}

/// A way to look at a core.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    pub(crate) rounds: usize,
    pub(crate) prints: Option<Prints>,
    program: PathBuf,
    arguments: Vec<String>,
    /// Why it cannot be run, and what to do about it.
    pub(crate) missing: Option<String>,
}

impl Tool {
    fn new(name: &'static str, role: Role, rounds: usize, program: impl Into<PathBuf>, arguments: &[&str]) -> Tool {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Tool { name, role, rounds, prints: None, program: program.into(), arguments, missing: None }
    }

    fn prints(mut self, prints: Prints) -> Tool {
        self.prints = Some(prints);
        self
    }

    fn missing(mut self, reason: Option<String>) -> Tool {
        self.missing = reason;
        self
    }

    /// The command.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command
    }
}

/// poolscope first, then all others.
pub(crate) fn all(subject: &Subject, drgn: Result<PathBuf, String>) -> Vec<Tool> {
    let (core, packed) = (text(&subject.core), text(&subject.packed));
    let poolscope = env!("CARGO_BIN_EXE_poolscope");
    vec![
        Tool::new("poolscope", Role::Poolscope, MOST_ROUNDS, poolscope, &["snapshot", "--core", &core]),
        Tool::new("poolscope, core.zst", Role::PoolscopePacked, 1, poolscope, &["snapshot", "--core", &packed]),
        drgn_walk(&core, drgn),
        gdb_walk("gdb script, bytes", 2, "0", subject, &core),
        gdb_walk("gdb script, values", 1, FEW_CHUNKS, subject, &core),
        chap(&core),
    ]
}

fn drgn_walk(core: &str, python: Result<PathBuf, String>) -> Tool {
    let (python, missing) = match python {
        Ok(python) => (python, None),
        Err(reason) => (PathBuf::from("python3"), Some(reason)),
    };
    let script = script("drgn_core.py");
    Tool::new("drgn script, bytes", Role::Drgn, 2, python, &[&script, core]).prints(Prints::Walk).missing(missing)
}

fn gdb_walk(name: &'static str, rounds: usize, limit: &str, subject: &Subject, core: &str) -> Tool {
    let limit = format!("set $limit = {limit}");
    let (script, binary) = (script("gdb_core.py"), text(&subject.binary));
    let arguments = ["-nx", "-batch", "-ex", &limit, "-x", &script, &binary, core];
    let tool = Tool::new(name, Role::Gdb, rounds, "gdb", &arguments).prints(Prints::Walk);
    tool.missing((!is_in_path("gdb")).then(|| "no gdb in PATH: it is in Debian's package gdb".to_owned()))
}

/// chap reads its commands from standard input.
fn chap(core: &str) -> Tool {
    let chap = std::env::var("CHAP").unwrap_or_default();
    let missing = match chap.as_str() {
        "" => Some("the environment variable CHAP does not name its binary".to_owned()),
        path if !Path::new(path).is_file() => Some(format!("CHAP names {path}, which is no file")),
        _ => None,
    };
    let script = "echo 'summarize used' | \"$1\" \"$2\"";
    let arguments = ["-c", script, "sh", &chap, core];
    Tool::new("chap, summarize used", Role::Chap, 1, "sh", &arguments).prints(Prints::Chap).missing(missing)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn script(name: &str) -> String {
    text(&Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(name))
}

fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
