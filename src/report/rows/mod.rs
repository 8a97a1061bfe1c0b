//! One row for each pool or chunk, for people (`table`) and for other programs (`ndjson`, `csv`, `json`).
//!
//! Rows are written one by one: a heap can have ten million chunks.

mod chunks;
mod csv;
mod pool_row;
mod pool_table;
mod pools;
mod size_range;

pub use chunks::{ChunkFilter, ChunkLine, ChunkSort, OUTSIDE, chunks, has_chunks_of, write_chunk_table};
pub use csv::Record;
pub use pool_row::ClientRow;
pub use pool_table::write_pool_table;
pub use pools::{PoolFilter, PoolKey, PoolList, PoolSort, owners, pools, states};
pub use size_range::{BadSizeRange, SizeRange, parse_size};

use serde::Serialize;
use std::io::{self, Write};

/// How rows are written for other programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// A JSON object on each line.
    Ndjson,
    /// Comma-separated values with a heading, quoted as RFC 4180 has it.
    Csv,
    /// One JSON array of objects.
    Json,
}

/// What can be written as a row. The names of its serialised fields are [`Row::FIELDS`].
pub trait Row: Serialize {
    /// Names of its fields, in order.
    const FIELDS: &'static [&'static str];

    /// Writes its fields, in order.
    ///
    /// # Errors
    /// Those of the record's output.
    fn csv(&self, record: &mut Record<'_>) -> io::Result<()>;
}

impl<R: Row> Row for &R {
    const FIELDS: &'static [&'static str] = R::FIELDS;

    fn csv(&self, record: &mut Record<'_>) -> io::Result<()> {
        (*self).csv(record)
    }
}

/// Writes all rows.
///
/// # Errors
/// Those of `out`.
pub fn write<R: Row>(rows: impl Iterator<Item = R>, format: Machine, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Machine::Ndjson => write_ndjson(rows, out),
        Machine::Csv => write_csv(rows, out),
        Machine::Json => write_json(rows, out),
    }
}

fn write_ndjson<R: Row>(rows: impl Iterator<Item = R>, out: &mut dyn Write) -> io::Result<()> {
    for row in rows {
        serde_json::to_writer(&mut *out, &row)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn write_csv<R: Row>(rows: impl Iterator<Item = R>, out: &mut dyn Write) -> io::Result<()> {
    let mut heading = Record::new(out);
    for name in R::FIELDS {
        heading.text(name)?;
    }
    heading.end()?;
    for row in rows {
        let mut record = Record::new(out);
        row.csv(&mut record)?;
        record.end()?;
    }
    Ok(())
}

fn write_json<R: Row>(rows: impl Iterator<Item = R>, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b"[")?;
    for (index, row) in rows.enumerate() {
        out.write_all(if index == 0 { b"\n" } else { b",\n" })?;
        serde_json::to_writer(&mut *out, &row)?;
    }
    out.write_all(b"\n]\n")
}
