//! What is in use by owner, before and now: those that changed, most growth first.

use super::{bytes, count, grid_lines, rate};
use crate::diff::words::{signed_bytes, signed_counted};
use crate::diff::{Change, Diff, GroupChange, NameChange, OwnerChange};
use crate::report::style::{Line, Look, Style};
use crate::report::table::grid::Grid;
use crate::report::table::percent::share;
use crate::report::text::{keep_start, printable, wrap};
use crate::snapshot::human::{counted, human_bytes, human_count, name_in_text};

/// Owners beyond these are summed up in one row.
const MOST_ROWS: usize = 14;
/// Names of one owner beyond these are counted only.
const MOST_NAMES: usize = 3;
/// From this width on there is room for chunks and rates.
const WIDE: usize = 100;

pub(super) fn lines(diff: &Diff<'_>, style: Style) -> Vec<Line> {
    if diff.owners.is_empty() {
        return Vec::new();
    }
    let table = Table {
        sides: super::sides(diff),
        rates: diff.interval.foretells(),
        wide: style.width >= WIDE,
        growth: growth(diff),
        style,
    };
    let (changed, unchanged): (Vec<_>, Vec<_>) = diff.owners.iter().partition(|owner| has_changed(owner));
    let title = if changed.iter().chain(&unchanged).any(|owner| owner.pools != Change::default()) {
        "Pools by owner"
    } else {
        "In use"
    };
    if changed.is_empty() {
        let line = format!("  {} as before", counted(unchanged.len() as u64, "owner"));
        return vec![Line::new(Look::Title, title), Line::new(Look::Plain, line)];
    }
    let mut grid = Grid::new(&table.heads(title));
    let (shown, rest) = split(&changed);
    for owner in &shown {
        grid.row(table.row(&label(owner, &diff.groups, style), &[owner]));
    }
    if !rest.is_empty() {
        grid.row(table.row(&format!("  {}", counted(rest.len() as u64, "other owner")), &rest));
    }
    if !unchanged.is_empty() {
        grid.row(table.row(&format!("  {} as before", counted(unchanged.len() as u64, "owner")), &unchanged));
    }
    let mut all = table.row("  all in use", &diff.owners.iter().collect::<Vec<_>>());
    let shrank = shrinkage(diff);
    // The sum is what is left of the growth after what others shrank by: it is no share of it.
    if let Some(share) = all.last_mut().filter(|_| shrank > 0) {
        share.clear();
    }
    grid.row(all);
    let mut lines = grid_lines(grid.render(style));
    lines.extend(base(&table, shrank, diff).into_iter().map(|line| Line::new(Look::Detail, line)));
    lines
}

/// What the shares are of, if that is not the change of the sum.
fn base(table: &Table, shrank: u64, diff: &Diff<'_>) -> Vec<String> {
    if shrank == 0 || table.growth == 0 {
        return Vec::new();
    }
    let (grown, shrank, style) = (human_bytes(table.growth), human_bytes(shrank), table.style);
    let sentence = match diff.related.relation.is_same_process() {
        true => format!("of growth: of the {grown} that owners grew by; others shrank by {shrank}"),
        false => format!("of growth: of the {grown} that owners have more; others have {shrank} less"),
    };
    wrap(&style.adapt(&sentence), style.width, "  ", "    ")
}

/// Bytes by which owners shrank, without those that grew.
fn shrinkage(diff: &Diff<'_>) -> u64 {
    let shrank = |owner: &OwnerChange<'_>| owner.bytes.old.saturating_sub(owner.bytes.new);
    diff.owners.iter().fold(0, |sum: u64, owner| sum.saturating_add(shrank(owner)))
}

/// Those that grew most and those that shrank most; the rest.
fn split<'a, 'b>(changed: &[&'b OwnerChange<'a>]) -> (Vec<&'b OwnerChange<'a>>, Vec<&'b OwnerChange<'a>>) {
    if changed.len() <= MOST_ROWS {
        return (changed.to_vec(), Vec::new());
    }
    let mut by_size: Vec<&OwnerChange<'_>> = changed.to_vec();
    by_size.sort_by_key(|owner| std::cmp::Reverse(owner.bytes.by().unsigned_abs()));
    let rest = by_size.split_off(MOST_ROWS - 1);
    by_size.sort_by_key(|owner| std::cmp::Reverse(owner.bytes.by()));
    (by_size, rest)
}

/// Bytes by which owners grew, without those that shrank.
pub(super) fn growth(diff: &Diff<'_>) -> u64 {
    diff.owners.iter().fold(0, |sum: u64, owner| sum.saturating_add(owner.bytes.growth()))
}

fn has_changed(owner: &OwnerChange<'_>) -> bool {
    let traffic = owner.traffic.unwrap_or_default();
    let numbers = [owner.pools, owner.chunks, owner.bytes, owner.used];
    numbers.iter().any(|change| change.by() != 0) || traffic.appeared + traffic.gone > 0
}

/// Which columns there are.
struct Table {
    /// What the older and the newer side are called.
    sides: (&'static str, &'static str),
    /// Whether rates mean anything.
    rates: bool,
    wide: bool,
    growth: u64,
    style: Style,
}

impl Table {
    fn heads(&self, title: &'static str) -> Vec<&'static str> {
        match self.wide {
            true => vec![title, "pools", "chunks", self.sides.0, self.sides.1, "change", "per hour", "of growth"],
            false => vec![title, "pools", self.sides.0, self.sides.1, "change", "of growth"],
        }
    }

    /// The sums of these owners.
    fn row(&self, label: &str, owners: &[&OwnerChange<'_>]) -> Vec<String> {
        let sum = |number: fn(&OwnerChange<'_>) -> Change| owners.iter().map(|owner| number(owner)).sum::<Change>();
        let (bytes_change, style) = (sum(|owner| owner.bytes), self.style);
        let mut cells = vec![label.to_owned(), count(sum(|owner| owner.pools).by(), style)];
        if self.wide {
            cells.push(count(sum(|owner| owner.chunks).by(), style));
        }
        cells.extend([human_bytes(bytes_change.old), human_bytes(bytes_change.new), bytes(bytes_change.by(), style)]);
        if self.wide {
            let rates: Option<f64> = owners.iter().map(|owner| owner.per_hour).sum();
            cells.push(rate(rates.filter(|_| self.rates && bytes_change.by() != 0), style));
        }
        let grown = owners.iter().fold(0, |sum: u64, owner| sum.saturating_add(owner.bytes.growth()));
        cells.push(if grown > 0 { share(grown, self.growth) } else { String::new() });
        cells
    }
}

/// What it is; below that, how many pools came and went, and which names changed.
fn label(owner: &OwnerChange<'_>, groups: &[GroupChange<'_>], style: Style) -> String {
    let mut label = format!("  {}", owner.label);
    if let Some(traffic) = owner.traffic.filter(|traffic| traffic.appeared + traffic.gone > 0) {
        let line = format!("{} appeared, {} gone", human_count(traffic.appeared), human_count(traffic.gone));
        label.push_str(&format!("\n    {line}"));
    }
    let changed = || owner.names.iter().filter(|name| name.bytes.by() != 0 || name.pools.by() != 0);
    for name in changed().take(MOST_NAMES) {
        label.push_str(&format!("\n    {}", named(name, style)));
    }
    let left = changed().count().saturating_sub(MOST_NAMES) as u64;
    if left > 0 {
        label.push_str(&format!("\n    and {}", counted(left, "other name")));
    }
    label + &changed_groups(owner, groups, style)
}

/// The groups of an owner outside pools that changed most, a line each.
fn changed_groups(owner: &OwnerChange<'_>, groups: &[GroupChange<'_>], style: Style) -> String {
    let own = |group: &&GroupChange<'_>| group.owner == owner.owner && !group.name.is_empty() && group.has_changed();
    let mut changed: Vec<&GroupChange<'_>> = groups.iter().filter(own).collect();
    changed.sort_by_key(|group| std::cmp::Reverse(group.bytes.by().unsigned_abs()));
    let line = |group: &&GroupChange<'_>| {
        let shown = keep_start(&printable(group.name, style.unicode), 40, style.ellipsis());
        let chunks = match group.chunks.by() {
            0 => String::new(),
            by => format!(", {}", signed_counted(by, "chunk")),
        };
        format!("\n    {shown}: {}", style.adapt(&format!("{}{chunks}", signed_bytes(group.bytes.by()))))
    };
    let left = changed.len().saturating_sub(MOST_NAMES) as u64;
    let more = if left > 0 { format!("\n    and {}", counted(left, "other group")) } else { String::new() };
    changed.iter().take(MOST_NAMES).map(line).collect::<String>() + &more
}

/// `"svc": +118 MiB, +119 pools`.
fn named(name: &NameChange<'_>, style: Style) -> String {
    let shown = keep_start(&printable(name.name, style.unicode), 40, style.ellipsis());
    let pools = match name.pools.by() {
        0 => String::new(),
        by => format!(", {}", signed_counted(by, "pool")),
    };
    format!("{}: {}", name_in_text(&shown), style.adapt(&format!("{}{pools}", signed_bytes(name.bytes.by()))))
}
