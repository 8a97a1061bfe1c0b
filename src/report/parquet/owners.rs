//! The table `owners`: a row for each owner and size bucket.

use super::column::{Column, signed, text};
use super::process::ProcessColumns;
use super::table::Record;
use crate::snapshot::model::Snapshot;
use crate::snapshot::sizes::SizeBucket;
use parquet::data_type::ByteArray;
use std::sync::Arc;

/// The chunks in use of one owner whose sizes lie in one bucket.
#[derive(Debug)]
pub struct OwnerRow {
    process: Arc<ProcessColumns>,
    owner: Option<ByteArray>,
    label: Option<ByteArray>,
    bucket: SizeBucket,
}

impl AsRef<ProcessColumns> for OwnerRow {
    fn as_ref(&self) -> &ProcessColumns {
        &self.process
    }
}

impl Record for OwnerRow {
    const TABLE: &'static str = "owners";

    fn columns() -> Vec<Column<OwnerRow>> {
        let mut columns = ProcessColumns::columns();
        columns.extend([
            Column::text("owner", |row: &OwnerRow| row.owner.clone()).required(),
            Column::text("label", |row: &OwnerRow| row.label.clone()).required(),
            Column::long("bucket_from", |row: &OwnerRow| signed(row.bucket.from)).required(),
            Column::long("bucket_to", |row: &OwnerRow| signed(row.bucket.to)).required(),
            Column::long("chunks", |row: &OwnerRow| signed(row.bucket.chunks)).required(),
            Column::long("bytes", |row: &OwnerRow| signed(row.bucket.bytes)).required(),
        ]);
        columns
    }

    fn rows(snapshot: &Snapshot) -> impl Iterator<Item = OwnerRow> {
        let process = ProcessColumns::of(snapshot);
        snapshot.owners.iter().flat_map(move |row| {
            let (process, owner, label) = (process.clone(), text(&row.owner), text(&row.label));
            row.sizes.buckets.iter().map(move |bucket| OwnerRow {
                process: process.clone(),
                owner: owner.clone(),
                label: label.clone(),
                bucket: *bucket,
            })
        })
    }
}
