//! Rows of pools and of chunks.

use super::{Session, failed};
use crate::cli::arena;
use crate::cli::outcome::{why_no_chunks, why_no_pools};
use crate::cli::plan::{ListFormat, Target};
use crate::report::rows::{self, ChunkFilter, ChunkSort, ClientRow, PoolFilter, PoolSort};
use crate::report::scope::Scope;
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
    if let Some(sentence) = no_such_state(&snapshot, filter).or_else(|| no_pools(&snapshot, filter, selected.kept)) {
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

/// True if an owner was asked for where owners are not known: that is said already.
fn is_told(snapshot: &Snapshot, owner: Option<&str>) -> bool {
    owner.is_some() && Scope::of(snapshot) == Scope::PoolsOnly
}

/// What to say if no pool is kept: the owner may be written wrong.
fn no_pools(snapshot: &Snapshot, filter: &PoolFilter, kept: usize) -> Option<String> {
    if kept > 0 || *filter == PoolFilter::default() || is_told(snapshot, filter.owner.as_deref()) {
        return None;
    }
    let of_owner = |owner: &String| {
        let filter = PoolFilter { owner: Some(owner.clone()), ..PoolFilter::default() };
        rows::pools(snapshot, &filter, PoolSort::default(), Some(0)).kept
    };
    Some(match filter.owner.as_ref().filter(|owner| of_owner(owner) == 0) {
        Some(owner) => {
            let outside = match rows::has_chunks_of(snapshot, owner) {
                true => "; chunks outside pools have it: see poolscope chunks",
                false => "",
            };
            format!("no pool has the owner \"{owner}\": {}{outside}", listed(&rows::owners(snapshot)))
        }
        None => "no pool fits all that was asked for".to_owned(),
    })
}

/// What to say if no chunk is kept.
fn no_chunks(snapshot: &Snapshot, filter: &ChunkFilter) -> String {
    match filter.owner.as_deref().filter(|owner| !rows::has_chunks_of(snapshot, owner)) {
        Some(owner) => {
            let mut owners: Vec<&str> = snapshot.owners.iter().map(|owner| owner.owner.as_str()).collect();
            owners.push(rows::OUTSIDE);
            owners.sort_unstable();
            owners.dedup();
            format!("no chunk has the owner \"{owner}\": {}", listed(&owners))
        }
        None => "no chunk fits all that was asked for".to_owned(),
    }
}

/// `the owners here are cycle, request`.
fn listed(owners: &[&str]) -> String {
    match owners {
        [] => "none has any owner here".to_owned(),
        [one] => format!("the only owner here is {one}"),
        several => format!("the owners here are {}", several.join(", ")),
    }
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
    let mut written = 0u64;
    let selected = rows::chunks(&snapshot, &filter, sort).take(top.unwrap_or(usize::MAX)).inspect(|_| written += 1);
    match format {
        ListFormat::Table { .. } => rows::write_chunk_table(selected, out),
        ListFormat::Machine(machine) => rows::write(selected, machine, out),
    }?;
    let is_asked = filter != ChunkFilter::default();
    if written == 0 && is_asked && !is_told(&snapshot, filter.owner.as_deref()) {
        session.tell(&no_chunks(&snapshot, &filter));
    }
    Ok(())
}
