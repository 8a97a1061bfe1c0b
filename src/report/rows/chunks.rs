//! One row for each chunk.

use super::pools::contains;
use super::{Record, Row, SizeRange};
use crate::malloc::chunk::ChunkState;
use crate::report::text::printable;
use crate::snapshot::chunks::{ArenaName, ChunkRow, ChunkTable};
use crate::snapshot::human::{counted, group_label, human_bytes};
use crate::snapshot::model::{HexAddr, OwnerSummary, Snapshot};
use serde::{Serialize, Serializer};
use std::cmp::Reverse;
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
    /// What it is, if it is in use, no pool holds it, and that has a name.
    pub group: Option<&'a str>,
    /// The path to one of its group, or who points to that; absent if it is not known, and for chunks of pools.
    pub path: Option<&'a str>,
}

fn arena_name<S: Serializer>(arena: &ArenaName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(arena)
}

impl Row for ChunkLine<'_> {
    const FIELDS: &'static [&'static str] = &["address", "size", "state", "arena", "owner", "pool", "group", "path"];

    fn csv(&self, record: &mut Record<'_>) -> io::Result<()> {
        record.plain(self.address)?;
        record.plain(self.size)?;
        record.plain(self.state.name())?;
        record.plain(self.arena)?;
        record.text(self.owner.unwrap_or_default())?;
        record.plain_or_empty(self.pool)?;
        record.text(self.group.unwrap_or_default())?;
        record.text(self.path.unwrap_or_default())
    }
}

/// The word for every owner of chunks outside pools.
pub const OUTSIDE: &str = "outside_pools";

/// True if an owner is what a text is looked for.
fn is_meant(owner: &OwnerSummary, part: &str) -> bool {
    let is_outside = owner.pools == 0 && part.eq_ignore_ascii_case(OUTSIDE);
    is_outside || contains(&owner.owner, part) || contains(&owner.label, part)
}

/// True if any chunk has an owner that the text is in, whatever else is asked for.
pub fn has_chunks_of(snapshot: &Snapshot, owner: &str) -> bool {
    OwnerMatch::new(snapshot, Some(owner), Texts::All).0.is_none_or(|matches| matches.any())
}

/// Which chunks to keep.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChunkFilter {
    /// Text that the owner's key, its label or the name of the pool's owner must contain, in any case of letters; or
    /// [`OUTSIDE`], which all that is in use outside pools has.
    pub owner: Option<String>,
    /// Text that the name of its group or of the pool's owner must contain, in any case of letters.
    pub name: Option<String>,
    /// Where its size must lie.
    pub size: Option<SizeRange>,
    /// Its state.
    pub state: Option<ChunkState>,
    /// Its arena.
    pub arena: Option<ArenaName>,
}

/// In which order to list chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChunkSort {
    /// As they lie in the heap, arena by arena, those with a mapping of their own last.
    #[default]
    Heap,
    /// Lowest address first.
    Address,
    /// Largest first.
    Size,
    /// By kind of owner and name of the group, those with most bytes first; then the largest.
    Owner,
}

/// The chunks that the filter keeps, in the order asked for. In any but that of the heap, all that are kept are held in memory.
pub fn chunks<'a>(
    snapshot: &'a Snapshot,
    filter: &ChunkFilter,
    sort: ChunkSort,
) -> Box<dyn Iterator<Item = ChunkLine<'a>> + 'a> {
    let kept = kept(snapshot, filter);
    if sort == ChunkSort::Heap {
        return Box::new(kept.map(|chunk| line(snapshot, &chunk)));
    }
    let mut rows: Vec<ChunkRow> = kept.collect();
    match sort {
        ChunkSort::Heap | ChunkSort::Address => rows.sort_by_key(|chunk| chunk.address),
        ChunkSort::Size => rows.sort_by_key(|chunk| (Reverse(chunk.size), chunk.address)),
        // Owners and groups are numbered by their bytes; what nobody owns comes last.
        ChunkSort::Owner => rows
            .sort_by_key(|chunk| (chunk.owner.is_none(), chunk.owner, chunk.group, Reverse(chunk.size), chunk.address)),
    }
    Box::new(rows.into_iter().map(|chunk| line(snapshot, &chunk)))
}

fn kept<'a>(snapshot: &'a Snapshot, filter: &ChunkFilter) -> impl Iterator<Item = ChunkRow> + use<'a> {
    // Names are compared once for each owner and pool, not once for each chunk.
    let owners = OwnerMatch::new(snapshot, filter.owner.as_deref(), Texts::All);
    let names = OwnerMatch::new(snapshot, filter.name.as_deref(), Texts::Names);
    let ChunkFilter { size, state, arena, .. } = filter.clone();
    let keeps = move |chunk: &ChunkRow| {
        size.is_none_or(|size| size.contains(chunk.size))
            && state.is_none_or(|state| state == chunk.state)
            && arena.is_none_or(|arena| arena == chunk.arena)
            && owners.keeps(chunk)
            && names.keeps(chunk)
    };
    snapshot.chunks.iter().flat_map(ChunkTable::iter).filter(keeps)
}

fn line<'a>(snapshot: &'a Snapshot, chunk: &ChunkRow) -> ChunkLine<'a> {
    let owner = chunk.owner.and_then(|index| snapshot.owners.get(index as usize));
    let pool = chunk.pool.and_then(|index| snapshot.pools.get(index as usize));
    let group = chunk.group.and_then(|index| snapshot.groups.get(index as usize));
    ChunkLine {
        address: HexAddr(chunk.address),
        size: chunk.size,
        state: chunk.state,
        arena: chunk.arena,
        owner: owner.map(|owner| owner.owner.as_str()),
        pool: pool.map(|pool| pool.address),
        group: group.map(|group| group.name.as_str()).filter(|name| !name.is_empty()),
        path: group.map(|group| group.path.as_str()).filter(|path| !path.is_empty()),
    }
}

/// What a text is looked for in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Texts {
    /// Kinds and labels of owners, and names.
    All,
    /// Names only.
    Names,
}

/// Which owners, pools and groups a text means.
struct OwnerMatch(Option<Matches>);

struct Matches {
    owners: Vec<bool>,
    pools: Vec<bool>,
    groups: Vec<bool>,
}

impl Matches {
    fn any(&self) -> bool {
        [&self.owners, &self.pools, &self.groups].into_iter().flatten().any(|set| *set)
    }
}

impl OwnerMatch {
    /// Everything, if there is no text.
    fn new(snapshot: &Snapshot, part: Option<&str>, texts: Texts) -> OwnerMatch {
        OwnerMatch(part.map(|part| {
            let named = |name: Option<&str>| name.is_some_and(|name| contains(name, part));
            let owners = snapshot.owners.iter().map(|owner| texts == Texts::All && is_meant(owner, part));
            Matches {
                owners: owners.collect(),
                pools: snapshot.pools.iter().map(|pool| named(pool.owner.name.as_deref())).collect(),
                groups: snapshot.groups.iter().map(|group| named(Some(&group.name))).collect(),
            }
        }))
    }

    fn keeps(&self, chunk: &ChunkRow) -> bool {
        let Some(matches) = &self.0 else { return true };
        let is_set = |list: &[bool], index: Option<u32>| {
            index.and_then(|index| list.get(index as usize)).is_some_and(|set| *set)
        };
        is_set(&matches.owners, chunk.owner)
            || is_set(&matches.pools, chunk.pool)
            || is_set(&matches.groups, chunk.group)
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
        let owner = match (row.owner, row.group) {
            (None, _) => "-".to_owned(),
            (Some(owner), None) => printable(owner, true),
            (Some(owner), Some(group)) => printable(&group_label(owner, group), true),
        };
        let (address, arena) = (row.address.to_string(), row.arena.to_string());
        writeln!(out, "{address:<14}  {:>12}  {:<9}  {arena:<14}  {pool:<14}  {owner}", row.size, row.state.name())?;
        chunks += 1;
        bytes = row.size.saturating_add(bytes);
    }
    writeln!(out, "\n{}, {}", counted(chunks, "chunk"), human_bytes(bytes))
}
