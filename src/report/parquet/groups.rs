//! The table `groups`: a row for each group of chunks in use outside pools.

use super::column::{Column, shown, signed, text};
use super::process::ProcessColumns;
use super::table::Record;
use crate::snapshot::model::{ChunkGroup, HexAddr, Snapshot};
use parquet::data_type::ByteArray;
use std::sync::Arc;

/// A group of chunks and the process that has it.
#[derive(Debug)]
pub struct GroupRow {
    process: Arc<ProcessColumns>,
    label: Option<ByteArray>,
    group: ChunkGroup,
}

impl AsRef<ProcessColumns> for GroupRow {
    fn as_ref(&self) -> &ProcessColumns {
        &self.process
    }
}

impl Record for GroupRow {
    const TABLE: &'static str = "groups";

    fn columns() -> Vec<Column<GroupRow>> {
        let mut columns = ProcessColumns::columns();
        columns.extend([
            Column::text("owner", |row: &GroupRow| text(&row.group.owner)).required(),
            Column::text("label", |row: &GroupRow| row.label.clone()),
            Column::text("name", |row| text_of(&row.group.name)),
            Column::text("trust", |row: &GroupRow| text(row.group.trust.name())).required(),
            Column::unique("path", |row| text_of(&row.group.path)),
            Column::long("chunks", |row: &GroupRow| signed(row.group.chunks)).required(),
            Column::long("bytes", |row: &GroupRow| signed(row.group.bytes)).required(),
            Column::long("smallest", |row| known(row.group.smallest).and_then(signed)),
            Column::long("largest", |row| known(row.group.largest).and_then(signed)),
            Column::unique("example", |row| known(row.group.example.0).and_then(|address| shown(HexAddr(address)))),
        ]);
        columns
    }

    fn rows(snapshot: &Snapshot) -> impl Iterator<Item = GroupRow> {
        let process = ProcessColumns::of(snapshot);
        snapshot.groups.iter().map(move |group| {
            let owner = snapshot.owners.iter().find(|owner| owner.owner == group.owner);
            let label = owner.and_then(|owner| text(&owner.label));
            GroupRow { process: process.clone(), label, group: group.clone() }
        })
    }
}

/// Text that is empty where it is not known.
fn text_of(value: &str) -> Option<ByteArray> {
    if value.is_empty() { None } else { text(value) }
}

/// A number that is 0 where it is not known.
fn known(value: u64) -> Option<u64> {
    (value != 0).then_some(value)
}
