//! Chunks as columns: five bytes of text or so for each, and about one when compressed.

use super::pool_columns::distance;
use crate::malloc::chunk::ChunkState;
use crate::snapshot::chunks::{ArenaName, ChunkClaim, ChunkTable};
use serde::{Deserialize, Serialize};

/// Sizes are given in this many bytes (glibc malloc.c, `MALLOC_ALIGNMENT`).
const UNIT: u64 = crate::malloc::chunk::ALIGNMENT;

/// Some chunks, in the order of the heap. The first columns have an entry for each run of chunks that lie side by side, the
/// others one for each chunk.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct ChunkColumns {
    /// `main`, the arena's address in hex, or `mmapped`.
    arena: Vec<String>,
    /// The address that malloc returned for the first chunk, as the distance in bytes from that of the run before; the first
    /// of all from 0.
    start: Vec<i64>,
    /// How many chunks the run has in this line.
    count: Vec<u64>,
    /// In units of 16 bytes.
    size: Vec<u64>,
    /// One letter each: [`letter`].
    state: String,
    /// Index of the pool; or the index of the group, counted down from -1; or null. (Up to schema 2: of the owner that is
    /// no pool.)
    claim: Vec<Option<i64>>,
}

/// The letter of a state.
fn letter(state: ChunkState) -> char {
    match state {
        ChunkState::InUse => 'u',
        ChunkState::Tcache => 't',
        ChunkState::Fastbin => 'b',
        ChunkState::Free => 'f',
        ChunkState::Top => 'T',
        ChunkState::Fencepost => 'F',
    }
}

fn state_of(byte: u8) -> Option<ChunkState> {
    ChunkState::ALL.into_iter().find(|state| letter(*state) as u32 == u32::from(byte))
}

fn claim_number(claim: ChunkClaim) -> Option<i64> {
    match claim {
        ChunkClaim::Nobody => None,
        ChunkClaim::Pool(index) => Some(i64::from(index)),
        ChunkClaim::Group(index) => Some(-1 - i64::from(index)),
    }
}

/// Cuts a table into columns of at most so many chunks, and hands each to `each`.
pub(super) fn cut<E>(
    table: &ChunkTable,
    most: usize,
    mut each: impl FnMut(ChunkColumns) -> Result<(), E>,
) -> Result<(), E> {
    let mut columns = ChunkColumns::default();
    let mut entries = table.entries();
    let mut before = 0;
    for run in table.runs() {
        let (mut address, mut left) = (run.start, run.chunks);
        while left > 0 {
            if columns.size.len() == most {
                each(std::mem::take(&mut columns))?;
            }
            let count = left.min((most - columns.size.len()) as u64);
            columns.begin_run(run.arena, distance(before, address), count);
            (before, left) = (address, left - count);
            for (size, state, claim) in entries.by_ref().take(count as usize) {
                columns.push(size, state, claim);
                address = address.wrapping_add(size);
            }
        }
    }
    match columns.size.is_empty() {
        true => Ok(()),
        false => each(columns),
    }
}

impl ChunkColumns {
    fn begin_run(&mut self, arena: ArenaName, distance: i64, count: u64) {
        self.arena.push(arena.to_string());
        self.start.push(distance);
        self.count.push(count);
    }

    fn push(&mut self, size: u64, state: ChunkState, claim: ChunkClaim) {
        self.size.push(size / UNIT);
        self.state.push(letter(state));
        self.claim.push(claim_number(claim));
    }

    /// How many chunks there are.
    pub fn len(&self) -> usize {
        self.size.len()
    }

    /// Adds the chunks to `table`; the first run's distance is from `before`, which becomes the start of the last. What is
    /// wrong, if anything is.
    pub fn add_to(&self, table: &mut ChunkTable, before: &mut u64, bounds: &Bounds) -> Result<(), String> {
        let chunks = self.len();
        if self.state.len() != chunks || self.claim.len() != chunks {
            return Err(format!("{chunks} sizes, {} states, {} claims", self.state.len(), self.claim.len()));
        }
        let mut entries = self.size.iter().zip(self.state.bytes()).zip(&self.claim);
        for ((arena, distance), count) in self.arena.iter().zip(&self.start).zip(&self.count) {
            let arena = ArenaName::parse(arena).ok_or_else(|| format!("{arena:?} is no arena"))?;
            *before = before.wrapping_add_signed(*distance);
            let mut address = *before;
            for _ in 0..*count {
                let ((size, state), claim) = entries.next().ok_or("runs have more chunks than there are sizes")?;
                let size = size.checked_mul(UNIT).ok_or_else(|| format!("a size of {size} units"))?;
                let state = state_of(state).ok_or_else(|| format!("'{}' is no state", char::from(state)))?;
                table.push(arena, address, size, state, bounds.claim(*claim)?);
                address = address.wrapping_add(size);
            }
        }
        match entries.next() {
            None => Ok(()),
            Some(_) => Err("runs have fewer chunks than there are sizes".to_owned()),
        }
    }
}

/// What claims may name.
pub(super) struct Bounds {
    /// How many pools there are.
    pub pools: u64,
    /// How many groups there are; up to schema 2, how many owners, which stood for groups.
    pub groups: u64,
}

impl Bounds {
    fn claim(&self, number: Option<i64>) -> Result<ChunkClaim, String> {
        let Some(number) = number else { return Ok(ChunkClaim::Nobody) };
        let index = |number: i64, bound: u64| {
            u32::try_from(number)
                .ok()
                .filter(|index| u64::from(*index) < bound)
                .ok_or("a group or pool that is not there")
        };
        match number {
            0.. => Ok(ChunkClaim::Pool(index(number, self.pools)?)),
            _ => Ok(ChunkClaim::Group(index(-1 - number, self.groups)?)),
        }
    }
}
