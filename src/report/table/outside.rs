//! What is in use outside pools, by what it is.

use super::Page;
use super::grid::Grid;
use super::percent::share;
use crate::report::style::{Line, Look, Style};
use crate::report::text::{keep_end, keep_start};
use crate::report::trust::short;
use crate::snapshot::human::{counted, group_label, human_bytes, human_count};
use crate::snapshot::model::{ChunkGroup, NOBODY, Snapshot};

/// Outside pools, at least this share of what is in use is worth a table.
const NOTABLE_PERCENT: u64 = 5;
/// So are this many bytes, whatever their share.
const NOTABLE_BYTES: u64 = 16 << 20;
/// Groups in the table, unless another number is asked for.
const MOST: usize = 6;

/// Columns for what a group is.
const NAME: usize = 72;

/// True if it is worth a table of its own.
pub(super) fn is_shown(snapshot: &Snapshot, page: &Page) -> bool {
    let (groups, in_use) = (&snapshot.groups, snapshot.in_use_bytes());
    let bytes = groups.iter().fold(0u64, |sum, group| group.bytes.saturating_add(sum));
    let is_notable = bytes >= NOTABLE_BYTES || bytes as f64 * 100.0 >= in_use as f64 * NOTABLE_PERCENT as f64;
    // What is all one group, or left over, is in the table of owners already.
    let has_names = groups.iter().any(|group| !group.name.is_empty() && !group.owner.starts_with("glibc."));
    has_names && (is_notable || page.top > 0)
}

pub(super) fn lines(snapshot: &Snapshot, page: &Page) -> Vec<Line> {
    if !is_shown(snapshot, page) {
        return Vec::new();
    }
    let (groups, in_use, style) = (&snapshot.groups, snapshot.in_use_bytes(), page.style);
    let most = if page.top > 0 { page.top } else { MOST };
    let (shown, rest) = groups.split_at(most.min(groups.len()));
    let mut grid = Grid::new(&["Outside pools", "chunks", "size", "share", "known by"]);
    let kind = |group: &ChunkGroup| {
        let label = snapshot.owners.iter().find(|owner| owner.owner == group.owner);
        label.map_or(group.owner.clone(), |owner| owner.label.clone())
    };
    for group in shown {
        grid.row(row(&label(group, &kind(group), page), &[group], in_use, known_by(group)));
    }
    if !rest.is_empty() {
        let label = format!("  {}", counted(rest.len() as u64, "other group"));
        grid.row(row(&label, &rest.iter().collect::<Vec<_>>(), in_use, ""));
    }
    let (head, rows) = grid.render(style);
    let body = rows.into_iter().flatten().map(|line| Line::new(Look::Plain, line));
    [Line::new(Look::Title, head)].into_iter().chain(body).collect()
}

fn row(label: &str, groups: &[&ChunkGroup], in_use: u64, known: &str) -> Vec<String> {
    let sum = |number: fn(&ChunkGroup) -> u64| groups.iter().fold(0u64, |sum, group| number(group).saturating_add(sum));
    let bytes = sum(|group| group.bytes);
    vec![
        label.to_owned(),
        human_count(sum(|group| group.chunks)),
        human_bytes(bytes),
        share(bytes, in_use),
        known.to_owned(),
    ]
}

/// What it is; with `--top`, where one of them hangs.
fn label(group: &ChunkGroup, kind: &str, page: &Page) -> String {
    let style: Style = page.style;
    // The heading says that it is outside pools.
    let name = group_label(kind, &group.name);
    let name = style.adapt(name.trim_end_matches(", outside pools").trim_start_matches("outside pools, "));
    let mut label = format!("  {}", keep_start(&name, NAME, style.ellipsis()));
    if page.top > 0 && !group.path.is_empty() {
        let room = style.width / 2;
        label.push_str(&format!("\n    {}", keep_end(&style.adapt(&group.path), room, style.ellipsis())));
    }
    label
}

/// How it is known; nothing for what is left over.
fn known_by(group: &ChunkGroup) -> &'static str {
    if NOBODY.contains(&group.owner.as_str()) { "" } else { short(group.trust) }
}
