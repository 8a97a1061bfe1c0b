//! One row for each chunk.

use super::pools::contains;
use super::{Record, Row, SizeRange};
use crate::malloc::chunk::ChunkState;
use crate::report::text::printable;
use crate::snapshot::chunks::{ArenaName, ChunkRow, ChunkTable};
use crate::snapshot::human::{counted, human_bytes};
use crate::snapshot::model::{HexAddr, Snapshot};
use serde::{Serialize, Serializer};
use std::io::{self, Write};

/// A chunk with the names that its row in the model only points to.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ChunkLine<'a> {
    /// What malloc returned.
    pub address: HexAddr,
    /// Its size, header included.
    pub size: u64,
    /// What malloc thinks of it.
    pub state: ChunkState,
    /// `main`, the arena's address, or `mmapped`.
    #[serde(serialize_with = "arena_name")]
    pub arena: ArenaName,
    /// Stable name of its kind of owner; absent if it is not in use.
    pub owner: Option<&'a str>,
    /// The pool that holds it, if one does.
    pub pool: Option<HexAddr>,
}

fn arena_name<S: Serializer>(arena: &ArenaName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(arena)
}

impl Row for ChunkLine<'_> {
    const FIELDS: &'static [&'static str] = &["address", "size", "state", "arena", "owner", "pool"];

    fn csv(&self, record: &mut Record<'_>) -> io::Result<()> {
        record.plain(self.address)?;
        record.plain(self.size)?;
        record.plain(self.state.name())?;
        record.plain(self.arena)?;
        record.text(self.owner.unwrap_or_default())?;
        record.plain_or_empty(self.pool)
    }
}

/// Which chunks to keep.
#[derive(Debug, Clone, Default)]
pub struct ChunkFilter {
    /// Text that the owner's key, its label or the name of the pool's owner must contain, in any case of letters.
    pub owner: Option<String>,
    /// Where its size must lie.
    pub size: Option<SizeRange>,
    /// Its state.
    pub state: Option<ChunkState>,
    /// Its arena.
    pub arena: Option<ArenaName>,
}

/// The chunks that the filter keeps, in the order of the snapshot.
pub fn chunks<'a>(snapshot: &'a Snapshot, filter: &ChunkFilter) -> impl Iterator<Item = ChunkLine<'a>> {
    // Names are compared once for each owner and pool, not once for each chunk.
    let owners = OwnerMatch::new(snapshot, filter.owner.as_deref());
    let ChunkFilter { size, state, arena, .. } = filter.clone();
    let keeps = move |chunk: &ChunkRow| {
        size.is_none_or(|size| size.contains(chunk.size))
            && state.is_none_or(|state| state == chunk.state)
            && arena.is_none_or(|arena| arena == chunk.arena)
            && owners.keeps(chunk)
    };
    snapshot.chunks.iter().flat_map(ChunkTable::iter).filter(keeps).map(|chunk| line(snapshot, &chunk))
}

fn line<'a>(snapshot: &'a Snapshot, chunk: &ChunkRow) -> ChunkLine<'a> {
    let owner = chunk.owner.and_then(|index| snapshot.owners.get(index as usize));
    let pool = chunk.pool.and_then(|index| snapshot.pools.get(index as usize));
    ChunkLine {
        address: HexAddr(chunk.address),
        size: chunk.size,
        state: chunk.state,
        arena: chunk.arena,
        owner: owner.map(|owner| owner.owner.as_str()),
        pool: pool.map(|pool| pool.address),
    }
}

/// Which owners and pools a text means; everything, if there is no text.
struct OwnerMatch(Option<(Vec<bool>, Vec<bool>)>);

impl OwnerMatch {
    fn new(snapshot: &Snapshot, part: Option<&str>) -> OwnerMatch {
        OwnerMatch(part.map(|part| {
            let owners =
                snapshot.owners.iter().map(|owner| contains(&owner.owner, part) || contains(&owner.label, part));
            let pools =
                snapshot.pools.iter().map(|pool| pool.owner.name.as_deref().is_some_and(|name| contains(name, part)));
            (owners.collect(), pools.collect())
        }))
    }

    fn keeps(&self, chunk: &ChunkRow) -> bool {
        let Some((owners, pools)) = &self.0 else { return true };
        let is_set = |list: &[bool], index: Option<u32>| {
            index.and_then(|index| list.get(index as usize)).is_some_and(|set| *set)
        };
        is_set(owners, chunk.owner) || is_set(pools, chunk.pool)
    }
}

/// Writes chunks for people, one line each.
///
/// # Errors
/// Those of `out`.
pub fn write_chunk_table<'a>(rows: impl Iterator<Item = ChunkLine<'a>>, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{:<14}  {:>12}  {:<9}  {:<14}  {:<14}  owner", "address", "size", "state", "arena", "pool")?;
    let (mut chunks, mut bytes) = (0, 0u64);
    for row in rows {
        let pool = row.pool.map_or("-".to_owned(), |pool| pool.to_string());
        let owner = row.owner.map_or("-".to_owned(), |owner| printable(owner, true));
        let (address, arena) = (row.address.to_string(), row.arena.to_string());
        writeln!(out, "{address:<14}  {:>12}  {:<9}  {arena:<14}  {pool:<14}  {owner}", row.size, row.state.name())?;
        chunks += 1;
        bytes = row.size.saturating_add(bytes);
    }
    writeln!(out, "\n{}, {}", counted(chunks, "chunk"), human_bytes(bytes))
}
