//! Pools for people, one line each.

use super::PoolList;
use crate::report::owner_name::{owner_name, pool_mark};
use crate::report::style::Style;
use crate::report::text::{keep_end, keep_start, printable, width};
use crate::report::trust::legend;
use crate::snapshot::human::{counted, human_age, human_bytes, human_count};
use crate::snapshot::pool::PoolRow;
use std::io::{self, Write};

/// Columns for the owner and its name before the path gets any.
const OWNER: usize = 40;
/// A path that has less room is left out.
const SHORTEST_PATH: usize = 16;
/// Columns for what was asked for, where lines are cut.
const URI: usize = 30;

/// A column with figures or other short text.
struct Column {
    head: &'static str,
    to_the_right: bool,
    cell: fn(&PoolRow) -> String,
}

const fn figure(head: &'static str, cell: fn(&PoolRow) -> String) -> Column {
    Column { head, to_the_right: true, cell }
}

/// The columns before the owner. Age and client are there only if any pool has one.
fn columns(list: &PoolList<'_>) -> Vec<Column> {
    let any = |has: fn(&PoolRow) -> bool| list.rows.iter().any(|pool| has(pool));
    let mut columns = vec![
        Column { head: "address", to_the_right: false, cell: |pool| pool.address.to_string() },
        figure("bytes", |pool| human_bytes(pool.bytes())),
        figure("used", |pool| human_bytes(pool.used)),
        figure("blocks", |pool| pool.blocks.to_string()),
        figure("large", |pool| pool.large.to_string()),
        figure("refs", |pool| pool.references.map_or("-".to_owned(), |number| number.to_string())),
    ];
    if any(|pool| pool.age_ms.is_some()) {
        columns.push(figure("age", |pool| pool.age_ms.map_or("-".to_owned(), human_age)));
    }
    if any(|pool| pool.client.is_some()) {
        let cell = |pool: &PoolRow| pool.client.as_deref().unwrap_or("-").to_owned();
        columns.push(Column { head: "client", to_the_right: false, cell });
    }
    columns
}

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
    let table = Table::new(list, style, limit);
    let heads: Vec<String> = table.columns.iter().map(|column| column.head.to_owned()).collect();
    table.write(&heads, "owner", "uri", "path", out)?;
    for pool in &list.rows {
        let cells: Vec<String> = table.columns.iter().map(|column| table.cell(column, pool)).collect();
        table.write(&cells, &table.owner_of(pool), &table.uri_of(pool), &pool.path(), out)?;
    }
    writeln!(out, "\n{}", footer(list))?;
    let marked = list.rows.iter().filter(|pool| !pool_mark(&pool.owner).is_empty());
    match legend(marked.map(|pool| pool.owner.trust)) {
        None => Ok(()),
        Some(legend) => writeln!(out, "{}", table.cut(&legend)),
    }
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

/// Which columns there are, and how wide each is.
struct Table {
    columns: Vec<Column>,
    widths: Vec<usize>,
    /// Columns that an owner may have.
    room: usize,
    owner: usize,
    /// Columns for what was asked for; 0 if no pool says that.
    uri: usize,
    limit: Option<usize>,
    style: Style,
}

impl Table {
    fn new(list: &PoolList<'_>, style: Style, limit: Option<usize>) -> Table {
        let columns = columns(list);
        let widths = columns.iter().map(|column| width(column.head)).collect();
        let mut table = Table { columns, widths, room: usize::MAX, owner: 0, uri: 0, limit, style };
        let cell_width = |column: &Column| list.rows.iter().map(|pool| width(&table.cell(column, pool))).max();
        let widest: Vec<usize> = table.columns.iter().map(|column| cell_width(column).unwrap_or(0)).collect();
        for (known, needed) in table.widths.iter_mut().zip(widest) {
            *known = needed.max(*known);
        }
        if let Some(limit) = limit {
            table.room = owner_room(limit.saturating_sub(table.widths.iter().map(|width| width + 2).sum()));
        }
        let owners = list.rows.iter().map(|pool| width(&table.owner_of(pool)));
        table.owner = owners.chain([width("owner")]).max().unwrap_or(0);
        if list.rows.iter().any(|pool| pool.uri.is_some()) {
            let uris = list.rows.iter().map(|pool| width(&table.uri_of(pool)));
            table.uri = uris.chain([width("uri")]).max().unwrap_or(0);
        }
        table
    }

    /// Clients come from the target's memory as names do.
    fn cell(&self, column: &Column, pool: &PoolRow) -> String {
        printable(&(column.cell)(pool), self.style.unicode)
    }

    fn owner_of(&self, pool: &PoolRow) -> String {
        owner_name(pool, self.room, self.style)
    }

    fn uri_of(&self, pool: &PoolRow) -> String {
        let uri = printable(pool.uri.as_deref().unwrap_or("-"), self.style.unicode);
        if self.limit.is_some() { keep_start(&uri, URI, self.style.ellipsis()) } else { uri }
    }

    fn write(&self, cells: &[String], owner: &str, uri: &str, path: &str, out: &mut dyn Write) -> io::Result<()> {
        let mut line = String::new();
        for ((column, cell), room) in self.columns.iter().zip(cells).zip(&self.widths) {
            let padding = " ".repeat(room.saturating_sub(width(cell)));
            let (before, behind) = if column.to_the_right { (padding.as_str(), "") } else { ("", padding.as_str()) };
            line.push_str(&format!("{before}{cell}{behind}  "));
        }
        let mut add = |text: &str, room: usize| {
            line.push_str(&format!("{text}{}  ", " ".repeat(room.saturating_sub(width(text)))));
        };
        add(owner, self.owner);
        if self.uri > 0 {
            add(uri, self.uri);
        }
        let path = printable(path, self.style.unicode);
        let line = match self.limit.map(|limit| limit.saturating_sub(width(&line))) {
            Some(room) if room < SHORTEST_PATH => line,
            Some(room) => line + &keep_end(&path, room, self.style.ellipsis()),
            None => line + &path,
        };
        writeln!(out, "{}", self.cut(line.trim_end()))
    }

    /// A terminal may be too narrow even for the figures.
    fn cut(&self, line: &str) -> String {
        match self.limit {
            Some(limit) => keep_start(line, limit, self.style.ellipsis()),
            None => line.to_owned(),
        }
    }
}
