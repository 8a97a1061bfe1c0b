//! Where the memory of the process is.

use super::grid::Grid;
use super::percent::share;
use crate::report::style::{Line, Look, Style};
use crate::snapshot::human::human_bytes;
use crate::snapshot::model::MemoryRow;

pub(super) fn lines(rows: &[MemoryRow], style: Style) -> Vec<Line> {
    if rows.is_empty() {
        return Vec::new();
    }
    let measure = Measure::of(rows);
    let columns = Columns::of(rows);
    let mut heads = vec!["Where the memory is", "size"];
    heads.extend(columns.resident.then_some("resident"));
    heads.extend(columns.swapped.then_some("swapped"));
    heads.push(measure.name());
    let mut grid = Grid::new(&heads);
    for row in rows.iter().filter(|row| row.size > 0 || row.resident.is_some_and(|bytes| bytes > 0)) {
        grid.row(cells(row, measure, columns));
    }
    grid.row(total(rows, measure, columns));
    let (head, rows) = grid.render(style);
    let body = rows.into_iter().flatten().map(|line| Line::new(Look::Plain, line));
    [Line::new(Look::Title, head)].into_iter().chain(body).collect()
}

/// Which columns say anything: a core tells nothing of what was resident, and mostly nothing is swapped out.
#[derive(Clone, Copy)]
struct Columns {
    resident: bool,
    swapped: bool,
}

impl Columns {
    fn of(rows: &[MemoryRow]) -> Columns {
        Columns {
            resident: rows.iter().any(|row| row.resident.is_some()),
            swapped: rows.iter().any(|row| row.swapped.is_some_and(|bytes| bytes > 0)),
        }
    }
}

/// What shares are of: of what is resident, which is what an operator sees grow, if that is known.
#[derive(Clone, Copy)]
enum Measure {
    Resident(u64),
    Size(u64),
}

impl Measure {
    fn of(rows: &[MemoryRow]) -> Measure {
        match sum(rows, |row| row.resident) {
            Some(total) => Measure::Resident(total),
            None => Measure::Size(size(rows)),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Measure::Resident(_) => "of resident",
            Measure::Size(_) => "of size",
        }
    }

    fn share(self, row: &MemoryRow) -> String {
        match (self, row.resident) {
            (Measure::Resident(total), Some(resident)) => share(resident, total),
            (Measure::Resident(_), None) => String::new(),
            (Measure::Size(total), _) => share(row.size, total),
        }
    }
}

fn size(rows: &[MemoryRow]) -> u64 {
    rows.iter().filter(|row| !row.nested).map(|row| row.size).sum()
}

/// The sum over the rows that are no part of another row. Some of them may not know, as long as they are less than a
/// hundredth of the whole.
fn sum(rows: &[MemoryRow], bytes: impl Fn(&MemoryRow) -> Option<u64>) -> Option<u64> {
    let whole = || rows.iter().filter(|row| !row.nested);
    let unknown: u64 = whole().filter(|row| bytes(row).is_none()).map(|row| row.size).sum();
    (unknown <= size(rows) / 100).then(|| whole().filter_map(&bytes).sum())
}

fn cells(row: &MemoryRow, measure: Measure, columns: Columns) -> Vec<String> {
    let indent = if row.nested { "    " } else { "  " };
    // Of a part, often only the size is known; of anything else, a blank would look like nothing.
    let unknown = if row.nested { "" } else { "?" };
    let bytes = |value: Option<u64>| value.map_or(unknown.to_owned(), human_bytes);
    let mut cells = vec![format!("{indent}{}", row.label), human_bytes(row.size)];
    cells.extend(columns.resident.then(|| bytes(row.resident)));
    cells.extend(columns.swapped.then(|| bytes(row.swapped)));
    cells.push(measure.share(row));
    cells
}

fn total(rows: &[MemoryRow], measure: Measure, columns: Columns) -> Vec<String> {
    let bytes = |value: Option<u64>| value.map_or("?".to_owned(), human_bytes);
    let mut cells = vec!["  total".to_owned(), human_bytes(size(rows))];
    cells.extend(columns.resident.then(|| bytes(sum(rows, |row| row.resident))));
    cells.extend(columns.swapped.then(|| bytes(sum(rows, |row| row.swapped))));
    cells.push(match measure {
        Measure::Resident(total) | Measure::Size(total) => share(total, total),
    });
    cells
}
