//! Tables for DuckDB and whatever else reads Parquet (docs/fleet.md): one row for each owner and size
//! bucket, one for each pool, and one for each group of chunks outside pools, of many snapshots together.
//!
//! Each row says which process it is of: `host`, `boot_id`, `pid` and `start_ticks` name it for good. Sizes and counts are signed
//! 64-bit integers, because queries subtract them and SQL's unsigned integers fail below zero. Addresses are hex strings, as in
//! JSON and CSV. What is not known is null.

mod column;
mod groups;
mod owners;
mod pools;
mod process;
mod table;

use crate::snapshot::model::Snapshot;
use std::borrow::Borrow;
use std::io::{self, Write};

pub use groups::GroupRow;
pub use owners::OwnerRow;
pub use pools::PoolLine;
pub use process::ProcessColumns;
pub use table::{Record, Table};

/// Writes one row for each owner and size bucket that holds anything.
///
/// # Errors
/// Those of `out`.
pub fn write_owners<S: Borrow<Snapshot>>(
    snapshots: impl IntoIterator<Item = S>,
    out: impl Write + Send,
) -> io::Result<()> {
    write::<OwnerRow, S>(snapshots, out)
}

/// Writes one row for each pool.
///
/// # Errors
/// Those of `out`.
pub fn write_pools<S: Borrow<Snapshot>>(
    snapshots: impl IntoIterator<Item = S>,
    out: impl Write + Send,
) -> io::Result<()> {
    write::<PoolLine, S>(snapshots, out)
}

/// Writes one row for each group of chunks outside pools.
///
/// # Errors
/// Those of `out`.
pub fn write_groups<S: Borrow<Snapshot>>(
    snapshots: impl IntoIterator<Item = S>,
    out: impl Write + Send,
) -> io::Result<()> {
    write::<GroupRow, S>(snapshots, out)
}

fn write<R: Record, S: Borrow<Snapshot>>(
    snapshots: impl IntoIterator<Item = S>,
    out: impl Write + Send,
) -> io::Result<()> {
    let mut table = Table::<R, _>::create(out)?;
    snapshots.into_iter().try_for_each(|snapshot| table.add(snapshot.borrow()))?;
    table.finish()
}
