//! The table `pools`: a row for each pool.

use super::column::{Column, shown, signed, text};
use super::process::ProcessColumns;
use super::table::Record;
use crate::snapshot::model::Snapshot;
use crate::snapshot::pool::PoolRow;
use parquet::data_type::ByteArray;
use std::sync::Arc;

/// A pool and the process that has it.
#[derive(Debug)]
pub struct PoolLine {
    process: Arc<ProcessColumns>,
    pool: PoolRow,
}

impl AsRef<ProcessColumns> for PoolLine {
    fn as_ref(&self) -> &ProcessColumns {
        &self.process
    }
}

impl Record for PoolLine {
    const TABLE: &'static str = "pools";

    fn columns() -> Vec<Column<PoolLine>> {
        let mut columns = ProcessColumns::columns();
        columns.extend(whose());
        columns.extend(sizes());
        columns.push(Column::unique("second_block", |row| row.pool.second_block.and_then(shown)));
        columns.push(Column::text("cleanups", |row| cleanups(&row.pool)));
        columns
    }

    fn rows(snapshot: &Snapshot) -> impl Iterator<Item = PoolLine> {
        let process = ProcessColumns::of(snapshot);
        snapshot.pools.iter().map(move |pool| PoolLine { process: process.clone(), pool: pool.clone() })
    }
}

/// Which pool, and whose.
fn whose() -> [Column<PoolLine>; 14] {
    [
        Column::unique("address", |row: &PoolLine| shown(row.pool.address)).required(),
        Column::text("owner", |row: &PoolLine| text(&row.pool.owner.kind)).required(),
        Column::text("label", |row: &PoolLine| text(&row.pool.owner.label)).required(),
        Column::text("name", |row| row.pool.owner.name.as_deref().and_then(text)),
        Column::unique("path", |row| Some(row.pool.path()).filter(|path| !path.is_empty()).and_then(shown)),
        Column::text("trust", |row: &PoolLine| text(row.pool.owner.trust.name())).required(),
        Column::text("state", |row| row.pool.owner.state.as_deref().and_then(text)),
        Column::text("protocol", |row| row.pool.owner.protocol.as_deref().and_then(text)),
        Column::text("handler", |row| row.pool.owner.handler.as_deref().and_then(text)),
        Column::unique("identity", |row| row.pool.identity.and_then(shown)),
        // Not `references`, as elsewhere: that is a reserved word of SQL.
        Column::long("reference_count", |row| row.pool.references.and_then(signed)),
        Column::long("age_ms", |row| row.pool.age_ms.and_then(signed)),
        // Null unless clients are to be shown.
        Column::text("client", |row| row.pool.client.as_deref().and_then(text)),
        Column::text("uri", |row| row.pool.uri.as_deref().and_then(text)),
    ]
}

/// What it holds.
fn sizes() -> [Column<PoolLine>; 10] {
    [
        Column::long("block_size", |row: &PoolLine| signed(row.pool.block_size)).required(),
        Column::long("blocks", |row: &PoolLine| signed(row.pool.blocks)).required(),
        Column::long("large", |row: &PoolLine| signed(row.pool.large)).required(),
        Column::long("large_freed", |row: &PoolLine| signed(row.pool.large_freed)).required(),
        Column::long("bytes", |row: &PoolLine| signed(row.pool.bytes())).required(),
        Column::long("block_bytes", |row: &PoolLine| signed(row.pool.block_bytes)).required(),
        Column::long("large_bytes", |row: &PoolLine| signed(row.pool.large_bytes)).required(),
        Column::long("used", |row: &PoolLine| signed(row.pool.used)).required(),
        Column::long("unused", |row: &PoolLine| signed(row.pool.unused)).required(),
        Column::long("lost", |row: &PoolLine| signed(row.pool.lost)).required(),
    ]
}

/// Cleanup handlers as `handler=count`, with a blank between two, as in CSV.
fn cleanups(pool: &PoolRow) -> Option<ByteArray> {
    let handlers: Vec<String> = pool.cleanups.iter().map(|row| format!("{}={}", row.handler, row.count)).collect();
    (!handlers.is_empty()).then(|| ByteArray::from(handlers.join(" ").into_bytes()))
}
