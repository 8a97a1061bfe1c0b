//! One row for each pool.

use super::{Record, Row, SizeRange};
use crate::report::style::Style;
use crate::report::text::{keep_end, keep_start, printable, width};
use crate::snapshot::human::{counted, human_bytes};
use crate::snapshot::model::{PoolRow, Snapshot};
use std::cmp::Reverse;
use std::io::{self, Write};

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
        let texts = [Some(pool.owner.as_str()), Some(pool.label.as_str()), pool.name.as_deref()];
        self.owner.as_deref().is_none_or(|part| texts.into_iter().flatten().any(|text| contains(text, part)))
            && self.state.as_deref().is_none_or(|state| pool.state.as_deref().is_some_and(|own| same(own, state)))
            && self.size.is_none_or(|size| size.contains(pool.bytes))
    }
}

/// True if `text` contains `part`, in any case of letters.
pub(super) fn contains(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(&part.to_lowercase())
}

fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

/// The pools that the filter keeps, in the order asked for, at most `top` of them.
pub fn pools<'a>(snapshot: &'a Snapshot, filter: &PoolFilter, sort: PoolSort, top: Option<usize>) -> Vec<&'a PoolRow> {
    let mut rows: Vec<&PoolRow> = snapshot.pools.iter().filter(|pool| filter.keeps(pool)).collect();
    match sort {
        PoolSort::Bytes => rows.sort_by_key(|pool| Reverse(pool.bytes)),
        PoolSort::Used => rows.sort_by_key(|pool| Reverse(pool.used)),
        PoolSort::Blocks => rows.sort_by_key(|pool| Reverse(pool.blocks)),
        PoolSort::References => rows.sort_by_key(|pool| Reverse(pool.references)),
        PoolSort::Address => rows.sort_by_key(|pool| pool.address),
    }
    rows.truncate(top.unwrap_or(usize::MAX));
    rows
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
        "cleanups",
    ];

    /// Cleanups as `handler=count`, with a blank between two.
    fn csv(&self, record: &mut Record<'_>) -> io::Result<()> {
        record.plain(self.address)?;
        record.text(&self.owner)?;
        record.text(&self.label)?;
        record.text(self.name.as_deref().unwrap_or_default())?;
        record.text(&self.path)?;
        record.plain(self.trust.name())?;
        record.text(self.state.as_deref().unwrap_or_default())?;
        record.plain_or_empty(self.references)?;
        for number in [self.block_size, self.blocks, self.large, self.large_freed, self.bytes, self.block_bytes] {
            record.plain(number)?;
        }
        for number in [self.large_bytes, self.used, self.unused, self.lost] {
            record.plain(number)?;
        }
        let cleanups: Vec<String> = self.cleanups.iter().map(|row| format!("{}={}", row.handler, row.count)).collect();
        record.text(&cleanups.join(" "))
    }
}

/// Most columns for the owner and its name.
const OWNER: usize = 40;
/// A path that has less room is left out.
const SHORTEST_PATH: usize = 16;

/// Writes pools for people, one line each. With `limit`, lines are at most that wide, and paths are shortened to fit.
///
/// # Errors
/// Those of `out`.
pub fn write_pool_table(rows: &[&PoolRow], style: Style, limit: Option<usize>, out: &mut dyn Write) -> io::Result<()> {
    let heads = ["address", "bytes", "used", "blocks", "large", "refs", "owner"].map(str::to_owned);
    let mut widths = heads.each_ref().map(|head| width(head));
    for pool in rows {
        for (column, cell) in widths.iter_mut().zip(cells(pool, style)) {
            *column = width(&cell).max(*column);
        }
    }
    let room = limit.map(|limit| limit.saturating_sub(widths.iter().map(|width| width + 2).sum()));
    write_line(&heads, "path", &widths, room, style, out)?;
    for pool in rows {
        write_line(&cells(pool, style), &pool.path, &widths, room, style, out)?;
    }
    let bytes = rows.iter().map(|pool| pool.bytes).sum();
    writeln!(out, "\n{}, {}", counted(rows.len() as u64, "pool"), human_bytes(bytes))
}

fn cells(pool: &PoolRow, style: Style) -> [String; 7] {
    let name = pool.name.as_ref().map(|name| format!(" \"{name}\"")).unwrap_or_default();
    [
        pool.address.to_string(),
        human_bytes(pool.bytes),
        human_bytes(pool.used),
        pool.blocks.to_string(),
        pool.large.to_string(),
        pool.references.map_or("-".to_owned(), |number| number.to_string()),
        keep_start(&printable(&format!("{}{name}", pool.owner), style.unicode), OWNER, style.ellipsis()),
    ]
}

fn write_line(
    cells: &[String; 7],
    path: &str,
    widths: &[usize; 7],
    room: Option<usize>,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    let [address, bytes, used, blocks, large, refs, owner] = cells;
    let [a, b, u, k, l, r, o] = *widths;
    let path = printable(path, style.unicode);
    let path = match room {
        Some(room) if room < SHORTEST_PATH => String::new(),
        Some(room) => keep_end(&path, room, style.ellipsis()),
        None => path,
    };
    let padding = " ".repeat(o.saturating_sub(width(owner)));
    let line = format!(
        "{address:<a$}  {bytes:>b$}  {used:>u$}  {blocks:>k$}  {large:>l$}  {refs:>r$}  {owner}{padding}  {path}"
    );
    writeln!(out, "{}", line.trim_end())
}
