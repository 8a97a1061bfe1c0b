//! Commands that list or explain parts of a snapshot.

use super::{ListFormat, Target, Task};
use crate::cli::args::{ChunksArgs, ExplainArgs, ExplainFormat, PoolsArgs, RowFormat};
use crate::cli::terminal::Environment;
use crate::cli::usage::wrong;
use crate::report::rows::{ChunkFilter, Machine, PoolFilter, PoolSort};
use clap::error::ErrorKind;

/// `poolscope pools`.
pub(super) fn pools(args: PoolsArgs, environment: &Environment) -> Result<Task, clap::Error> {
    Ok(Task::Pools {
        target: Target::one("pools", args.of)?,
        filter: PoolFilter {
            owner: args.owner,
            state: args.state.map(known_state),
            name: args.name,
            trust: args.trust.map(Into::into),
            min_age_ms: args.min_age,
            size: args.size,
        },
        sort: PoolSort { key: args.sort.into(), reverse: args.reverse },
        top: args.top.map(|top| top as usize),
        format: list_format(args.format, environment),
    })
}

/// `poolscope chunks`.
pub(super) fn chunks(args: ChunksArgs, environment: &Environment) -> Result<Task, clap::Error> {
    Ok(Task::Chunks {
        target: Target::one("chunks", args.of)?,
        filter: ChunkFilter {
            owner: args.owner,
            name: args.name,
            size: args.size,
            state: args.state.map(Into::into),
            arena: args.arena,
        },
        sort: args.sort.into(),
        top: args.top.map(|top| top as usize),
        format: list_format(args.format, environment),
    })
}

/// `poolscope explain`.
pub(super) fn explain(args: ExplainArgs) -> Result<Task, clap::Error> {
    const NAME: &str = "explain";
    let (typed, addresses) = args.split().map_err(|message| wrong(NAME, ErrorKind::ValueValidation, message))?;
    let target = match (typed, args.core.core) {
        (Some(typed), _) => Target::of(NAME, typed)?,
        (None, Some(core)) => Target::of_core(NAME, core)?,
        (None, None) => return Err(wrong(NAME, ErrorKind::MissingRequiredArgument, "give a pid or a file")),
    };
    Ok(Task::Explain { target, addresses, top: args.top as usize, json: args.format == ExplainFormat::Json })
}

/// Upstreams that are being deleted are called deleted as well.
fn known_state(state: String) -> String {
    if state.eq_ignore_ascii_case("deleted") { "deleting".to_owned() } else { state }
}

/// Rows for a terminal are cut to its width; rows for a pipe are whole.
pub(super) fn list_format(format: RowFormat, environment: &Environment) -> ListFormat {
    match format {
        RowFormat::Table => ListFormat::Table { limit: environment.terminal },
        RowFormat::Ndjson => ListFormat::Machine(Machine::Ndjson),
        RowFormat::Csv => ListFormat::Machine(Machine::Csv),
        RowFormat::Json => ListFormat::Machine(Machine::Json),
    }
}
