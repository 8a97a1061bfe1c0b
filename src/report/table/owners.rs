//! Which pools own what is in use, and what no pool owns.

use super::grid::Grid;
use super::parts::Parts;
use super::percent::share;
use super::sizes::bucket_label;
use super::{Page, found, outside};
use crate::report::scope::Scope;
use crate::report::style::{Line, Look, Style};
use crate::report::text;
use crate::report::trust::legend;
use crate::snapshot::human::{counted, human_bytes, human_count};
use crate::snapshot::model::{OwnerSummary, Snapshot};

/// Owners beyond these are summed up in one row; the first screen is for what matters.
const MOST_ROWS: usize = 14;

/// What is outside pools and less than one part in so many has no row of its own.
const LEAST_PART: u64 = 1000;

pub(super) fn lines(snapshot: &Snapshot, page: &Page) -> Vec<Line> {
    let style = page.style;
    if snapshot.owners.is_empty() {
        return Vec::new();
    }
    let total = snapshot.in_use_bytes();
    let scope = Scope::of(snapshot);
    let mut grid = match scope {
        Scope::NotNginx => Grid::new(&["In use", "chunks", "size", "share"]),
        _ => Grid::new(&[title(snapshot), "pools", "chunks", "size", "share"]),
    };
    let parts = Parts::of(snapshot);
    let with_groups = !outside::is_shown(snapshot, page);
    let shown = shown(&snapshot.owners, total);
    for owner in &shown {
        grid.row(row(&label(owner, &parts, with_groups, (total, style)), &[*owner], total, scope));
    }
    let rest: Vec<&OwnerSummary> =
        snapshot.owners.iter().filter(|owner| !shown.iter().any(|row| std::ptr::eq(*row, *owner))).collect();
    if !rest.is_empty() {
        let label = format!("  {}", counted(rest.len() as u64, "other owner"));
        grid.row(row(&label, &rest, total, scope));
    }
    grid.row(row("  all in use", &snapshot.owners.iter().collect::<Vec<_>>(), total, scope));
    let (head, rows) = grid.render(style);
    let mut lines = vec![Line::new(Look::Title, head)];
    lines.extend(rows.into_iter().flatten().map(|line| Line::new(Look::Plain, line)));
    let legend = legend(shown.iter().map(|owner| parts.trust(&owner.owner)));
    let sentences = legend.into_iter().chain(found::sentences(snapshot, &parts, scope));
    let wrapped = sentences.flat_map(|sentence| text::wrap(&style.adapt(&sentence), style.width, "  ", "  "));
    lines.extend(wrapped.map(|line| Line::new(Look::Detail, line)));
    lines
}

fn title(snapshot: &Snapshot) -> &'static str {
    match snapshot.owners.iter().any(|owner| owner.pools > 0) {
        true => "Pools by owner",
        false => "In use (no pools found)",
    }
}

/// The largest owners that are pools, then the largest of what is outside pools. Of what is outside, a process has a dozen
/// kinds with some kilobytes each: these are left to the last row, if that saves any.
fn shown(owners: &[OwnerSummary], total: u64) -> Vec<&OwnerSummary> {
    let mut largest: Vec<&OwnerSummary> = owners.iter().collect();
    largest.sort_by_key(|owner| std::cmp::Reverse(owner.bytes));
    let is_small = |owner: &OwnerSummary| owner.pools == 0 && owner.bytes < total / LEAST_PART;
    if owners.iter().filter(|owner| is_small(owner)).count() > 1 {
        largest.retain(|owner| !is_small(owner));
    }
    let keep = if largest.len() > MOST_ROWS { MOST_ROWS - 1 } else { MOST_ROWS };
    largest.truncate(keep);
    largest.sort_by_key(|owner| owner.pools == 0);
    largest
}

/// The sums of these owners.
fn row(label: &str, owners: &[&OwnerSummary], total: u64, scope: Scope) -> Vec<String> {
    let sum = |field: fn(&OwnerSummary) -> u64| owners.iter().map(|owner| field(owner)).sum::<u64>();
    let (pools, bytes) = (sum(|owner| owner.pools), sum(|owner| owner.bytes));
    let mut cells = vec![label.to_owned()];
    if scope != Scope::NotNginx {
        cells.push(if pools == 0 { String::new() } else { human_count(pools) });
    }
    cells.extend([human_count(sum(|owner| owner.chunks)), human_bytes(bytes), share(bytes, total)]);
    cells
}

/// What it is; below that, whose pools they are and which chunks they mostly consist of. Of a small owner that is one line.
fn label(owner: &OwnerSummary, parts: &Parts<'_>, with_groups: bool, (total, style): (u64, Style)) -> String {
    let mut label = format!("  {}{}", owner.label, parts.mark(&owner.owner));
    let most = match owner.bytes >= total / 100 {
        true => usize::MAX,
        false => usize::from(owner.pools > 0),
    };
    let details = parts.lines(owner, with_groups, style).into_iter().take(most).chain(main_bucket(owner, total, style));
    for detail in details {
        label.push_str("\n    ");
        label.push_str(&detail);
    }
    label
}

/// The size class that makes up most of an owner that matters.
fn main_bucket(owner: &OwnerSummary, total: u64, style: Style) -> Option<String> {
    let bucket = owner.sizes.buckets.iter().max_by_key(|bucket| bucket.bytes)?;
    let matters = owner.pools > 0 && owner.bytes >= total / 20 && bucket.bytes > owner.bytes / 2;
    matters.then(|| {
        let size = bucket_label(bucket.from, style);
        format!("mainly {} of {size}: {}", counted(bucket.chunks, "chunk"), human_bytes(bucket.bytes))
    })
}
