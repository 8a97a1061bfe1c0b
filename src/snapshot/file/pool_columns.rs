//! Pools as columns: a million rows with names would be mostly names, and slow to read and write.

use crate::snapshot::model::HexAddr;
use crate::snapshot::pool::{CleanupRow, Identity, PoolOwner, PoolRow};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::hash::Hash;
use std::sync::Arc;

/// Some pools. Every column has one entry for each of them.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct PoolColumns {
    /// Distance in bytes from the pool before, the first of all from 0.
    address: Vec<i64>,
    /// Number of the owner.
    owner: Vec<u32>,
    slot: Vec<Option<u32>>,
    connection: Vec<Option<u64>>,
    /// 0 if `connection` is null.
    request: Vec<u64>,
    /// Distance in bytes from `address`.
    second_block: Vec<Option<i64>>,
    references: Vec<Option<u64>>,
    /// Left out where no pool has one, as are the two below.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    age_ms: Vec<Option<u64>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    client: Vec<Option<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    uri: Vec<Option<String>>,
    block_size: Vec<u64>,
    blocks: Vec<u64>,
    large: Vec<u64>,
    large_freed: Vec<u64>,
    block_bytes: Vec<u64>,
    large_bytes: Vec<u64>,
    used: Vec<u64>,
    unused: Vec<u64>,
    lost: Vec<u64>,
    /// Number of the list of cleanup handlers.
    cleanups: Vec<u32>,
}

impl PoolColumns {
    /// These pools as columns; `previous` is the address of the one before them.
    pub fn of(pools: &[PoolRow], previous: u64, owners: &[u32], cleanups: &[u32]) -> PoolColumns {
        let before = std::iter::once(previous).chain(pools.iter().map(|pool| pool.address.0));
        let second = |pool: &PoolRow| pool.second_block.map(|block| distance(pool.address.0, block.0));
        PoolColumns {
            address: pools.iter().zip(before).map(|(pool, before)| distance(before, pool.address.0)).collect(),
            owner: owners.to_vec(),
            slot: column(pools, |pool| pool.slot),
            connection: column(pools, |pool| pool.identity.map(|identity| identity.connection)),
            request: column(pools, |pool| pool.identity.map_or(0, |identity| identity.request)),
            second_block: column(pools, second),
            references: column(pools, |pool| pool.references),
            age_ms: column_of_some(pools, |pool| pool.age_ms),
            client: column_of_some(pools, |pool| pool.client.as_deref().map(str::to_owned)),
            uri: column_of_some(pools, |pool| pool.uri.as_deref().map(str::to_owned)),
            block_size: column(pools, |pool| pool.block_size),
            blocks: column(pools, |pool| pool.blocks),
            large: column(pools, |pool| pool.large),
            large_freed: column(pools, |pool| pool.large_freed),
            block_bytes: column(pools, |pool| pool.block_bytes),
            large_bytes: column(pools, |pool| pool.large_bytes),
            used: column(pools, |pool| pool.used),
            unused: column(pools, |pool| pool.unused),
            lost: column(pools, |pool| pool.lost),
            cleanups: cleanups.to_vec(),
        }
    }

    /// How many pools there are.
    pub fn len(&self) -> usize {
        self.address.len()
    }

    /// Adds the pools to `rows`; the first one's distance is from the last of those. What is wrong, if anything is.
    pub fn add_to(&self, rows: &mut Vec<PoolRow>, names: &Names) -> Result<(), String> {
        let mut address = rows.last().map_or(0, |pool| pool.address.0);
        rows.reserve(self.len());
        for (index, distance) in self.address.iter().enumerate() {
            address = address.wrapping_add_signed(*distance);
            rows.push(self.row(index, address, names).ok_or_else(|| self.problem(index))?);
        }
        Ok(())
    }

    fn row(&self, index: usize, address: u64, names: &Names) -> Option<PoolRow> {
        let second_block = entry(&self.second_block, index)?;
        let request = entry(&self.request, index)?;
        let identity = entry(&self.connection, index)?.map(|connection| Identity { connection, request });
        Some(PoolRow {
            address: HexAddr(address),
            owner: names.owners.get(entry(&self.owner, index)? as usize)?.clone(),
            slot: entry(&self.slot, index)?,
            identity,
            second_block: second_block.map(|distance| HexAddr(address.wrapping_add_signed(distance))),
            references: entry(&self.references, index)?,
            age_ms: some_entry(&self.age_ms, index)?,
            client: some_entry(&self.client, index)?.map(Arc::from),
            uri: some_entry(&self.uri, index)?.map(Arc::from),
            block_size: entry(&self.block_size, index)?,
            blocks: entry(&self.blocks, index)?,
            large: entry(&self.large, index)?,
            large_freed: entry(&self.large_freed, index)?,
            block_bytes: entry(&self.block_bytes, index)?,
            large_bytes: entry(&self.large_bytes, index)?,
            used: entry(&self.used, index)?,
            unused: entry(&self.unused, index)?,
            lost: entry(&self.lost, index)?,
            cleanups: names.cleanups.get(entry(&self.cleanups, index)? as usize)?.clone(),
        })
    }

    fn problem(&self, index: usize) -> String {
        format!(
            "pool {index} of the line lacks an entry in a column, or names an owner or cleanups that are not listed"
        )
    }
}

fn column<T>(pools: &[PoolRow], value: impl Fn(&PoolRow) -> T) -> Vec<T> {
    pools.iter().map(value).collect()
}

/// A column that most pools have nothing for: none at all, if no pool has.
fn column_of_some<T>(pools: &[PoolRow], value: impl Fn(&PoolRow) -> Option<T>) -> Vec<Option<T>> {
    let values = column(pools, value);
    if values.iter().any(Option::is_some) { values } else { Vec::new() }
}

/// An entry of such a column.
fn some_entry<T: Clone>(column: &[Option<T>], index: usize) -> Option<Option<T>> {
    if column.is_empty() { Some(None) } else { column.get(index).cloned() }
}

fn entry<T: Copy>(column: &[T], index: usize) -> Option<T> {
    column.get(index).copied()
}

/// Bytes from `from` to `to`, forwards or backwards; `from` with it added, wrapping, is `to`.
pub(super) fn distance(from: u64, to: u64) -> i64 {
    to.wrapping_sub(from).cast_signed()
}

/// What columns of pools name by number.
#[derive(Default)]
pub(super) struct Names {
    /// Owners.
    pub owners: Vec<Arc<PoolOwner>>,
    /// Lists of cleanup handlers.
    pub cleanups: Vec<Arc<[CleanupRow]>>,
}

/// Gives numbers to values that pools share, and remembers which are new.
pub(super) struct Numbers<'a, T: ?Sized> {
    /// Values by where they are: nearly all pools share theirs with others.
    by_place: FxHashMap<*const u8, u32>,
    by_value: FxHashMap<&'a T, u32>,
    new: Vec<&'a T>,
}

impl<'a, T: ?Sized + Hash + Eq> Numbers<'a, T> {
    /// No values so far.
    pub fn new() -> Numbers<'a, T> {
        Numbers { by_place: FxHashMap::default(), by_value: FxHashMap::default(), new: Vec::new() }
    }

    /// The number of a value.
    pub fn of(&mut self, value: &'a Arc<T>) -> u32 {
        let place = Arc::as_ptr(value).cast::<u8>();
        if let Some(number) = self.by_place.get(&place) {
            return *number;
        }
        let next = self.by_value.len() as u32;
        let number = *self.by_value.entry(value).or_insert(next);
        if number == next {
            self.new.push(value);
        }
        self.by_place.insert(place, number);
        number
    }

    /// The values that got a number since this was asked last.
    pub fn take_new(&mut self) -> Vec<&'a T> {
        std::mem::take(&mut self.new)
    }
}
