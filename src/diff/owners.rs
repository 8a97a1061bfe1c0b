//! What is in use by kind of owner, by name within a kind, and by size.

use super::change::{Change, Interval};
use super::knows_owners;
use super::pools::{PoolChanges, Traffic};
use super::sizes::{BucketChange, bucket_changes};
use crate::snapshot::model::{OwnerSummary, Snapshot};
use crate::snapshot::pool::PoolRow;
use rustc_hash::FxHashMap;
use serde::Serialize;
use std::cmp::Reverse;

/// Stable name of all pools together, where one of the snapshots does not know whose they are.
pub const ALL_POOLS: &str = "pools";

/// Chunks in use of one kind of owner.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OwnerChange<'a> {
    /// Stable name of the kind, as in [`OwnerSummary::owner`]; or [`ALL_POOLS`].
    pub owner: &'a str,
    /// The same for people.
    pub label: &'a str,
    /// How many pools.
    pub pools: Change,
    /// How many chunks.
    pub chunks: Change,
    /// Their bytes.
    pub bytes: Change,
    /// Bytes of its pools that were handed out.
    pub used: Change,
    /// Pools that came and went; only within one process.
    pub traffic: Option<Traffic>,
    /// Bytes per hour; only within one process, if time passed.
    pub per_hour: Option<f64>,
    /// Of all bytes by which owners grew, the part of this one, from 0 to 1; `None` if it did not grow.
    pub share_of_growth: Option<f64>,
    /// Its pools by name, most growth first.
    pub names: Vec<NameChange<'a>>,
    /// Its chunks by size, smallest first.
    pub sizes: Vec<BucketChange>,
}

/// Pools of one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NameChange<'a> {
    /// What they are called.
    pub name: &'a str,
    /// How many pools.
    pub pools: Change,
    /// How many chunks they hold.
    pub chunks: Change,
    /// Bytes of these chunks.
    pub bytes: Change,
}

/// Owners of both snapshots side by side, most growth first. Together they are all that is in use.
pub(super) fn owner_changes<'a>(
    old: &'a Snapshot,
    new: &'a Snapshot,
    pools: Option<&PoolChanges<'a>>,
    interval: Interval,
) -> Vec<OwnerChange<'a>> {
    let by_kind = knows_owners(old) == knows_owners(new);
    let mut owners = Sides::of(old, new, by_kind).changes();
    let growth: u128 = owners.iter().map(|owner| u128::from(owner.bytes.growth())).sum();
    let mut names = if by_kind { names_of(old, new) } else { FxHashMap::default() };
    for owner in &mut owners {
        owner.names = names.remove(owner.owner).unwrap_or_default();
        owner.traffic =
            pools.filter(|_| by_kind).map(|pools| pools.by_kind.get(owner.owner).copied().unwrap_or_default());
        owner.per_hour = pools.and_then(|_| interval.per_hour(owner.bytes.by()));
        let grown = owner.bytes.growth();
        owner.share_of_growth = (grown > 0).then(|| grown as f64 / growth as f64);
    }
    owners.sort_by_key(|owner| (Reverse(owner.bytes.by()), owner.owner));
    owners
}

/// Summaries of both snapshots under the same names.
struct Sides<'a> {
    rows: FxHashMap<&'a str, (&'a str, Vec<&'a OwnerSummary>, Vec<&'a OwnerSummary>)>,
}

impl<'a> Sides<'a> {
    fn of(old: &'a Snapshot, new: &'a Snapshot, by_kind: bool) -> Sides<'a> {
        let mut rows: FxHashMap<&str, (&str, Vec<_>, Vec<_>)> = FxHashMap::default();
        let key = |owner: &'a OwnerSummary| match by_kind || owner.pools == 0 {
            true => (owner.owner.as_str(), owner.label.as_str()),
            false => (ALL_POOLS, "pools, whoever owns them"),
        };
        for owner in &new.owners {
            let (kind, label) = key(owner);
            rows.entry(kind).or_insert_with(|| (label, Vec::new(), Vec::new())).2.push(owner);
        }
        for owner in &old.owners {
            let (kind, label) = key(owner);
            rows.entry(kind).or_insert_with(|| (label, Vec::new(), Vec::new())).1.push(owner);
        }
        Sides { rows }
    }

    fn changes(self) -> Vec<OwnerChange<'a>> {
        let change = |(owner, (label, old, new)): (&'a str, (&'a str, Vec<&OwnerSummary>, Vec<&OwnerSummary>))| {
            let sum = |number: fn(&OwnerSummary) -> u64| {
                let sum =
                    |side: &[&OwnerSummary]| side.iter().fold(0u64, |sum, owner| sum.saturating_add(number(owner)));
                Change::new(sum(&old), sum(&new))
            };
            OwnerChange {
                owner,
                label,
                pools: sum(|owner| owner.pools),
                chunks: sum(|owner| owner.chunks),
                bytes: sum(|owner| owner.bytes),
                used: sum(|owner| owner.used),
                traffic: None,
                per_hour: None,
                share_of_growth: None,
                names: Vec::new(),
                sizes: bucket_changes(&old, &new),
            }
        };
        self.rows.into_iter().map(change).collect()
    }
}

/// Names of pools by kind of owner, most growth first.
fn names_of<'a>(old: &'a Snapshot, new: &'a Snapshot) -> FxHashMap<&'a str, Vec<NameChange<'a>>> {
    let mut names: FxHashMap<(&str, &str), NameChange<'_>> = FxHashMap::default();
    let mut count = |pool: &'a PoolRow, side: fn(u64) -> Change| {
        let Some(name) = pool.owner.name.as_deref() else { return };
        let [pools, chunks, bytes] = [Change::default(); 3];
        let entry = names.entry((&pool.owner.kind, name)).or_insert(NameChange { name, pools, chunks, bytes });
        entry.pools.add(side(1));
        entry.chunks.add(side(pool.blocks.saturating_add(pool.large)));
        entry.bytes.add(side(pool.bytes()));
    };
    old.pools.iter().for_each(|pool| count(pool, |number| Change::new(number, 0)));
    new.pools.iter().for_each(|pool| count(pool, |number| Change::new(0, number)));
    let mut by_kind: FxHashMap<&str, Vec<NameChange<'_>>> = FxHashMap::default();
    for ((kind, _), change) in names {
        by_kind.entry(kind).or_default().push(change);
    }
    by_kind.values_mut().for_each(|names| names.sort_by_key(|name| (Reverse(name.bytes.by()), name.name)));
    by_kind
}
