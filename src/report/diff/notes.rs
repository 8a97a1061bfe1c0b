//! What limits the comparison.

use crate::diff::Diff;
use crate::report::style::{Line, Look, Style};
use crate::report::table::paragraph;
use crate::snapshot::human::human_count;

/// Notes beyond these are counted only.
const MOST: usize = 10;

pub(super) fn lines(diff: &Diff<'_>, style: Style) -> Vec<Line> {
    let mut notes = diff.notes.clone();
    if !diff.related.relation.is_same_process() {
        notes.push(
            "single pools are not compared, because addresses of one process mean nothing in another; neither are there \
             rates per hour"
                .to_owned(),
        );
    }
    if notes.is_empty() {
        return Vec::new();
    }
    let left = notes.len().saturating_sub(MOST) as u64;
    notes.truncate(MOST);
    if left > 0 {
        notes.push(format!("and {} more (--format json has all)", human_count(left)));
    }
    let body = notes.iter().flat_map(|note| paragraph(note, Look::Plain, style));
    [Line::new(Look::Title, "Notes")].into_iter().chain(body).collect()
}
