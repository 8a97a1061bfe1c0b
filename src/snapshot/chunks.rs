//! Every chunk of a heap in twelve bytes: a heap can have ten million of them.
//!
//! Chunks lie side by side, so that the size of one tells where the next begins: addresses are kept only where a run of
//! them starts.

use crate::malloc::chunk::{ChunkState, HEADER};
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
    /// Index into [`super::model::Snapshot::groups`], if it is in use and no pool holds it.
    pub group: Option<u32>,
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
    /// No pool, but the group of that index.
    Group(u32),
}

impl ChunkClaim {
    /// How many groups can be told apart.
    pub const MOST_GROUPS: u64 = 1 << 16;
    /// Groups are few; they count down from the top.
    const LAST: u32 = u32::MAX;
    const FIRST_GROUP: u32 = u32::MAX - 0xffff;

    /// True if there are enough pools and groups for it.
    pub fn is_below(self, pools: u64, groups: u64) -> bool {
        match self {
            ChunkClaim::Nobody => true,
            ChunkClaim::Pool(index) => u64::from(index) < pools,
            ChunkClaim::Group(index) => u64::from(index) < groups,
        }
    }

    fn pack(self) -> u32 {
        match self {
            ChunkClaim::Nobody => 0,
            ChunkClaim::Pool(index) if index < ChunkClaim::FIRST_GROUP - 1 => index + 1,
            ChunkClaim::Group(index) if index <= 0xffff => ChunkClaim::LAST - index,
            ChunkClaim::Pool(_) | ChunkClaim::Group(_) => 0,
        }
    }

    fn unpack(word: u32) -> ChunkClaim {
        match word {
            0 => ChunkClaim::Nobody,
            ChunkClaim::FIRST_GROUP.. => ChunkClaim::Group(ChunkClaim::LAST - word),
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
    /// Index of the owner of each group.
    owner_of_group: Vec<u32>,
    /// What malloc would have returned for a chunk right behind the last one.
    next: u64,
}

impl ChunkTable {
    /// A table without chunks. The lists have for each pool and for each group of the snapshot the index of its owner.
    pub fn new(owner_of_pool: Vec<u32>, owner_of_group: Vec<u32>) -> ChunkTable {
        ChunkTable { owner_of_pool, owner_of_group, ..ChunkTable::default() }
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

    /// Index into [`super::model::Snapshot::owners`] of the owner of each group.
    pub fn owner_of_group(&self) -> &[u32] {
        &self.owner_of_group
    }

    /// Gives groups other numbers: `new` has that of each, if it has one. `owners` are the owners by the new numbers. False,
    /// and nothing is to be relied on, if a chunk is of a group that has no new number.
    pub(super) fn renumber_groups(&mut self, new: &[Option<u32>], owners: Vec<u32>) -> bool {
        self.owner_of_group = owners;
        let groups = self.claims.iter_mut().filter_map(|word| match ChunkClaim::unpack(*word) {
            ChunkClaim::Group(group) => Some((word, group)),
            ChunkClaim::Nobody | ChunkClaim::Pool(_) => None,
        });
        let mut all = true;
        for (word, group) in groups {
            match new.get(group as usize).copied().flatten() {
                Some(number) => *word = ChunkClaim::Group(number).pack(),
                None => all = false,
            }
        }
        all
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
        let at = |owners: &[u32], index: u32| owners.get(index as usize).copied();
        let (owner, pool, group) = match ChunkClaim::unpack(claim) {
            ChunkClaim::Nobody => (None, None, None),
            ChunkClaim::Group(group) => (at(&self.owner_of_group, group), None, Some(group)),
            ChunkClaim::Pool(pool) => (at(&self.owner_of_pool, pool), Some(pool), None),
        };
        ChunkRow { address, size: size_and_state & !0xf, state, arena, owner, pool, group }
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
    /// The owner of a pool or group is the one that its last chunk names. A chunk without either is nobody's.
    fn from_iter<I: IntoIterator<Item = ChunkRow>>(rows: I) -> ChunkTable {
        /// No real snapshot comes near; a damaged one must not make a list that long of nothing.
        const MAX_POOLS: u32 = 1 << 23;
        let mut table = ChunkTable::default();
        for row in rows {
            let claim = match (row.pool, row.group, row.owner) {
                (Some(pool), _, Some(owner)) if pool < MAX_POOLS => {
                    set_owner(&mut table.owner_of_pool, pool, owner);
                    ChunkClaim::Pool(pool)
                }
                (None, Some(group), Some(owner)) if u64::from(group) < ChunkClaim::MOST_GROUPS => {
                    set_owner(&mut table.owner_of_group, group, owner);
                    ChunkClaim::Group(group)
                }
                _ => ChunkClaim::Nobody,
            };
            table.push(row.arena, row.address, row.size, row.state, claim);
        }
        table
    }
}

fn set_owner(owners: &mut Vec<u32>, index: u32, owner: u32) {
    if owners.len() <= index as usize {
        owners.resize(index as usize + 1, owner);
    }
    if let Some(place) = owners.get_mut(index as usize) {
        *place = owner;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn rows() -> Vec<ChunkRow> {
        let chunk = |address, size, state, arena, owner, pool, group| ChunkRow {
            address,
            size,
            state,
            arena,
            owner,
            pool,
            group,
        };
        vec![
            chunk(0x1010, 0x20, ChunkState::InUse, ArenaName::Main, Some(1), Some(0), None),
            chunk(0x1030, 0x40, ChunkState::Free, ArenaName::Main, None, None, None),
            chunk(0x1070, 0x30, ChunkState::Top, ArenaName::Main, None, None, None),
            chunk(0x9010, 0x20, ChunkState::InUse, ArenaName::Main, Some(0), Some(2), None),
            chunk(0x9030, 0x20, ChunkState::InUse, ArenaName::Other(0x7f00_0000_0030), Some(2), None, Some(1)),
            chunk(0x7f01_0000_0010, 0x40000, ChunkState::InUse, ArenaName::Mmapped, Some(1), Some(1), None),
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
            ChunkClaim::Group(0),
            ChunkClaim::Group(0xffff),
        ] {
            assert_eq!(ChunkClaim::unpack(claim.pack()), claim);
        }
    }

    #[test]
    fn groups_get_other_numbers_and_their_chunks_keep_their_owners() {
        let mut table: ChunkTable = rows().into_iter().collect();
        assert!(table.renumber_groups(&[None, Some(0)], vec![2]));
        let row = table.iter().nth(4).unwrap();
        assert_eq!((row.owner, row.group), (Some(2), Some(0)));
        assert!(!table.renumber_groups(&[None], Vec::new()));
    }
}
