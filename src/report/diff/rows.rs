//! One row for each pool that changed, for other programs.

use crate::diff::{Change, Diff, Fate, Pair};
use crate::report::rows::{Record, Row};
use crate::snapshot::pool::PoolRow;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use std::io;

/// A pool that appeared, is gone, has other bytes, or another kind of owner.
#[derive(Debug, Clone, Copy)]
pub struct PoolChangeRow<'a>(Pair<'a>);

/// A row for each pool of one process that changed; none for different processes.
pub fn pool_rows<'a>(diff: &Diff<'a>) -> impl Iterator<Item = PoolChangeRow<'a>> {
    let moved = diff.pools.as_ref().is_some_and(|pools| !pools.moved.is_empty());
    diff.pairs()
        .filter(move |pair| pair.fate() != Fate::Unchanged || (moved && pair.moved().is_some()))
        .map(PoolChangeRow)
}

impl PoolChangeRow<'_> {
    /// Kinds of the owner: before and now.
    fn kinds(&self) -> (Option<&str>, Option<&str>) {
        match self.0 {
            Pair::Both(old, new) => (Some(&old.owner.kind), Some(&new.owner.kind)),
            Pair::Appeared(new) => (None, Some(&new.owner.kind)),
            Pair::Gone(old) => (Some(&old.owner.kind), None),
        }
    }

    /// Bytes, blocks and large allocations.
    fn numbers(&self) -> [Change; 3] {
        [self.0.change(PoolRow::bytes), self.0.change(|pool| pool.blocks), self.0.change(|pool| pool.large)]
    }
}

impl Serialize for PoolChangeRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (pool, (old_owner, owner)) = (self.0.latest(), self.kinds());
        let [bytes, blocks, large] = self.numbers();
        let mut row = serializer.serialize_struct("PoolChangeRow", Self::FIELDS.len())?;
        row.serialize_field("address", &pool.address)?;
        row.serialize_field("fate", self.0.fate().name())?;
        row.serialize_field("old_owner", &old_owner)?;
        row.serialize_field("owner", &owner)?;
        row.serialize_field("label", &pool.owner.label)?;
        row.serialize_field("name", &pool.owner.name)?;
        row.serialize_field("path", &pool.path())?;
        row.serialize_field("state", &pool.owner.state)?;
        row.serialize_field("identity", &pool.identity.map(|identity| identity.to_string()))?;
        row.serialize_field("references", &pool.references)?;
        row.serialize_field("block_size", &pool.block_size)?;
        row.serialize_field("old_bytes", &bytes.old)?;
        row.serialize_field("bytes", &bytes.new)?;
        row.serialize_field("change", &bytes.by())?;
        row.serialize_field("old_blocks", &blocks.old)?;
        row.serialize_field("blocks", &blocks.new)?;
        row.serialize_field("old_large", &large.old)?;
        row.serialize_field("large", &large.new)?;
        row.end()
    }
}

impl Row for PoolChangeRow<'_> {
    const FIELDS: &'static [&'static str] = &[
        "address",
        "fate",
        "old_owner",
        "owner",
        "label",
        "name",
        "path",
        "state",
        "identity",
        "references",
        "block_size",
        "old_bytes",
        "bytes",
        "change",
        "old_blocks",
        "blocks",
        "old_large",
        "large",
    ];

    fn csv(&self, record: &mut Record<'_>) -> io::Result<()> {
        let (pool, (old_owner, owner)) = (self.0.latest(), self.kinds());
        record.plain(pool.address)?;
        record.plain(self.0.fate().name())?;
        record.text(old_owner.unwrap_or_default())?;
        record.text(owner.unwrap_or_default())?;
        record.text(&pool.owner.label)?;
        record.text(pool.owner.name.as_deref().unwrap_or_default())?;
        record.text(&pool.path())?;
        record.text(pool.owner.state.as_deref().unwrap_or_default())?;
        record.plain_or_empty(pool.identity)?;
        record.plain_or_empty(pool.references)?;
        record.plain(pool.block_size)?;
        let [bytes, blocks, large] = self.numbers();
        record.plain(bytes.old)?;
        record.plain(bytes.new)?;
        record.plain(bytes.by())?;
        for number in [blocks.old, blocks.new, large.old, large.new] {
            record.plain(number)?;
        }
        Ok(())
    }
}
