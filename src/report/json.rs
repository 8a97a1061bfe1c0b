//! Everything that a snapshot holds, as one JSON document on one line (docs/snapshot-schema.md).
//!
//! Several snapshots written one after the other are newline-delimited JSON.

use crate::snapshot::model::Snapshot;
use serde::Serialize;
use std::io::{self, Write};

/// Writes the document and a newline.
///
/// # Errors
/// Those of `out`.
pub fn write(snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
    write_line(snapshot, out)
}

/// Writes anything that is published as JSON, on one line.
///
/// # Errors
/// Those of `out`.
pub fn write_line<T: Serialize>(value: &T, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}
