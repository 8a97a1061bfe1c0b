//! Chunk sizes by power of two, with a bar for each main owner. All bars have the same scale, so that the cell that holds
//! the memory is the one that is seen.

use super::bars::bar;
use super::grid::Grid;
use super::percent::share;
use crate::report::style::{Line, Look, Style};
use crate::report::text;
use crate::snapshot::human::{human_bytes, human_count};
use crate::snapshot::model::{OwnerSummary, Snapshot};
use std::collections::BTreeSet;

/// Owners with a column of their own; all others share one.
const MOST_OWNERS: usize = 4;
/// Owners with less than this share of all bytes have no column of their own: their bars would be empty.
const LEAST_PERCENT: u64 = 1;
/// A column of bars is at least this wide.
const NARROWEST: usize = 6;
/// Blank columns before each column of bars.
const GAP: usize = 2;

pub(super) fn lines(snapshot: &Snapshot, style: Style) -> Vec<Line> {
    let starts: BTreeSet<u64> =
        snapshot.owners.iter().flat_map(|owner| &owner.sizes.buckets).map(|bucket| bucket.from).collect();
    if starts.is_empty() {
        return Vec::new();
    }
    let total = snapshot.in_use_bytes();
    let mut grid = Grid::new(&["  size", "chunks", "bytes", "share"]);
    let mut all_bytes = Vec::new();
    for from in &starts {
        let (chunks, bytes) = in_bucket(&snapshot.owners, *from);
        grid.row(vec![
            format!("  {}", bucket_label(*from, style)),
            human_count(chunks),
            human_bytes(bytes),
            share(bytes, total),
        ]);
        all_bytes.push(bytes);
    }
    let (head, figures) = grid.render(style);
    let figures: Vec<String> = figures.into_iter().flatten().collect();
    let left = figures.iter().map(|row| text::width(row)).chain([text::width(&head)]).max().unwrap_or(0);
    let columns = columns(&snapshot.owners, style.width.saturating_sub(left));
    let most = all_bytes.iter().max().copied().unwrap_or(0);
    let mut lines = vec![Line::new(Look::Title, "Chunk sizes by owner (glibc, in use)")];
    lines.extend(headings(&head, left, &columns));
    let scale = Scale::of(&columns, &starts);
    for ((from, row), bytes) in starts.iter().zip(figures).zip(all_bytes) {
        let look = if bytes == most { Look::TopBar(left) } else { Look::Bar(left) };
        lines.push(Line::new(look, format!("{row:<left$}{}", bars(&columns, *from, scale, style))));
    }
    lines
}

/// A bucket's range, as people write sizes: `256K–512K`.
pub(in crate::report) fn bucket_label(from: u64, style: Style) -> String {
    let short = |bytes: u64| match bytes.trailing_zeros() {
        zeros if zeros >= 30 => format!("{}G", bytes >> 30),
        zeros if zeros >= 20 => format!("{}M", bytes >> 20),
        zeros if zeros >= 10 => format!("{}K", bytes >> 10),
        _ => bytes.to_string(),
    };
    format!("{}{}{}", short(from), style.dash(), short(from.saturating_mul(2)))
}

fn in_bucket(owners: &[OwnerSummary], from: u64) -> (u64, u64) {
    let buckets = owners.iter().filter_map(|owner| owner.sizes.bucket(from));
    buckets.fold((0, 0), |(chunks, bytes), bucket| (chunks + bucket.chunks, bytes + bucket.bytes))
}

/// A column of bars: the owners that it shows together, and how wide it is.
struct Column<'a> {
    words: Vec<String>,
    owners: Vec<&'a OwnerSummary>,
    width: usize,
}

impl<'a> Column<'a> {
    fn new(name: &str, owners: Vec<&'a OwnerSummary>) -> Column<'a> {
        let words: Vec<String> = name
            .split(['.', '_', ' '])
            .filter(|word| !word.is_empty())
            .map(|word| text::keep_start(word, 12, ""))
            .collect();
        let width = words.iter().map(|word| text::width(word)).max().unwrap_or(0).max(NARROWEST);
        Column { words, owners, width }
    }

    fn bytes(&self, from: u64) -> u64 {
        self.owners.iter().filter_map(|owner| owner.sizes.bucket(from)).map(|bucket| bucket.bytes).sum()
    }
}

/// As many owners as fit, those with most bytes first; what room is left goes to the first.
fn columns(owners: &[OwnerSummary], room: usize) -> Vec<Column<'_>> {
    let mut largest: Vec<&OwnerSummary> = owners.iter().collect();
    largest.sort_by_key(|owner| std::cmp::Reverse(owner.bytes));
    let needed = |columns: &[Column<'_>]| columns.iter().map(|column| GAP + column.width).sum::<usize>();
    let total: u64 = owners.iter().map(|owner| owner.bytes).sum();
    let notable = largest.iter().filter(|owner| owner.bytes >= total / 100 * LEAST_PERCENT).count();
    let mut columns = Vec::new();
    for single in (1..=notable.clamp(1, MOST_OWNERS)).rev() {
        let (own, others) = largest.split_at(single);
        columns = own.iter().map(|owner| Column::new(&owner.owner, vec![*owner])).collect();
        if !others.is_empty() {
            columns.push(Column::new("other", others.to_vec()));
        }
        if needed(&columns) <= room {
            break;
        }
    }
    let spare = room.saturating_sub(needed(&columns));
    if let Some(first) = columns.first_mut() {
        first.width += spare;
    }
    columns
}

/// The headings, one line for each word of the longest name, with those of the figures on the last.
fn headings(figures: &str, left: usize, columns: &[Column<'_>]) -> Vec<Line> {
    let height = columns.iter().map(|column| column.words.len()).max().unwrap_or(1).max(1);
    let line = |index: usize| {
        let start = if index + 1 == height { figures } else { "" };
        let words = columns.iter().map(|column| {
            let word = (index + column.words.len()).checked_sub(height).and_then(|at| column.words.get(at));
            format!("{:GAP$}{:<width$}", "", word.map_or("", String::as_str), width = column.width)
        });
        Line::new(Look::Title, format!("{start:<left$}{}", words.collect::<String>()))
    };
    (0..height).map(line).collect()
}

/// What one column of a terminal stands for, in bytes: the least with which every bar fits its column.
#[derive(Clone, Copy)]
struct Scale(f64);

impl Scale {
    fn of(columns: &[Column<'_>], starts: &BTreeSet<u64>) -> Scale {
        let cells = columns
            .iter()
            .flat_map(|column| starts.iter().map(|from| column.bytes(*from) as f64 / column.width as f64));
        Scale(cells.fold(0.0, f64::max))
    }
}

fn bars(columns: &[Column<'_>], from: u64, scale: Scale, style: Style) -> String {
    let cell = |column: &Column<'_>| {
        let bar = bar(column.bytes(from), scale.0, 1, column.width, style.unicode);
        format!("{:GAP$}{bar:<width$}", "", width = column.width)
    };
    columns.iter().map(cell).collect()
}
