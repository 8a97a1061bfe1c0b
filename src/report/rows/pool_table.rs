//! Pools for people, one line each.

use super::PoolList;
use crate::report::owner_name::owner_name;
use crate::report::style::Style;
use crate::report::text::{keep_end, keep_start, printable, width};
use crate::snapshot::human::{counted, human_bytes, human_count};
use crate::snapshot::pool::PoolRow;
use std::io::{self, Write};

/// Columns for the owner and its name before the path gets any.
const OWNER: usize = 40;
/// A path that has less room is left out.
const SHORTEST_PATH: usize = 16;

/// Writes pools for people, one line each. With `limit`, lines are at most that wide: owners and paths are shortened to
/// fit.
///
/// # Errors
/// Those of `out`.
pub fn write_pool_table(
    list: &PoolList<'_>,
    style: Style,
    limit: Option<usize>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let heads = ["address", "bytes", "used", "blocks", "large", "refs"].map(str::to_owned);
    let mut widths = heads.each_ref().map(|head| width(head));
    for pool in &list.rows {
        for (column, cell) in widths.iter_mut().zip(figures(pool)) {
            *column = width(&cell).max(*column);
        }
    }
    let room = limit.map(|limit| limit.saturating_sub(widths.iter().map(|width| width + 2).sum()));
    let room = room.map_or(usize::MAX, owner_room);
    let owner = |pool: &&PoolRow| owner_name(pool, room, style);
    let owner_width = list.rows.iter().map(|pool| width(&owner(pool))).chain([width("owner")]).max().unwrap_or(0);
    let columns = Columns { widths, owner: owner_width, limit, style };
    columns.write(&heads, "owner", "path", out)?;
    for pool in &list.rows {
        columns.write(&figures(pool), &owner(pool), &pool.path(), out)?;
    }
    writeln!(out, "\n{}", footer(list))
}

/// How many of these columns the owner can have: all of them, if the path could not use the rest.
fn owner_room(room: usize) -> usize {
    let owner = OWNER.max(room / 2);
    if room < owner + 2 + SHORTEST_PATH { room } else { owner }
}

/// `3 of 1,201 pools, 2.98 MiB of 1.11 GiB`; without the rest if all are listed.
fn footer(list: &PoolList<'_>) -> String {
    let kept = counted(list.kept as u64, "pool");
    let all = human_bytes(list.bytes);
    match list.rows.len() {
        shown if shown < list.kept => {
            let bytes = list.rows.iter().fold(0u64, |bytes, pool| pool.bytes().saturating_add(bytes));
            format!("{} of {kept}, {} of {all}", human_count(shown as u64), human_bytes(bytes))
        }
        _ => format!("{kept}, {all}"),
    }
}

fn figures(pool: &PoolRow) -> [String; 6] {
    [
        pool.address.to_string(),
        human_bytes(pool.bytes()),
        human_bytes(pool.used),
        pool.blocks.to_string(),
        pool.large.to_string(),
        pool.references.map_or("-".to_owned(), |number| number.to_string()),
    ]
}

/// How wide each column is.
struct Columns {
    widths: [usize; 6],
    owner: usize,
    limit: Option<usize>,
    style: Style,
}

impl Columns {
    fn write(&self, figures: &[String; 6], owner: &str, path: &str, out: &mut dyn Write) -> io::Result<()> {
        let [address, bytes, used, blocks, large, refs] = figures;
        let [a, b, u, k, l, r] = self.widths;
        let padding = " ".repeat(self.owner.saturating_sub(width(owner)));
        let line = format!(
            "{address:<a$}  {bytes:>b$}  {used:>u$}  {blocks:>k$}  {large:>l$}  {refs:>r$}  {owner}{padding}  "
        );
        let path = printable(path, self.style.unicode);
        let line = match self.limit.map(|limit| limit.saturating_sub(width(&line))) {
            Some(room) if room < SHORTEST_PATH => line,
            Some(room) => line + &keep_end(&path, room, self.style.ellipsis()),
            None => line + &path,
        };
        let line = line.trim_end();
        match self.limit {
            // A terminal too narrow for the figures.
            Some(limit) => writeln!(out, "{}", keep_start(line, limit, self.style.ellipsis())),
            None => writeln!(out, "{line}"),
        }
    }
}
