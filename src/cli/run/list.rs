//! Rows of pools and of chunks.

use super::{Session, failed};
use crate::cli::arena;
use crate::cli::outcome::{why_no_chunks, why_no_pools};
use crate::cli::plan::{ListFormat, Target};
use crate::report::rows::{self, ChunkFilter, ChunkSort, ClientRow, PoolFilter, PoolSort};
use crate::snapshot::file::Wanted;
use crate::snapshot::model::Snapshot;
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
    if let Some(sentence) = no_such_state(&snapshot, filter) {
        session.tell(&sentence);
    }
    match format {
        ListFormat::Table { limit } => rows::write_pool_table(&selected, session.plan.style, limit, out),
        ListFormat::Machine(machine) if selected.rows.iter().any(|pool| pool.shows_client()) => {
            rows::write(selected.rows.into_iter().map(ClientRow), machine, out)
        }
        ListFormat::Machine(machine) => rows::write(selected.rows.into_iter(), machine, out),
    }
}

/// What to say if no owner is in the state that was asked for: it may be written wrong.
fn no_such_state(snapshot: &Snapshot, filter: &PoolFilter) -> Option<String> {
    let wanted = filter.state.as_deref()?;
    let states = rows::states(snapshot);
    let is_there = states.iter().any(|state| state.to_lowercase() == wanted.to_lowercase());
    (!is_there).then(|| match states.is_empty() {
        true => format!("no owner of a pool is in state \"{wanted}\": none has any state here"),
        false => format!("no owner of a pool is in state \"{wanted}\": the states here are {}", states.join(", ")),
    })
}

/// `poolscope chunks`.
pub(super) fn chunks(
    session: &mut Session<'_>,
    target: &Target,
    filter: &ChunkFilter,
    (sort, top): (ChunkSort, Option<usize>),
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
    let selected = rows::chunks(&snapshot, &filter, sort).take(top.unwrap_or(usize::MAX));
    match format {
        ListFormat::Table { .. } => rows::write_chunk_table(selected, out),
        ListFormat::Machine(machine) => rows::write(selected, machine, out),
    }
}
