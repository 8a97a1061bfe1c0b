//! Rows of pools and of chunks.

use super::{Session, failed};
use crate::cli::arena;
use crate::cli::outcome::{why_no_chunks, why_no_pools};
use crate::cli::plan::{ListFormat, Target};
use crate::report::rows::{self, ChunkFilter, PoolFilter, PoolSort};
use crate::snapshot::file::Wanted;
use std::io::{self, Write};

/// `poolscope pools`.
pub(super) fn pools(
    session: &mut Session<'_>,
    target: &Target,
    filter: &PoolFilter,
    sort: PoolSort,
    top: Option<usize>,
    format: ListFormat,
    out: &mut dyn Write,
) -> io::Result<()> {
    let wanted = Wanted { pools: true, chunks: false };
    let Some(snapshot) = session.obtain_one(target, wanted) else { return Ok(()) };
    if let Some(why) = why_no_pools(&snapshot) {
        return failed(session, &why);
    }
    session.warn(target, &snapshot);
    let selected = rows::pools(&snapshot, filter, sort, top);
    match format {
        ListFormat::Table { limit } => rows::write_pool_table(&selected, session.plan.style, limit, out),
        ListFormat::Machine(machine) => rows::write(selected.rows.into_iter(), machine, out),
    }
}

/// `poolscope chunks`.
pub(super) fn chunks(
    session: &mut Session<'_>,
    target: &Target,
    filter: &ChunkFilter,
    format: ListFormat,
    out: &mut dyn Write,
) -> io::Result<()> {
    let wanted = Wanted { pools: true, chunks: true };
    let Some(snapshot) = session.obtain_one(target, wanted) else { return Ok(()) };
    if let Some(why) = why_no_chunks(&snapshot) {
        return failed(session, &why);
    }
    if snapshot.chunks.is_none() {
        return failed(session, &format!("{target} has no rows of chunks: a snapshot that is saved with -o has them"));
    }
    let arena = match filter.arena.map(|arena| arena::find(&snapshot, arena)).transpose() {
        Ok(arena) => arena,
        Err(why) => return failed(session, &why),
    };
    session.warn(target, &snapshot);
    let filter = ChunkFilter { arena, ..filter.clone() };
    let selected = rows::chunks(&snapshot, &filter);
    match format {
        ListFormat::Table { .. } => rows::write_chunk_table(selected, out),
        ListFormat::Machine(machine) => rows::write(selected, machine, out),
    }
}
