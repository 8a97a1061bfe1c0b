//! The columns that say which process a row is of, and when it was looked at.

use super::column::{Column, signed, text};
use crate::snapshot::model::Snapshot;
use parquet::data_type::ByteArray;
use std::sync::Arc;

/// What every row of a snapshot has in common.
#[derive(Debug)]
pub struct ProcessColumns {
    host: Option<ByteArray>,
    boot_id: Option<ByteArray>,
    pid: i32,
    start_ticks: Option<i64>,
    parent: i32,
    role: Option<ByteArray>,
    server: Option<ByteArray>,
    source: Option<ByteArray>,
    taken_at: i64,
}

impl ProcessColumns {
    /// Those of a snapshot.
    pub fn of(snapshot: &Snapshot) -> Arc<ProcessColumns> {
        let process = &snapshot.process;
        Arc::new(ProcessColumns {
            host: process.host.as_deref().and_then(text),
            boot_id: process.boot_id.as_deref().and_then(text),
            pid: process.pid,
            start_ticks: process.start_ticks.and_then(signed),
            parent: process.parent,
            role: text(&process.role),
            server: process.server.as_deref().and_then(text),
            source: text(&snapshot.source.kind),
            // Conversion saturates, and makes 0 of what is no number.
            taken_at: (snapshot.taken_at * 1e3).round() as i64,
        })
    }

    /// Their columns in a table whose rows know them.
    pub(super) fn columns<R: AsRef<ProcessColumns>>() -> Vec<Column<R>> {
        vec![
            Column::text("host", |row: &R| row.as_ref().host.clone()),
            Column::text("boot_id", |row: &R| row.as_ref().boot_id.clone()),
            Column::int("pid", |row: &R| Some(row.as_ref().pid)).required(),
            Column::long("start_ticks", |row: &R| row.as_ref().start_ticks),
            Column::int("parent", |row: &R| Some(row.as_ref().parent)).required(),
            Column::text("role", |row: &R| row.as_ref().role.clone()).required(),
            Column::text("server", |row: &R| row.as_ref().server.clone()),
            Column::text("source", |row: &R| row.as_ref().source.clone()).required(),
            Column::time("taken_at", |row: &R| Some(row.as_ref().taken_at)).required(),
        ]
    }
}
