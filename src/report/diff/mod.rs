//! Renderings of a comparison of snapshots.

mod header;
pub mod json;
mod memory;
mod notes;
mod owners;
mod pools;
mod rows;
mod sizes;
mod suspects;
mod trend;

pub use rows::{PoolChangeRow, pool_rows};

use super::style::{Line, Look, Style};
use super::table::{Page, write_sections};
use crate::diff::words::{signed_bytes, signed_count};
use crate::diff::{Diff, Trend};
use std::io::{self, Write};

/// Writes the report for people. [`Page::top`] is how many single pools to list of those that appeared, grew and so on.
///
/// # Errors
/// Those of `out`.
pub fn write_table(trend: &Trend<'_>, page: &Page, out: &mut dyn Write) -> io::Result<()> {
    let (diff, style) = (&trend.overall, page.style);
    let sections = [
        header::lines(diff, style),
        suspects::summary(trend, style),
        trend::lines(trend, style),
        suspects::lines(diff, style),
        memory::lines(diff, style),
        owners::lines(diff, style),
        sizes::lines(diff, style),
        pools::lines(diff, page),
        notes::lines(diff, style),
    ];
    write_sections(&sections, style, out)
}

/// A change of bytes in the reader's character set.
fn bytes(change: i128, style: Style) -> String {
    style.adapt(&signed_bytes(change))
}

/// A change of a number in the reader's character set; nothing for none.
fn count(change: i128, style: Style) -> String {
    if change == 0 { String::new() } else { style.adapt(&signed_count(change)) }
}

/// Bytes per hour in the reader's character set; nothing if there is no rate.
fn rate(per_hour: Option<f64>, style: Style) -> String {
    per_hour.map(|rate| bytes(rate.round() as i128, style)).unwrap_or_default()
}

/// Headings of the older and the newer side: what another process has is not what one had before.
fn sides(diff: &Diff<'_>) -> (&'static str, &'static str) {
    if diff.related.relation.is_same_process() { ("before", "now") } else { ("old", "new") }
}

/// A rendered table as lines.
fn grid_lines((head, rows): (String, Vec<Vec<String>>)) -> Vec<Line> {
    let body = rows.into_iter().flatten().map(|line| Line::new(Look::Plain, line));
    [Line::new(Look::Title, head)].into_iter().chain(body).collect()
}
