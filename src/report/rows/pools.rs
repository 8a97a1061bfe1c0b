//! One row for each pool.

use super::{Record, Row, SizeRange};
use crate::snapshot::model::Snapshot;
use crate::snapshot::pool::PoolRow;
use std::cmp::Reverse;
use std::io;

/// Which pools to keep.
#[derive(Debug, Clone, Default)]
pub struct PoolFilter {
    /// Text that the owner's key, label or name must contain, in any case of letters.
    pub owner: Option<String>,
    /// State of the owner, in any case of letters.
    pub state: Option<String>,
    /// Where the bytes of the pool must lie.
    pub size: Option<SizeRange>,
}

/// In which order to list pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PoolSort {
    /// Most bytes first.
    #[default]
    Bytes,
    /// Most bytes handed out first.
    Used,
    /// Most blocks first.
    Blocks,
    /// Most references first; pools whose owner counts none come last.
    References,
    /// Lowest address first.
    Address,
}

impl PoolFilter {
    fn keeps(&self, pool: &PoolRow) -> bool {
        let owner = &pool.owner;
        let texts = [Some(owner.kind.as_str()), Some(owner.label.as_str()), owner.name.as_deref()];
        self.owner.as_deref().is_none_or(|part| texts.into_iter().flatten().any(|text| contains(text, part)))
            && self.state.as_deref().is_none_or(|state| owner.state.as_deref().is_some_and(|own| same(own, state)))
            && self.size.is_none_or(|size| size.contains(pool.bytes()))
    }
}

/// True if `text` contains `part`, in any case of letters.
pub(super) fn contains(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(&part.to_lowercase())
}

fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

/// Pools that were chosen.
#[derive(Debug, Clone)]
pub struct PoolList<'a> {
    /// Those to list, in order.
    pub rows: Vec<&'a PoolRow>,
    /// How many the filter keeps, with those that are not listed.
    pub kept: usize,
    /// Bytes of all that the filter keeps.
    pub bytes: u64,
}

/// The pools that the filter keeps, in the order asked for, at most `top` of them.
pub fn pools<'a>(snapshot: &'a Snapshot, filter: &PoolFilter, sort: PoolSort, top: Option<usize>) -> PoolList<'a> {
    let mut rows: Vec<&PoolRow> = snapshot.pools.iter().filter(|pool| filter.keeps(pool)).collect();
    let (kept, bytes) = (rows.len(), sum(&rows));
    match sort {
        PoolSort::Bytes => rows.sort_by_key(|pool| Reverse(pool.bytes())),
        PoolSort::Used => rows.sort_by_key(|pool| Reverse(pool.used)),
        PoolSort::Blocks => rows.sort_by_key(|pool| Reverse(pool.blocks)),
        PoolSort::References => rows.sort_by_key(|pool| Reverse(pool.references)),
        PoolSort::Address => rows.sort_by_key(|pool| pool.address),
    }
    rows.truncate(top.unwrap_or(usize::MAX));
    PoolList { rows, kept, bytes }
}

fn sum(rows: &[&PoolRow]) -> u64 {
    rows.iter().fold(0, |bytes, pool| pool.bytes().saturating_add(bytes))
}

impl Row for PoolRow {
    const FIELDS: &'static [&'static str] = &[
        "address",
        "owner",
        "label",
        "name",
        "path",
        "trust",
        "state",
        "identity",
        "references",
        "block_size",
        "blocks",
        "large",
        "large_freed",
        "bytes",
        "block_bytes",
        "large_bytes",
        "used",
        "unused",
        "lost",
        "second_block",
        "cleanups",
    ];

    /// Cleanups as `handler=count`, with a blank between two.
    fn csv(&self, record: &mut Record<'_>) -> io::Result<()> {
        record.plain(self.address)?;
        record.text(&self.owner.kind)?;
        record.text(&self.owner.label)?;
        record.text(self.owner.name.as_deref().unwrap_or_default())?;
        record.text(&self.path())?;
        record.plain(self.owner.trust.name())?;
        record.text(self.owner.state.as_deref().unwrap_or_default())?;
        record.plain_or_empty(self.identity)?;
        record.plain_or_empty(self.references)?;
        for number in [self.block_size, self.blocks, self.large, self.large_freed, self.bytes(), self.block_bytes] {
            record.plain(number)?;
        }
        for number in [self.large_bytes, self.used, self.unused, self.lost] {
            record.plain(number)?;
        }
        record.plain_or_empty(self.second_block)?;
        let cleanups: Vec<String> = self.cleanups.iter().map(|row| format!("{}={}", row.handler, row.count)).collect();
        record.text(&cleanups.join(" "))
    }
}
