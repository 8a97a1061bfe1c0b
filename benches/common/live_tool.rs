//! Commands that look at a live process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How a tool is called.
pub(crate) struct Recipe {
    program: PathBuf,
    arguments: Vec<String>,
    /// Where it leaves a core, to be emptied after each run.
    leavings: Option<PathBuf>,
    /// Why it cannot be run, and what to do about it.
    pub(crate) missing: Option<String>,
}

impl Recipe {
    /// Arguments; `{pid}` stands for the target's.
    pub(crate) fn new(program: impl Into<PathBuf>, arguments: &[&str]) -> Recipe {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Recipe { program: program.into(), arguments, leavings: None, missing: None }
    }

    /// The poolscope that was built with the benchmark.
    pub(crate) fn poolscope(arguments: &[&str]) -> Recipe {
        Recipe::new(env!("CARGO_BIN_EXE_poolscope"), arguments)
    }

    /// gdb's gcore, to a folder, or why there is none.
    pub(crate) fn gcore(dir: Result<&Path, String>) -> Recipe {
        let dir = match dir {
            Ok(dir) => dir,
            Err(reason) => return Recipe::new("gcore", &[]).missing(Some(reason)),
        };
        let core = dir.join("core").display().to_string();
        let recipe = Recipe::new("gcore", &["-o", &core, "{pid}"]).missing(absent("gcore"));
        Recipe { leavings: Some(dir.to_owned()), ..recipe }
    }

    /// A script of benches/ for gdb, which finds `variables` such as `$pid = {pid}`.
    pub(crate) fn gdb(name: &str, variables: &[&str]) -> Recipe {
        let settings: Vec<String> = variables.iter().map(|variable| format!("set {variable}")).collect();
        let script = script(name);
        let mut arguments = vec!["-nx", "-batch"];
        arguments.extend(settings.iter().flat_map(|setting| ["-ex", setting]));
        arguments.extend(["-x", &script]);
        Recipe::new("gdb", &arguments).missing(absent("gdb"))
    }

    pub(crate) fn missing(mut self, reason: Option<String>) -> Recipe {
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

/// Path of a script of benches/.
pub(crate) fn script(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(name).display().to_string()
}

/// Why a program of Debian's package gdb cannot be run.
fn absent(program: &str) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    (!found).then(|| format!("no {program} in PATH: it is in Debian's package gdb"))
}

/// That a process runs, and nobody traces it.
///
/// # Errors
/// What `tool` did to it.
pub(crate) fn confirm_running(pid: u32, tool: &str) -> Result<(), String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .map_err(|cause| format!("the target did not survive {tool}: {cause}"))?;
    let is = |line: &str, states: &[&str]| states.iter().any(|state| line.starts_with(&format!("State:\t{state}")));
    let traced = status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|pid| pid.trim() != "0"));
    if traced || status.lines().any(|line| is(line, &["T", "t"])) {
        return Err(format!("{tool} left the target stopped or traced"));
    }
    match status.lines().any(|line| is(line, &["Z", "X"])) {
        true => Err(format!("the target did not survive {tool}")),
        false => Ok(()),
    }
}
