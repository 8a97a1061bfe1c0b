//! What is in use outside pools, by what it is.

use super::change::{Change, Interval};
use crate::snapshot::model::{ChunkGroup, Snapshot};
use crate::snapshot::pool::Trust;
use rustc_hash::FxHashMap;
use serde::Serialize;
use std::cmp::Reverse;

/// Chunks in use outside pools that belong together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupChange<'a> {
    /// Stable name of the kind of owner, as in [`ChunkGroup::owner`].
    pub owner: &'a str,
    /// The same for people.
    pub label: &'a str,
    /// What they are called within that owner; empty if nothing tells them apart.
    pub name: &'a str,
    /// How it is known, in the newer snapshot that has it.
    pub trust: Trust,
    /// The path to one of them there, or who points to it; empty if that is not known.
    pub path: &'a str,
    /// How many chunks.
    pub chunks: Change,
    /// Their bytes.
    pub bytes: Change,
    /// Bytes per hour; only within one process, if time passed.
    pub per_hour: Option<f64>,
}

impl GroupChange<'_> {
    /// True if there are more or fewer of them, or they are larger or smaller.
    pub fn has_changed(&self) -> bool {
        self.bytes.by() != 0 || self.chunks.by() != 0
    }
}

/// Groups of both snapshots side by side, most growth first. `interval` is that between two snapshots of one process.
pub(super) fn group_changes<'a>(
    old: &'a Snapshot,
    new: &'a Snapshot,
    interval: Option<Interval>,
) -> Vec<GroupChange<'a>> {
    let labels: FxHashMap<&str, &str> =
        old.owners.iter().chain(&new.owners).map(|owner| (owner.owner.as_str(), owner.label.as_str())).collect();
    let mut groups: FxHashMap<(&str, &str), GroupChange<'_>> = FxHashMap::default();
    let mut count = |group: &'a ChunkGroup, side: fn(u64) -> Change| {
        let owner = group.owner.as_str();
        let entry = groups.entry((owner, &group.name)).or_insert(GroupChange {
            owner,
            label: labels.get(owner).copied().unwrap_or(owner),
            name: &group.name,
            trust: group.trust,
            path: &group.path,
            chunks: Change::default(),
            bytes: Change::default(),
            per_hour: None,
        });
        entry.chunks.add(side(group.chunks));
        entry.bytes.add(side(group.bytes));
    };
    new.groups.iter().for_each(|group| count(group, |number| Change::new(0, number)));
    old.groups.iter().for_each(|group| count(group, |number| Change::new(number, 0)));
    let mut groups: Vec<GroupChange<'_>> = groups.into_values().collect();
    for group in &mut groups {
        group.per_hour = interval.and_then(|time| time.per_hour(group.bytes.by()));
    }
    groups.sort_by_key(|group| (Reverse(group.bytes.by()), group.owner, group.name));
    groups
}
