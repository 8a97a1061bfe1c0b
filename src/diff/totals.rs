//! Where the memory of the process was and is.

use super::change::{Change, Interval};
use crate::snapshot::model::{MemoryRow, Snapshot};
use serde::Serialize;

/// One row of the breakdown in both snapshots.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TotalChange<'a> {
    /// What it is, as in [`MemoryRow::kind`].
    pub kind: &'a str,
    /// The same for people.
    pub label: &'a str,
    /// True if it is a part of the row above it that is not nested.
    pub nested: bool,
    /// Bytes of address space, or of chunks; `None` if one of the snapshots does not tell.
    pub size: Option<Change>,
    /// Bytes in memory; `None` if one of the snapshots does not tell.
    pub resident: Option<Change>,
    /// Change of the size per hour; only within one process.
    pub size_per_hour: Option<f64>,
    /// Change of what is in memory per hour; only within one process.
    pub resident_per_hour: Option<f64>,
}

/// All rows, in the order of the newer snapshot.
pub(super) fn total_changes<'a>(
    old: &'a Snapshot,
    new: &'a Snapshot,
    interval: Option<Interval>,
) -> Vec<TotalChange<'a>> {
    let only_old = old.memory.iter().filter(|row| find(new, &row.kind).is_none());
    let rows = new.memory.iter().chain(only_old);
    rows.map(|row| total_change(row, old, new, interval)).collect()
}

fn find<'a>(snapshot: &'a Snapshot, kind: &str) -> Option<&'a MemoryRow> {
    snapshot.memory.iter().find(|row| row.kind == kind)
}

fn total_change<'a>(row: &'a MemoryRow, old: &Snapshot, new: &Snapshot, interval: Option<Interval>) -> TotalChange<'a> {
    let (before, after) = (side(old, row), side(new, row));
    let size = before.zip(after).map(|(old, new)| Change::new(old.size, new.size));
    let resident = before.zip(after).and_then(|(old, new)| Some(Change::new(old.resident?, new.resident?)));
    let per_hour = |change: Option<Change>| interval.zip(change).and_then(|(time, change)| time.per_hour(change.by()));
    TotalChange {
        kind: &row.kind,
        label: &row.label,
        nested: row.nested,
        size,
        resident,
        size_per_hour: per_hour(size),
        resident_per_hour: per_hour(resident),
    }
}

/// Bytes of a row on one side.
#[derive(Clone, Copy)]
struct Side {
    size: u64,
    resident: Option<u64>,
}

/// What a snapshot says of a row that the other has. A row that is not there is empty, unless the snapshot has not looked:
/// a heap that was not walked is in one row, one that was walked in several.
fn side(snapshot: &Snapshot, row: &MemoryRow) -> Option<Side> {
    if let Some(row) = find(snapshot, &row.kind) {
        return Some(Side { size: row.size, resident: row.resident });
    }
    let walked = find(snapshot, "glibc_in_use").is_some();
    let looked = match row.kind.as_str() {
        "brk_heap" => false,
        kind if kind.starts_with("glibc_in_use_") => false,
        kind if kind.starts_with("glibc_") => walked,
        _ => !snapshot.memory.is_empty(),
    };
    looked.then_some(Side { size: 0, resident: Some(0) })
}

/// The whole process in memory, as the kernel counts it.
pub(super) fn resident(old: &Snapshot, new: &Snapshot) -> Option<Change> {
    old.process.resident.zip(new.process.resident).map(|(old, new)| Change::new(old, new))
}
