//! Where the memory was and is.

use super::{bytes, grid_lines};
use crate::diff::{Change, Diff, TotalChange};
use crate::report::style::{Line, Style};
use crate::report::table::grid::Grid;
use crate::snapshot::human::human_bytes;

pub(super) fn lines(diff: &Diff<'_>, style: Style) -> Vec<Line> {
    let heads = super::sides(diff);
    let mut grid = Grid::new(&["Where the memory is", heads.0, heads.1, "change", "RSS change"]);
    let empty = |change: Option<Change>| change.is_some_and(|change| change == Change::default());
    for row in diff.totals.iter().filter(|row| !(empty(row.size) && empty(row.resident))) {
        grid.row(cells(row, style));
    }
    if let Some(resident) = diff.resident {
        let change = bytes(resident.by(), style);
        grid.row(vec![
            "  resident in all (RSS)".into(),
            human_bytes(resident.old),
            human_bytes(resident.new),
            change,
            String::new(),
        ]);
    }
    if diff.totals.is_empty() { Vec::new() } else { grid_lines(grid.render(style)) }
}

/// Sizes, and how what is in memory changed. Of a part, often only the size is known.
fn cells(row: &TotalChange<'_>, style: Style) -> Vec<String> {
    let indent = if row.nested { "    " } else { "  " };
    let unknown = || if row.nested { String::new() } else { "?".to_owned() };
    let of_size = |text: &dyn Fn(Change) -> String| row.size.map_or_else(|| "?".to_owned(), text);
    vec![
        format!("{indent}{}", row.label),
        of_size(&|size| human_bytes(size.old)),
        of_size(&|size| human_bytes(size.new)),
        of_size(&|size| bytes(size.by(), style)),
        row.resident.map_or_else(unknown, |resident| bytes(resident.by(), style)),
    ]
}
