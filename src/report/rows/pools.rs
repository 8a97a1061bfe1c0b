//! Which pools to list, and in which order.

use super::SizeRange;
use crate::snapshot::model::Snapshot;
use crate::snapshot::pool::{PoolRow, Trust};
use std::cmp::{Ordering, Reverse};

/// Which pools to keep.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolFilter {
    /// Text that the owner's key, label or name must contain, in any case of letters.
    pub owner: Option<String>,
    /// State of the owner, in any case of letters.
    pub state: Option<String>,
    /// Text that the owner's name must contain, in any case of letters.
    pub name: Option<String>,
    /// How the owner must be known.
    pub trust: Option<Trust>,
    /// How old the owner must be at least, in milliseconds. Those whose age is not known are left out.
    pub min_age_ms: Option<u64>,
    /// Where the bytes of the pool must lie.
    pub size: Option<SizeRange>,
}

/// By what pools are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PoolKey {
    /// Most bytes first.
    #[default]
    Bytes,
    /// Oldest owner first; those whose age is not known come last.
    Age,
    /// Most bytes handed out first.
    Used,
    /// Most bytes that can still be handed out first.
    Unused,
    /// Most blocks first.
    Blocks,
    /// Most large allocations first.
    Large,
    /// Most references first; pools whose owner counts none come last.
    References,
    /// Lowest address first.
    Address,
}

/// In which order to list pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolSort {
    /// By what.
    pub key: PoolKey,
    /// The other way round. What is not known comes last all the same.
    pub reverse: bool,
}

impl PoolSort {
    fn compare(self, one: &PoolRow, other: &PoolRow) -> Ordering {
        let (one, other) = (self.key.value(one), self.key.value(other));
        let largest_first = self.reverse == (self.key == PoolKey::Address);
        match (one, other) {
            (Some(one), Some(other)) if largest_first => other.cmp(&one),
            (Some(one), Some(other)) => one.cmp(&other),
            (one, other) => Reverse(one.is_some()).cmp(&Reverse(other.is_some())),
        }
    }
}

impl PoolKey {
    fn value(self, pool: &PoolRow) -> Option<u64> {
        match self {
            PoolKey::Bytes => Some(pool.bytes()),
            PoolKey::Age => pool.age_ms,
            PoolKey::Used => Some(pool.used),
            PoolKey::Unused => Some(pool.unused),
            PoolKey::Blocks => Some(pool.blocks),
            PoolKey::Large => Some(pool.large),
            PoolKey::References => pool.references,
            PoolKey::Address => Some(pool.address.0),
        }
    }
}

impl PoolFilter {
    fn keeps(&self, pool: &PoolRow) -> bool {
        let owner = &pool.owner;
        let texts = [Some(owner.kind.as_str()), Some(owner.label.as_str()), owner.name.as_deref()];
        self.owner.as_deref().is_none_or(|part| texts.into_iter().flatten().any(|text| contains(text, part)))
            && self.state.as_deref().is_none_or(|state| owner.state.as_deref().is_some_and(|own| same(own, state)))
            && self.name.as_deref().is_none_or(|part| owner.name.as_deref().is_some_and(|name| contains(name, part)))
            && self.trust.is_none_or(|trust| owner.trust == trust)
            && self.min_age_ms.is_none_or(|least| pool.age_ms.is_some_and(|age| age >= least))
            && self.size.is_none_or(|size| size.contains(pool.bytes()))
    }
}

/// True if `text` contains `part`, in any case of letters.
pub(super) fn contains(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(&part.to_lowercase())
}

fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

/// Pools that were chosen.
#[derive(Debug, Clone)]
pub struct PoolList<'a> {
    /// Those to list, in order.
    pub rows: Vec<&'a PoolRow>,
    /// How many the filter keeps, with those that are not listed.
    pub kept: usize,
    /// Bytes of all that the filter keeps.
    pub bytes: u64,
}

/// The pools that the filter keeps, in the order asked for, at most `top` of them.
pub fn pools<'a>(snapshot: &'a Snapshot, filter: &PoolFilter, sort: PoolSort, top: Option<usize>) -> PoolList<'a> {
    let mut rows: Vec<&PoolRow> = snapshot.pools.iter().filter(|pool| filter.keeps(pool)).collect();
    let (kept, bytes) = (rows.len(), sum(&rows));
    rows.sort_by(|one, other| sort.compare(one, other));
    rows.truncate(top.unwrap_or(usize::MAX));
    PoolList { rows, kept, bytes }
}

/// The states that owners of pools have in a snapshot, each once, in the order of the alphabet.
pub fn states(snapshot: &Snapshot) -> Vec<&str> {
    let mut states: Vec<&str> = snapshot.pools.iter().filter_map(|pool| pool.owner.state.as_deref()).collect();
    states.sort_unstable();
    states.dedup();
    states
}

/// The kinds of owners that pools have in a snapshot, each once, in the order of the alphabet.
pub fn owners(snapshot: &Snapshot) -> Vec<&str> {
    let mut owners: Vec<&str> = snapshot.pools.iter().map(|pool| pool.owner.kind.as_str()).collect();
    owners.sort_unstable();
    owners.dedup();
    owners
}

fn sum(rows: &[&PoolRow]) -> u64 {
    rows.iter().fold(0, |bytes, pool| pool.bytes().saturating_add(bytes))
}
