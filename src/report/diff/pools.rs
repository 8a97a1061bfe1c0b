//! What became of single pools.

use super::bytes;
use crate::diff::{Diff, Fate, Pair, PoolChanges};
use crate::report::owner_name::{owner_name, pool_mark};
use crate::report::style::{Line, Look, Style};
use crate::report::table::Page;
use crate::report::table::grid::Grid;
use crate::report::text::{flow, keep_end, wrap};
use crate::report::trust::legend;
use crate::snapshot::human::{human_bytes, human_count};
use crate::snapshot::pool::PoolRow;
use std::sync::Arc;

/// In which order to list them: what is new first.
const LISTED: [(Fate, &str); 4] =
    [(Fate::Appeared, "Appeared"), (Fate::Grown, "Grown"), (Fate::Gone, "Gone"), (Fate::Shrunk, "Shrunk")];

pub(super) fn lines(diff: &Diff<'_>, page: &Page) -> Vec<Line> {
    let Some(pools) = &diff.pools else { return Vec::new() };
    if diff.old.pools.is_empty() && diff.new.pools.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![Line::new(Look::Title, "Single pools")];
    lines.extend(counts(pools, page.style));
    for (fate, title) in LISTED {
        lines.extend(listed(diff, fate, title, page));
    }
    let shown = LISTED.iter().flat_map(|(fate, _)| diff.largest(*fate, page.top));
    let owners = shown.map(|pair| Arc::clone(&pair.latest().owner));
    let marked = owners.filter(|owner| !pool_mark(owner).is_empty()).map(|owner| owner.trust);
    if let Some(legend) = legend(marked) {
        let wrapped = wrap(&legend, page.style.width, "  ", "  ");
        lines.extend(wrapped.into_iter().map(|line| Line::new(Look::Detail, line)));
    }
    lines
}

fn counts(pools: &PoolChanges<'_>, style: Style) -> Vec<Line> {
    let count = |fate: Fate, words: &str| format!("{} {words}", human_count(pools.tally(fate).pools));
    let phrases = [
        count(Fate::Appeared, "appeared"),
        count(Fate::Gone, "gone"),
        count(Fate::Grown, "grown"),
        count(Fate::Shrunk, "shrunk"),
        count(Fate::Unchanged, "unchanged"),
    ];
    let lines = flow(&phrases, style.separator(), style.width.saturating_sub(2), "");
    lines.into_iter().map(|line| Line::new(Look::Plain, format!("  {line}"))).collect()
}

fn listed(diff: &Diff<'_>, fate: Fate, title: &str, page: &Page) -> Vec<Line> {
    let (style, pairs) = (page.style, diff.largest(fate, page.top));
    if pairs.is_empty() {
        return Vec::new();
    }
    let head = format!("  {}", title.to_lowercase());
    let heads = [head.as_str(), "bytes", "change", "blocks", "refs", "owner"];
    let mut grid = Grid::new(&heads);
    for pair in &pairs {
        grid.row(figures(pair, style));
    }
    grid.end_rows(style, pairs.iter(), |pair, room| owner_name(pair.latest(), room, style));
    let (head, rows) = grid.render(style);
    let mut lines = vec![Line::new(Look::Title, head)];
    for (pair, row) in pairs.iter().zip(rows) {
        lines.extend(row.into_iter().map(|line| Line::new(Look::Plain, line)));
        lines.extend(place(*pair, style));
    }
    let all = diff.pools.as_ref().map_or(0, |pools| pools.tally(fate).pools);
    let left = all.saturating_sub(pairs.len() as u64);
    if left > 0 {
        lines.push(Line::new(Look::Plain, format!("  and {} more", human_count(left))));
    }
    lines
}

fn figures(pair: &Pair<'_>, style: Style) -> Vec<String> {
    let pool = pair.latest();
    vec![
        format!("  {}", pool.address),
        human_bytes(pair.change(PoolRow::bytes).new),
        bytes(pair.change(PoolRow::bytes).by(), style),
        human_count(pool.blocks),
        pool.references.map_or("-".to_owned(), human_count),
    ]
}

/// Where it hangs. What is gone hangs nowhere any more.
fn place(pair: Pair<'_>, style: Style) -> Option<Line> {
    let path = pair.latest().path();
    let shown = !path.is_empty() && !matches!(pair, Pair::Gone(_));
    let room = style.width.saturating_sub(4);
    shown.then(|| Line::new(Look::Detail, format!("    {}", keep_end(&style.adapt(&path), room, style.ellipsis()))))
}
