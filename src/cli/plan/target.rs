//! What is looked at, checked to be there.

use super::{CoreFiles, conflict, wrong};
use crate::cli::args::{Command, CoreArgs, OneTarget, TargetArg};
use clap::error::ErrorKind;
use std::fmt;
use std::path::{Path, PathBuf};

/// A process or a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Target {
    /// A running process.
    Pid(i32),
    /// A saved snapshot or a core: its content tells.
    File(PathBuf),
    /// A core, and nothing else.
    Core(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Pid(pid) => write!(f, "{pid}"),
            Target::File(path) | Target::Core(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Target {
    /// The words after `poolscope` that show its report.
    pub(in crate::cli) fn command(&self) -> String {
        match self {
            Target::Pid(pid) => format!("snapshot {pid}"),
            Target::File(path) => format!("report {}", path.display()),
            Target::Core(path) => format!("snapshot --core {}", path.display()),
        }
    }

    /// What was typed, if a file of that name is there.
    pub(super) fn of(command: &str, typed: TargetArg) -> Result<Target, clap::Error> {
        match typed {
            TargetArg::Pid(pid) => Ok(Target::Pid(pid)),
            TargetArg::File(path) => {
                let there = path.exists();
                let missing = || {
                    let message = match command {
                        "report" => format!("there is no file \"{}\"", path.display()),
                        _ => format!("\"{}\" is not a pid, and there is no such file", path.display()),
                    };
                    wrong(command, ErrorKind::ValueValidation, message)
                };
                there.then(|| Target::File(path.clone())).ok_or_else(missing)
            }
        }
    }

    /// The core of `--core`.
    pub(super) fn of_core(command: &str, path: PathBuf) -> Result<Target, clap::Error> {
        match path.exists() {
            true => Ok(Target::Core(path)),
            false => {
                let message = format!("--core {}: there is no such file", path.display());
                Err(wrong(command, ErrorKind::ValueValidation, message))
            }
        }
    }

    /// The one target of a command.
    pub(super) fn one(command: &str, of: OneTarget) -> Result<Target, clap::Error> {
        match (of.target, of.core.core) {
            (Some(typed), _) => Target::of(command, typed),
            (None, Some(core)) => Target::of_core(command, core),
            (None, None) => Err(wrong(command, ErrorKind::MissingRequiredArgument, "give a pid or a file")),
        }
    }
}

/// Refuses what is not a directory.
pub(super) fn check_directory(command: &str, option: &str, path: &Path, wanted: &str) -> Result<(), clap::Error> {
    if path.is_dir() {
        return Ok(());
    }
    let message = format!("{option} {} is not a directory: give {wanted}", path.display());
    Err(wrong(command, ErrorKind::ValueValidation, message))
}

/// Where the files of a core's machine are. They say nothing of a running process, which shows its own.
pub(super) fn core_files(command: &Command) -> Result<CoreFiles, clap::Error> {
    let name = command.name();
    let (core, has_file) = match command {
        Command::Snapshot(args) => (args.core.clone(), args.targets.iter().any(is_file)),
        Command::Pools(args) => (args.of.core.clone(), args.of.target.iter().any(is_file)),
        Command::Chunks(args) => (args.of.core.clone(), args.of.target.iter().any(is_file)),
        Command::Explain(args) => (args.core.clone(), true),
        Command::Diff(args) => {
            let core = CoreArgs { core: None, exe: args.exe.clone(), sysroot: args.sysroot.clone() };
            (core, args.targets.iter().any(is_file))
        }
        Command::Report(_) | Command::Ps(_) | Command::Doctor(_) => (CoreArgs::default(), true),
    };
    let CoreArgs { core, exe, sysroot } = core;
    if core.is_none() && !has_file && (exe.is_some() || sysroot.is_some()) {
        return Err(conflict(name, "--exe and --sysroot are for cores: a running process shows its own files"));
    }
    if let Some(path) = exe.as_ref().filter(|path| !path.is_file()) {
        let message = format!("--exe {} is no file: give the nginx binary that the core is of", path.display());
        return Err(wrong(name, ErrorKind::ValueValidation, message));
    }
    if let Some(path) = &sysroot {
        check_directory(name, "--sysroot", path, "the root of the files of the machine that the core is of")?;
    }
    Ok(CoreFiles { exe, sysroot })
}

fn is_file(typed: &TargetArg) -> bool {
    matches!(typed, TargetArg::File(_))
}
