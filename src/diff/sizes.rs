//! Chunks of one owner by size, in both snapshots.

use super::change::Change;
use crate::snapshot::model::OwnerSummary;
use serde::Serialize;
use std::collections::BTreeMap;

/// Chunks whose size is at least `from` and below `to` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BucketChange {
    /// Smallest size, a power of two.
    pub from: u64,
    /// First size that no longer belongs to it.
    pub to: u64,
    /// How many chunks.
    pub chunks: Change,
    /// Their bytes.
    pub bytes: Change,
}

/// The buckets of these owners together, smallest sizes first.
pub(super) fn bucket_changes(old: &[&OwnerSummary], new: &[&OwnerSummary]) -> Vec<BucketChange> {
    let mut buckets: BTreeMap<u64, BucketChange> = BTreeMap::new();
    let mut count = |owners: &[&OwnerSummary], side: fn(u64) -> Change| {
        for bucket in owners.iter().flat_map(|owner| &owner.sizes.buckets) {
            let (from, to) = (bucket.from, bucket.to);
            let empty = BucketChange { from, to, chunks: Change::default(), bytes: Change::default() };
            let entry = buckets.entry(from).or_insert(empty);
            entry.chunks.add(side(bucket.chunks));
            entry.bytes.add(side(bucket.bytes));
        }
    };
    count(old, |number| Change::new(number, 0));
    count(new, |number| Change::new(0, number));
    buckets.into_values().collect()
}
