//! What is to be done, checked: everything that can be wrong with what was typed is found here.

mod compare;
mod list;
mod show;
mod target;

pub(super) use target::Target;

use super::args::{Args, Command, DoctorFormat};
use super::terminal::Environment;
use super::usage::wrong;
use crate::analysis::{CoreFiles, Options};
use crate::debug::SearchOptions;
use crate::report::rows::{ChunkFilter, ChunkSort, Machine, PoolFilter, PoolSort};
use crate::report::style::Style;
use crate::report::table::Page;
use clap::error::ErrorKind;
use std::path::PathBuf;

/// A command and what goes with it.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) task: Task,
    pub(super) options: Options,
    pub(super) style: Style,
    /// Whether to show what is being done.
    pub(super) progress: bool,
    /// Whether to keep warnings to ourselves.
    pub(super) quiet: bool,
}

/// What to do.
#[derive(Debug)]
pub(super) enum Task {
    /// List nginx processes.
    Processes { format: ListFormat },
    /// Say what stands in the way of snapshots.
    Examine { pids: Vec<i32>, json: bool },
    /// Show snapshots, and save them if `save` says where.
    Show { of: Whose, format: ShowFormat, save: Option<Save> },
    /// Show what grew.
    Diff { targets: Vec<Target>, format: ChangeFormat, allowed: Option<u64> },
    /// List pools.
    Pools { target: Target, filter: PoolFilter, sort: PoolSort, top: Option<usize>, format: ListFormat },
    /// List chunks.
    Chunks { target: Target, filter: ChunkFilter, sort: ChunkSort, top: Option<usize>, format: ListFormat },
    /// Explain addresses.
    Explain { target: Target, addresses: Vec<u64>, top: usize, json: bool },
}

/// Whose snapshots are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whose {
    /// Those of each of these.
    Targets(Vec<Target>),
    /// Those of all workers of this master.
    WorkersOf(i32),
}

/// Where snapshots are saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Save {
    /// The one there is, in this file.
    File(PathBuf),
    /// Each in a file of its own in this directory.
    Directory(PathBuf),
}

/// How to show snapshots.
#[derive(Debug, Clone)]
pub(super) enum ShowFormat {
    /// For people.
    Table(Page),
    /// Everything, with chunks if asked for.
    Json { chunks: bool },
    /// Gauges.
    OpenMetrics,
    /// Some files in this directory.
    Parquet { directory: PathBuf },
}

/// How to show what grew.
#[derive(Debug, Clone, Copy)]
pub(super) enum ChangeFormat {
    /// For people.
    Table(Page),
    /// Everything.
    Json,
    /// Rows of pools.
    Machine(Machine),
}

/// How to show rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListFormat {
    /// For people, on lines of at most so many columns.
    Table { limit: Option<usize> },
    /// For programs.
    Machine(Machine),
}

impl Task {
    /// Where a reader finds what is incomplete about the snapshot of `target`.
    pub(super) fn where_it_is_told(&self, target: &Target) -> String {
        match self {
            Task::Show { format: ShowFormat::Table(_), .. } => "the report says why".to_owned(),
            Task::Show { format: ShowFormat::Json { .. }, .. } => "its notes and lists of problems say why".to_owned(),
            _ => format!("`poolscope {}` says why", target.command()),
        }
    }

    /// Whether a row for every chunk is needed.
    fn needs_chunks(&self) -> bool {
        match self {
            Task::Show { format, save, .. } => save.is_some() || matches!(format, ShowFormat::Json { chunks: true }),
            Task::Chunks { .. } | Task::Explain { .. } => true,
            Task::Pools { .. } | Task::Diff { .. } | Task::Processes { .. } | Task::Examine { .. } => false,
        }
    }
}

impl Plan {
    /// Checks what was typed.
    ///
    /// # Errors
    /// An error of clap, ready to be shown as those of wrong options are.
    pub(super) fn new(args: Args, environment: &Environment) -> Result<Plan, clap::Error> {
        let Args { command, global } = args;
        let name = command.name();
        for directory in &global.debug_dir {
            target::check_directory(name, "--debug-dir", directory, "one that is laid out as /usr/lib/debug is")?;
        }
        let core_files = target::core_files(&command)?;
        let (show_clients, max_pause) = (command.shows_clients(), command.max_pause());
        let memory_limit = command.memory_limit();
        let style = environment.style(global.color);
        let task = match command {
            Command::Ps(args) => Ok(Task::Processes { format: list::list_format(args.format, environment) }),
            Command::Doctor(args) => Ok(Task::Examine { pids: args.pids, json: args.format == DoctorFormat::Json }),
            Command::Snapshot(args) => show::snapshot(args, style),
            Command::Report(args) => show::report(args, style),
            Command::Diff(args) => compare::diff(args, style),
            Command::Pools(args) => list::pools(args, environment),
            Command::Chunks(args) => list::chunks(args, environment),
            Command::Explain(args) => list::explain(args),
        }?;
        let debug = SearchOptions { debug_dirs: global.debug_dir, ..SearchOptions::from_environment() };
        let with_chunks = task.needs_chunks();
        let options =
            Options { debug, with_chunks, core_files, max_pause, memory_limit, show_clients, without: Vec::new() };
        let progress = environment.shows_progress && !global.quiet;
        Ok(Plan { task, options, style, progress, quiet: global.quiet })
    }
}

/// The error of an option that would do nothing beside another.
fn conflict(command: &str, message: &str) -> clap::Error {
    wrong(command, ErrorKind::ArgumentConflict, message)
}

#[cfg(test)]
mod tests;
