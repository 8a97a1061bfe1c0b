//! Which sizes of chunks there are more of, and whose they are.

use super::{bytes, count, grid_lines};
use crate::diff::{Change, Diff, OwnerChange};
use crate::report::style::{Line, Look, Style};
use crate::report::table::grid::Grid;
use crate::report::table::sizes::bucket_label;
use crate::report::text::{keep_start, printable, width};
use std::collections::BTreeSet;

/// Owners with a column of their own.
const MOST_OWNERS: usize = 3;
/// Columns for the name of an owner. Kinds are plain words; whatever else a file has there is not worth aligning.
const HEADING: usize = 14;

pub(super) fn lines(diff: &Diff<'_>, style: Style) -> Vec<Line> {
    let starts: BTreeSet<u64> = changed(diff).collect();
    if starts.is_empty() {
        return Vec::new();
    }
    let mut largest: Vec<&OwnerChange<'_>> = diff.owners.iter().filter(|owner| owner.bytes.by() != 0).collect();
    largest.sort_by_key(|owner| std::cmp::Reverse(owner.bytes.by().unsigned_abs()));
    let mut lines = Vec::new();
    for shown in (0..=largest.len().min(MOST_OWNERS)).rev() {
        lines = table(diff, &starts, largest.get(..shown).unwrap_or_default(), style);
        // A label that had to be wrapped is not found again.
        let is_whole = lines.len() <= 1 + starts.len();
        if is_whole && lines.iter().all(|line| width(&line.text) <= style.width) {
            break;
        }
    }
    // Only a file that was tampered with has buckets whose ends are not powers of two.
    lines.iter_mut().for_each(|line| line.text = keep_start(&line.text, style.width, style.ellipsis()));
    lines.insert(0, Line::new(Look::Title, "Change of chunk sizes by owner (glibc, in use)"));
    lines
}

/// A row for each bucket, with columns for the sum, for these owners, and for all others.
fn table(diff: &Diff<'_>, starts: &BTreeSet<u64>, own: &[&OwnerChange<'_>], style: Style) -> Vec<Line> {
    let all: Vec<&OwnerChange<'_>> = diff.owners.iter().collect();
    let is_own = |owner: &OwnerChange<'_>| own.iter().any(|shown| shown.owner == owner.owner);
    let others: Vec<&OwnerChange<'_>> = all.iter().copied().filter(|owner| !is_own(owner)).collect();
    let with_others = others.iter().any(|owner| owner.sizes.iter().any(|bucket| bucket.bytes.by() != 0));
    let name = |owner: &&OwnerChange<'_>| keep_start(&printable(owner.owner, false), HEADING, style.ellipsis());
    let names: Vec<String> = own.iter().map(name).collect();
    let mut heads = vec!["  size", "chunks", "bytes"];
    heads.extend(names.iter().map(String::as_str));
    heads.extend(with_others.then_some("other"));
    let mut grid = Grid::new(&heads);
    for from in starts {
        let cell = |owners: &[&OwnerChange<'_>]| match in_bucket(owners, *from).1.by() {
            0 => String::new(),
            by => bytes(by, style),
        };
        let (chunks, sum) = in_bucket(&all, *from);
        let mut cells =
            vec![format!("  {}", bucket_label(*from, style)), count(chunks.by(), style), bytes(sum.by(), style)];
        cells.extend(own.iter().map(|owner| cell(&[owner])));
        cells.extend(with_others.then(|| cell(&others)));
        grid.row(cells);
    }
    grid_lines(grid.render(style))
}

/// Starts of buckets in which anything changed.
fn changed(diff: &Diff<'_>) -> impl Iterator<Item = u64> {
    let buckets = diff.owners.iter().flat_map(|owner| &owner.sizes);
    buckets.filter(|bucket| bucket.bytes.by() != 0 || bucket.chunks.by() != 0).map(|bucket| bucket.from)
}

/// Chunks and bytes of these owners in a bucket.
fn in_bucket(owners: &[&OwnerChange<'_>], from: u64) -> (Change, Change) {
    let buckets = owners.iter().flat_map(|owner| owner.sizes.iter().find(|bucket| bucket.from == from));
    buckets.fold(Default::default(), |(mut chunks, mut bytes): (Change, Change), bucket| {
        chunks.add(bucket.chunks);
        bytes.add(bucket.bytes);
        (chunks, bytes)
    })
}
