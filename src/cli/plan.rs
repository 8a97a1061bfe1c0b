//! What is to be done, checked: everything that can be wrong with what was typed is found here.

use super::args::{Args, ChunksArgs, Command, GlobalArgs, PoolsArgs, RowFormat, SnapshotArgs, SnapshotFormat};
use super::terminal::Environment;
use super::usage::wrong;
use crate::analysis::Options;
use crate::debug::SearchOptions;
use crate::report::rows::{ChunkFilter, Machine, PoolFilter, PoolSort};
use crate::report::style::Style;
use crate::report::table::Page;
use clap::error::ErrorKind;

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
    /// Show snapshots.
    Snapshot { pids: Vec<i32>, format: ReportFormat },
    /// List pools.
    Pools { pid: i32, filter: PoolFilter, sort: PoolSort, top: Option<usize>, format: ListFormat },
    /// List chunks.
    Chunks { pid: i32, filter: ChunkFilter, format: ListFormat },
}

impl Task {
    /// Where a reader finds what is incomplete about the snapshot of `pid`.
    pub(super) fn where_it_is_told(&self, pid: i32) -> String {
        match self {
            Task::Snapshot { format: ReportFormat::Table(_), .. } => "the report says why".to_owned(),
            Task::Snapshot { format: ReportFormat::Json, .. } => "its notes and lists of problems say why".to_owned(),
            Task::Pools { .. } | Task::Chunks { .. } => format!("`poolscope snapshot {pid}` says why"),
        }
    }
}

/// How to show a snapshot.
#[derive(Debug, Clone, Copy)]
pub(super) enum ReportFormat {
    Table(Page),
    Json,
}

/// How to show rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListFormat {
    /// For people, on lines of at most so many columns.
    Table { limit: Option<usize> },
    /// For programs.
    Machine(Machine),
}

impl Plan {
    /// Checks what was typed.
    ///
    /// # Errors
    /// An error of clap, ready to be shown as those of wrong options are.
    pub(super) fn new(args: Args, environment: &Environment) -> Result<Plan, clap::Error> {
        let Args { command, global } = args;
        check(&command, &global)?;
        let style = environment.style(global.color);
        let debug = SearchOptions { debug_dirs: global.debug_dir, ..SearchOptions::from_environment() };
        let with_chunks = match &command {
            Command::Snapshot(args) => args.chunks,
            Command::Pools(_) => false,
            Command::Chunks(_) => true,
        };
        let task = match command {
            Command::Snapshot(args) => snapshot(args, style),
            Command::Pools(args) => pools(args, environment),
            Command::Chunks(args) => chunks(args, environment),
        };
        let progress = environment.shows_progress && !global.quiet;
        Ok(Plan { task, options: Options { debug, with_chunks }, style, progress, quiet: global.quiet })
    }
}

/// Refuses what cannot be done, and options that would do nothing.
fn check(command: &Command, global: &GlobalArgs) -> Result<(), clap::Error> {
    if let Some(directory) = global.debug_dir.iter().find(|directory| !directory.is_dir()) {
        let message = format!(
            "--debug-dir {} is not a directory: give one that is laid out as /usr/lib/debug is",
            directory.display()
        );
        return Err(wrong(command, ErrorKind::ValueValidation, message));
    }
    let conflict = |message| Err(wrong(command, ErrorKind::ArgumentConflict, message));
    match command {
        Command::Snapshot(SnapshotArgs { format: SnapshotFormat::Json, top: Some(_), .. }) => {
            conflict("--top is for the table: the JSON holds all pools")
        }
        Command::Snapshot(SnapshotArgs { format: SnapshotFormat::Table, chunks: true, .. }) => {
            conflict("--chunks needs --format json: to list chunks for people, use `poolscope chunks PID`")
        }
        _ => Ok(()),
    }
}

fn snapshot(args: SnapshotArgs, style: Style) -> Task {
    let format = match args.format {
        SnapshotFormat::Json => ReportFormat::Json,
        SnapshotFormat::Table => ReportFormat::Table(Page { style, top: args.top.map_or(0, |top| top as usize) }),
    };
    Task::Snapshot { pids: args.pids, format }
}

fn pools(args: PoolsArgs, environment: &Environment) -> Task {
    Task::Pools {
        pid: args.pid,
        filter: PoolFilter {
            owner: args.owner,
            state: args.state.map(|state| state.name().to_owned()),
            size: args.size,
        },
        sort: args.sort.into(),
        top: args.top.map(|top| top as usize),
        format: list_format(args.format, environment),
    }
}

fn chunks(args: ChunksArgs, environment: &Environment) -> Task {
    Task::Chunks {
        pid: args.pid,
        filter: ChunkFilter {
            owner: args.owner,
            size: args.size,
            state: args.state.map(Into::into),
            arena: args.arena,
        },
        format: list_format(args.format, environment),
    }
}

/// Rows for a terminal are cut to its width; rows for a pipe are whole.
fn list_format(format: RowFormat, environment: &Environment) -> ListFormat {
    match format {
        RowFormat::Table => ListFormat::Table { limit: environment.terminal },
        RowFormat::Ndjson => ListFormat::Machine(Machine::Ndjson),
        RowFormat::Csv => ListFormat::Machine(Machine::Csv),
        RowFormat::Json => ListFormat::Machine(Machine::Json),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn plan(words: &[&str]) -> Result<Plan, clap::Error> {
        Plan::new(Args::try_parse_from(words).unwrap(), &Environment::default())
    }

    #[test]
    fn only_what_needs_chunks_keeps_them() {
        assert!(!plan(&["poolscope", "snapshot", "1"]).unwrap().options.with_chunks);
        assert!(!plan(&["poolscope", "pools", "1"]).unwrap().options.with_chunks);
        assert!(plan(&["poolscope", "chunks", "1"]).unwrap().options.with_chunks);
        assert!(plan(&["poolscope", "snapshot", "1", "--format", "json", "--chunks"]).unwrap().options.with_chunks);
    }

    #[test]
    fn options_that_would_do_nothing_are_refused() {
        assert_eq!(plan(&["poolscope", "snapshot", "1", "--chunks"]).unwrap_err().exit_code(), 2);
        assert_eq!(plan(&["poolscope", "snapshot", "1", "--top", "3", "--format", "json"]).unwrap_err().exit_code(), 2);
        assert_eq!(plan(&["poolscope", "pools", "1", "--debug-dir", "/dev/null"]).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn a_deleted_owner_is_one_that_is_deleting() {
        for word in ["deleting", "deleted"] {
            let plan = plan(&["poolscope", "pools", "1", "--state", word]).unwrap();
            assert!(
                matches!(plan.task, Task::Pools { filter: PoolFilter { state: Some(state), .. }, .. } if state == "deleting")
            );
        }
        assert!(Args::try_parse_from(["poolscope", "pools", "1", "--state", "nonsense"]).is_err());
    }

    #[test]
    fn progress_is_for_those_who_see_it() {
        let progress = |shows_progress, words: &[&str]| {
            let environment = Environment { shows_progress, ..Environment::default() };
            Plan::new(Args::try_parse_from(words).unwrap(), &environment).unwrap().progress
        };
        assert!(progress(true, &["poolscope", "pools", "1"]));
        assert!(!progress(true, &["poolscope", "pools", "1", "--quiet"]));
        assert!(!progress(false, &["poolscope", "pools", "1"]));
    }

    #[test]
    fn rows_are_cut_only_on_a_terminal() {
        let args = Args::try_parse_from(["poolscope", "pools", "1"]).unwrap();
        let terminal = Environment { terminal: Some(132), ..Environment::default() };
        let plan = Plan::new(args, &terminal).unwrap();
        assert!(matches!(plan.task, Task::Pools { format: ListFormat::Table { limit: Some(132) }, .. }));
    }
}
