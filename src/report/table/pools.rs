//! The largest single pools.

use super::Page;
use super::grid::Grid;
use crate::report::owner_name::owner_name;
use crate::report::scope::Scope;
use crate::report::style::{Line, Look};
use crate::report::text::keep_end;
use crate::snapshot::human::{human_bytes, human_count};
use crate::snapshot::model::Snapshot;
use crate::snapshot::pool::PoolRow;

pub(super) fn lines(snapshot: &Snapshot, page: &Page) -> Vec<Line> {
    let pools = &snapshot.pools;
    if page.top == 0 || pools.is_empty() {
        return Vec::new();
    }
    let style = page.style;
    let title = match pools.len() > page.top {
        true => format!("Largest pools ({} of {})", page.top, human_count(pools.len() as u64)),
        false => format!("Largest pools (all {})", human_count(pools.len() as u64)),
    };
    let heads = ["  address", "bytes", "used", "blocks", "large", "refs", "owner"];
    let mut grid = Grid::new(&heads);
    let shown = || pools.iter().take(page.top);
    for pool in shown() {
        grid.row(figures(pool));
    }
    grid.end_rows(style, shown(), |pool, room| owner_name(pool, room, style));
    let (head, rows) = grid.render(style);
    let mut lines = vec![Line::new(Look::Title, title), Line::new(Look::Title, head)];
    for (pool, row) in shown().zip(rows) {
        lines.extend(row.into_iter().map(|line| Line::new(Look::Plain, line)));
        let path = pool.path();
        let place = match (path.is_empty(), Scope::of(snapshot)) {
            (false, _) => keep_end(&style.adapt(&path), style.width.saturating_sub(4), style.ellipsis()),
            (true, Scope::Owners) => "no known root leads here; it has the signature of a pool".to_owned(),
            (true, _) => "it has the signature of a pool; owners need debug info".to_owned(),
        };
        lines.push(Line::new(Look::Detail, format!("    {place}")));
    }
    lines
}

/// All cells but that of the owner, which gets the room that these leave.
fn figures(pool: &PoolRow) -> Vec<String> {
    vec![
        format!("  {}", pool.address),
        human_bytes(pool.bytes()),
        human_bytes(pool.used),
        human_count(pool.blocks),
        human_count(pool.large),
        pool.references.map_or("-".to_owned(), human_count),
    ]
}
