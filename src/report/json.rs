//! Everything that a snapshot holds, as one JSON document on one line (docs/snapshot-schema.md).
//!
//! Several snapshots written one after the other are newline-delimited JSON.

use crate::snapshot::model::Snapshot;
use std::io::{self, Write};

/// Writes the document and a newline.
///
/// # Errors
/// Those of `out`.
pub fn write(snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, snapshot)?;
    out.write_all(b"\n")
}
