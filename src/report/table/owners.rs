//! Which pools own what is in use, and what no pool owns.

use super::grid::Grid;
use super::percent::share;
use super::sizes::bucket_label;
use crate::report::scope::Scope;
use crate::report::style::{Line, Look, Style};
use crate::report::text;
use crate::snapshot::human::{counted, human_bytes, human_count};
use crate::snapshot::model::{OwnerSummary, PoolCheck, Snapshot};

/// Owners beyond these are summed up in one row; the first screen is for what matters.
const MOST_ROWS: usize = 14;
/// Names of one owner beyond these are counted only.
const MOST_NAMES: usize = 3;

pub(super) fn lines(snapshot: &Snapshot, style: Style) -> Vec<Line> {
    if snapshot.owners.is_empty() {
        return Vec::new();
    }
    let total = snapshot.in_use_bytes();
    let scope = Scope::of(snapshot);
    let mut grid = match scope {
        Scope::NotNginx => Grid::new(&["In use", "chunks", "size", "share"]),
        _ => Grid::new(&[title(snapshot), "pools", "chunks", "size", "share"]),
    };
    let shown = shown(&snapshot.owners);
    for owner in &shown {
        grid.row(row(&label(owner, total, style), &[*owner], total, scope));
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
    lines.extend(check(&snapshot.pool_check, scope, style));
    lines
}

fn title(snapshot: &Snapshot) -> &'static str {
    match snapshot.owners.iter().any(|owner| owner.pools > 0) {
        true => "Pools by owner",
        false => "In use (no pools found)",
    }
}

/// The largest owners that are pools, then the largest of what is outside pools.
fn shown(owners: &[OwnerSummary]) -> Vec<&OwnerSummary> {
    let mut largest: Vec<&OwnerSummary> = owners.iter().collect();
    largest.sort_by_key(|owner| std::cmp::Reverse(owner.bytes));
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

/// What it is; below that, whose pools they are and which chunks they mostly consist of.
fn label(owner: &OwnerSummary, total: u64, style: Style) -> String {
    let mut label = format!("  {}", owner.label);
    for detail in [names(owner, style), main_bucket(owner, total, style)].into_iter().flatten() {
        label.push_str("\n    ");
        label.push_str(&detail);
    }
    label
}

/// `named "svc"`, or the most frequent names with how many pools each has.
fn names(owner: &OwnerSummary, style: Style) -> Option<String> {
    let quoted =
        |name: &str| format!("\"{}\"", text::keep_start(&text::printable(name, style.unicode), 40, style.ellipsis()));
    match owner.names.as_slice() {
        [] => None,
        [(name, pools)] if *pools == owner.pools => Some(format!("named {}", quoted(name))),
        names => {
            let listed = names
                .iter()
                .take(MOST_NAMES)
                .map(|(name, pools)| format!("{} ({})", quoted(name), human_count(*pools)));
            let listed = listed.collect::<Vec<_>>().join(", ");
            let left = names.len().saturating_sub(MOST_NAMES) as u64;
            let more = if left > 0 { format!(" and {}", counted(left, "other name")) } else { String::new() };
            Some(format!("named {listed}{more}"))
        }
    }
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

/// Whether the two ways to find pools agree.
fn check(check: &PoolCheck, scope: Scope, style: Style) -> Vec<Line> {
    if check.by_signature == 0 && check.by_name == 0 {
        return Vec::new();
    }
    let agree = check.by_name == check.both && check.by_signature == check.both;
    let sentence = match (scope, agree) {
        (Scope::PoolsOnly, _) => {
            format!(
                "  {} found by signature; without debug info there are no names",
                counted(check.by_signature, "pool")
            )
        }
        (_, true) => format!("  {}: each found both by name and by signature", counted(check.both, "pool")),
        (_, false) => format!(
            "  {} found by name, {} by signature, {} both ways",
            counted(check.by_name, "pool"),
            human_count(check.by_signature),
            human_count(check.both)
        ),
    };
    let lines = text::wrap(&sentence, style.width, "  ", "  ");
    lines.into_iter().map(|line| Line::new(Look::Detail, line)).collect()
}
