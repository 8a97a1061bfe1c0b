//! Every chunk of a heap in twelve bytes: a heap can have ten million of them.
//!
//! Chunks lie side by side, so that the size of one tells where the next begins: addresses are kept only where a run of
//! them starts.

use super::model::HexAddr;
use crate::malloc::chunk::{ChunkState, HEADER};
use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRow {
    /// What malloc returned.
    pub address: u64,
    /// Its size, header included: a multiple of 16.
    pub size: u64,
    /// What malloc thinks of it.
    pub state: ChunkState,
    /// Where it comes from.
    pub arena: ArenaName,
    /// Index into [`super::model::Snapshot::owners`]; `None` for chunks that are not in use.
    pub owner: Option<u32>,
    /// Index into [`super::model::Snapshot::pools`], if a pool holds it.
    pub pool: Option<u32>,
}

/// Which arena a chunk comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArenaName {
    /// `main_arena`.
    Main,
    /// The arena at this address.
    Other(u64),
    /// None: it has a mapping of its own.
    Mmapped,
}

impl fmt::Display for ArenaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArenaName::Main => f.write_str("main"),
            ArenaName::Other(address) => write!(f, "{address:#x}"),
            ArenaName::Mmapped => f.write_str("mmapped"),
        }
    }
}

impl ArenaName {
    /// The arena that is written like that; `None` if none is.
    pub fn parse(text: &str) -> Option<ArenaName> {
        match text {
            "main" => Some(ArenaName::Main),
            "mmapped" => Some(ArenaName::Mmapped),
            _ => crate::addr::hex::parse(text).map(ArenaName::Other),
        }
    }
}

/// Chunks of one arena that lie side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRun {
    /// Where they come from.
    pub arena: ArenaName,
    /// What malloc returned for the first.
    pub start: u64,
    /// How many there are.
    pub chunks: u64,
}

/// Who owns a chunk, in four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkClaim {
    /// It is not in use.
    Nobody,
    /// The pool of that index.
    Pool(u32),
    /// The owner of that index, which is no pool.
    Owner(u32),
}

impl ChunkClaim {
    /// Owners that are no pools are few; they count down from the top.
    const LAST: u32 = u32::MAX;
    const FIRST_OWNER: u32 = u32::MAX - 0xffff;

    /// True if there are enough pools and owners for it.
    pub fn is_below(self, pools: u64, owners: u64) -> bool {
        match self {
            ChunkClaim::Nobody => true,
            ChunkClaim::Pool(index) => u64::from(index) < pools,
            ChunkClaim::Owner(index) => u64::from(index) < owners,
        }
    }

    fn pack(self) -> u32 {
        match self {
            ChunkClaim::Nobody => 0,
            ChunkClaim::Pool(index) if index < ChunkClaim::FIRST_OWNER - 1 => index + 1,
            ChunkClaim::Owner(index) if index <= 0xffff => ChunkClaim::LAST - index,
            ChunkClaim::Pool(_) | ChunkClaim::Owner(_) => 0,
        }
    }

    fn unpack(word: u32) -> ChunkClaim {
        match word {
            0 => ChunkClaim::Nobody,
            ChunkClaim::FIRST_OWNER.. => ChunkClaim::Owner(ChunkClaim::LAST - word),
            _ => ChunkClaim::Pool(word - 1),
        }
    }
}

/// Every chunk, in the order of the heap, those with a mapping of their own last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChunkTable {
    runs: Vec<ChunkRun>,
    /// Sizes are multiples of 16, which leaves room for the state.
    sizes: Vec<u64>,
    claims: Vec<u32>,
    /// Index of the owner of each pool.
    owner_of_pool: Vec<u32>,
    /// What malloc would have returned for a chunk right behind the last one.
    next: u64,
}

impl ChunkTable {
    /// A table without chunks. `owner_of_pool` has for each pool of the snapshot the index of its owner.
    pub fn new(owner_of_pool: Vec<u32>) -> ChunkTable {
        ChunkTable { owner_of_pool, ..ChunkTable::default() }
    }

    /// Makes room for so many chunks more.
    pub fn reserve(&mut self, chunks: usize) {
        self.sizes.reserve_exact(chunks);
        self.claims.reserve_exact(chunks);
    }

    /// Adds a chunk behind all others. The low four bits of its size are dropped.
    pub fn push(&mut self, arena: ArenaName, address: u64, size: u64, state: ChunkState, claim: ChunkClaim) {
        match self.runs.last_mut() {
            Some(run) if run.arena == arena && self.next == address => run.chunks += 1,
            _ => self.runs.push(ChunkRun { arena, start: address, chunks: 1 }),
        }
        self.next = address.wrapping_add(size & !0xf);
        self.sizes.push(size & !0xf | state as u64);
        self.claims.push(claim.pack());
    }

    /// How many chunks there are.
    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// Runs of chunks that lie side by side.
    pub fn runs(&self) -> &[ChunkRun] {
        &self.runs
    }

    /// Index into [`super::model::Snapshot::owners`] of the owner of each pool.
    pub fn owner_of_pool(&self) -> &[u32] {
        &self.owner_of_pool
    }

    /// Size in bytes, state and claim of all chunks, in order: what [`ChunkTable::push`] was given.
    pub fn entries(&self) -> impl Iterator<Item = (u64, ChunkState, ChunkClaim)> + '_ {
        let words = self.sizes.iter().zip(&self.claims);
        words.map(|(word, claim)| (word & !0xf, state_of(*word), ChunkClaim::unpack(*claim)))
    }

    /// All chunks, in order.
    pub fn iter(&self) -> impl Iterator<Item = ChunkRow> + '_ {
        let words = self.sizes.iter().zip(&self.claims);
        let mut runs = self.runs.iter();
        let mut run = runs.next().copied();
        let (mut done, mut address) = (0, run.map_or(0, |run| run.start));
        words.map(move |(size_and_state, claim)| {
            while run.is_some_and(|run| run.chunks == done) {
                run = runs.next().copied();
                (done, address) = (0, run.map_or(0, |run| run.start));
            }
            let row = self.row(address, *size_and_state, run.map_or(ArenaName::Main, |run| run.arena), *claim);
            done += 1;
            address = address.wrapping_add(row.size);
            row
        })
    }

    fn row(&self, address: u64, size_and_state: u64, arena: ArenaName, claim: u32) -> ChunkRow {
        let state = state_of(size_and_state);
        let (owner, pool) = match ChunkClaim::unpack(claim) {
            ChunkClaim::Nobody => (None, None),
            ChunkClaim::Owner(owner) => (Some(owner), None),
            ChunkClaim::Pool(pool) => (self.owner_of_pool.get(pool as usize).copied(), Some(pool)),
        };
        ChunkRow { address, size: size_and_state & !0xf, state, arena, owner, pool }
    }

    /// The chunk that holds `address`, its header included.
    pub fn at(&self, address: u64) -> Option<ChunkRow> {
        self.iter().find(|chunk| {
            let start = chunk.address.wrapping_sub(HEADER);
            address.wrapping_sub(start) < chunk.size
        })
    }
}

fn state_of(size_and_state: u64) -> ChunkState {
    ChunkState::ALL.get((size_and_state & 0xf) as usize).copied().unwrap_or(ChunkState::InUse)
}

impl FromIterator<ChunkRow> for ChunkTable {
    /// The owner of a pool is the one that its first chunk names.
    fn from_iter<I: IntoIterator<Item = ChunkRow>>(rows: I) -> ChunkTable {
        /// No real snapshot comes near; a damaged one must not make a list that long of nothing.
        const MAX_POOLS: u32 = 1 << 23;
        let mut table = ChunkTable::default();
        for row in rows {
            let claim = match (row.pool, row.owner) {
                (Some(pool), Some(owner)) if pool < MAX_POOLS => {
                    if table.owner_of_pool.len() <= pool as usize {
                        table.owner_of_pool.resize(pool as usize + 1, owner);
                    }
                    table.owner_of_pool[pool as usize] = owner;
                    ChunkClaim::Pool(pool)
                }
                (_, Some(owner)) => ChunkClaim::Owner(owner),
                (_, None) => ChunkClaim::Nobody,
            };
            table.push(row.arena, row.address, row.size, row.state, claim);
        }
        table
    }
}

impl Serialize for ChunkTable {
    /// As `[address, size, state, arena, owner, pool]` each: with names, ten million rows would be mostly names.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(Some(self.len()))?;
        for row in self.iter() {
            let arena = Written(row.arena);
            rows.serialize_element(&(HexAddr(row.address), row.size, row.state, arena, row.owner, row.pool))?;
        }
        rows.end()
    }
}

/// An arena as it is written, without a string of its own.
struct Written(ArenaName);

impl Serialize for Written {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A row as it is written.
type WrittenRow = (HexAddr, u64, ChunkState, String, Option<u32>, Option<u32>);

impl<'de> Deserialize<'de> for ChunkTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ChunkTable, D::Error> {
        struct Rows;
        impl<'de> Visitor<'de> for Rows {
            type Value = ChunkTable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of chunks, each [address, size, state, arena, owner, pool]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<ChunkTable, A::Error> {
                let next = || rows.next_element::<WrittenRow>().transpose();
                std::iter::from_fn(next).map(|row| parse(row?)).collect()
            }
        }
        deserializer.deserialize_seq(Rows)
    }
}

fn parse<E: Error>((address, size, state, arena, owner, pool): WrittenRow) -> Result<ChunkRow, E> {
    let arena = ArenaName::parse(&arena).ok_or_else(|| E::custom(format_args!("\"{arena}\" is no arena")))?;
    Ok(ChunkRow { address: address.0, size, state, arena, owner, pool })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<ChunkRow> {
        let chunk = |address, size, state, arena, owner, pool| ChunkRow { address, size, state, arena, owner, pool };
        vec![
            chunk(0x1010, 0x20, ChunkState::InUse, ArenaName::Main, Some(1), Some(0)),
            chunk(0x1030, 0x40, ChunkState::Free, ArenaName::Main, None, None),
            chunk(0x1070, 0x30, ChunkState::Top, ArenaName::Main, None, None),
            chunk(0x9010, 0x20, ChunkState::InUse, ArenaName::Main, Some(0), Some(2)),
            chunk(0x9030, 0x20, ChunkState::InUse, ArenaName::Other(0x7f00_0000_0030), Some(2), None),
            chunk(0x7f01_0000_0010, 0x40000, ChunkState::InUse, ArenaName::Mmapped, Some(1), Some(1)),
        ]
    }

    #[test]
    fn rows_come_out_as_they_went_in() {
        let table: ChunkTable = rows().into_iter().collect();
        assert_eq!(table.iter().collect::<Vec<_>>(), rows());
        let runs: Vec<u64> = table.runs().iter().map(|run| run.chunks).collect();
        assert_eq!(runs, [3, 1, 1, 1]);
    }

    #[test]
    fn the_published_form_is_read_as_it_is_written() {
        let table: ChunkTable = rows().into_iter().collect();
        let text = serde_json::to_string(&table).unwrap();
        assert!(
            text.starts_with(r#"[["0x1010",32,"in_use","main",1,0],["0x1030",64,"free","main",null,null],"#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<ChunkTable>(&text).unwrap(), table);
        for wrong in [r#"[["0x1010",32,"in_use","third",1,0]]"#, r#"[["0x1010",32]]"#, r#"[1]"#, r#"{}"#] {
            assert!(serde_json::from_str::<ChunkTable>(wrong).is_err());
        }
    }

    #[test]
    fn an_address_inside_a_chunk_or_its_header_finds_it() {
        let table: ChunkTable = rows().into_iter().collect();
        let found = |address| table.at(address).map(|chunk| chunk.address);
        assert_eq!(found(0x1000), Some(0x1010));
        assert_eq!(found(0x101f), Some(0x1010));
        assert_eq!(found(0x1020), Some(0x1030));
        assert_eq!(found(0xfff), None);
        assert_eq!(found(0x7f01_0003_ffff), Some(0x7f01_0000_0010));
    }

    #[test]
    fn claims_keep_their_numbers() {
        for claim in [
            ChunkClaim::Nobody,
            ChunkClaim::Pool(0),
            ChunkClaim::Pool(10_000_000),
            ChunkClaim::Owner(0),
            ChunkClaim::Owner(0xffff),
        ] {
            assert_eq!(ChunkClaim::unpack(claim.pack()), claim);
        }
    }
}
