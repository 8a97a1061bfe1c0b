//! Tables without lines: a first column for words, wrapped where it must be, and columns of figures that never are. A
//! last column for words gets what room the others leave, and then the first is left as it is.

use crate::report::style::Style;
use crate::report::text::{self, printable};
use comfy_table::{Cell, CellAlignment, Table, presets};

/// Blank columns between two columns.
const GAP: usize = 2;
/// A column for words is not made narrower than this.
const NARROWEST_WORDS: usize = 6;

/// A table.
pub(in crate::report) struct Grid {
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
    last_is_text: bool,
}

impl Grid {
    /// A table with these headings: the first for words, the others for figures.
    pub(in crate::report) fn new(heads: &[&str]) -> Grid {
        Grid { heads: heads.iter().map(|head| (*head).to_owned()).collect(), rows: Vec::new(), last_is_text: false }
    }

    /// Adds a row; its first cell may have several lines, each indented as it is to be shown.
    pub(in crate::report) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Makes the last column one for words: each row, which has all other cells, gets `words` of its item, which are told
    /// how many columns they have.
    pub(in crate::report) fn end_rows<T>(
        &mut self,
        style: Style,
        items: impl Iterator<Item = T>,
        words: impl Fn(T, usize) -> String,
    ) {
        self.last_is_text = true;
        let (_, others) = self.needed_beside(self.heads.len().saturating_sub(1));
        let room = style.width.saturating_sub(others).max(NARROWEST_WORDS);
        self.rows.iter_mut().zip(items).for_each(|(row, item)| row.push(words(item, room)));
    }

    /// The heading, and the lines of each row.
    pub(in crate::report) fn render(&self, style: Style) -> (String, Vec<Vec<String>>) {
        let widths = self.widths(style.width);
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(self.cells(&self.heads, &widths));
        table.add_rows(self.rows.iter().map(|row| self.cells(row, &widths)));
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((if index == 0 { 0 } else { GAP as u16 }, 0));
        }
        let mut lines = table.lines().map(|line| line.trim_end().to_owned());
        let head = lines.next().unwrap_or_default();
        let rows = self.rows.iter().map(|row| {
            let height = row.first().map_or(1, |label| wrap_label(label, widths.first().copied().unwrap_or(0)).len());
            lines.by_ref().take(height).collect()
        });
        (head, rows.collect())
    }

    fn cells(&self, row: &[String], widths: &[usize]) -> Vec<Cell> {
        let last = row.len().saturating_sub(1);
        let cell = |(index, text): (usize, &String)| match index {
            0 => Cell::new(wrap_label(text, widths.first().copied().unwrap_or(0)).join("\n")),
            _ if index == last && self.last_is_text => Cell::new(text),
            _ => Cell::new(text).set_alignment(CellAlignment::Right),
        };
        row.iter().enumerate().map(cell).collect()
    }

    /// Width of each column: the one for words gets what the others leave.
    fn widths(&self, total: usize) -> Vec<usize> {
        let flexible = if self.last_is_text { self.heads.len().saturating_sub(1) } else { 0 };
        let (mut widths, others) = self.needed_beside(flexible);
        if let Some(width) = widths.get_mut(flexible) {
            *width = (*width).min(total.saturating_sub(others)).max(NARROWEST_WORDS);
        }
        widths
    }

    /// What each column needs, and what all but one need together with the gaps.
    fn needed_beside(&self, flexible: usize) -> (Vec<usize>, usize) {
        let rows = || self.rows.iter().chain([&self.heads]);
        let needed = |column: usize| {
            let cells = rows().filter_map(|row| row.get(column));
            cells.flat_map(|cell| cell.lines()).map(text::width).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.heads.len()).map(needed).collect();
        let gaps = widths.len().saturating_sub(1) * GAP;
        let others = widths.iter().enumerate().filter(|(index, _)| *index != flexible).map(|(_, width)| width);
        let others = gaps + others.sum::<usize>();
        (widths, others)
    }
}

/// The lines of a label; each of its own lines is wrapped to its own indentation, two columns deeper.
fn wrap_label(label: &str, width: usize) -> Vec<String> {
    let wrap_line = |line: &str| {
        let indent = " ".repeat(line.len() - line.trim_start().len());
        text::wrap(&printable(line, true), width, &indent, &format!("{indent}  "))
    };
    label.lines().flat_map(wrap_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_label_is_wrapped_and_figures_stay_whole() {
        let mut grid = Grid::new(&["Owner", "bytes"]);
        grid.row(vec!["  a label that is much too long for its column".into(), "12.0 MiB".into()]);
        grid.row(vec!["  short".into(), "1 B".into()]);
        let (head, rows) = grid.render(Style { width: 36, ..Style::PLAIN });
        assert_eq!(head, "Owner                          bytes");
        assert_eq!(
            rows,
            [
                vec!["  a label that is much too  12.0 MiB", "    long for its column"],
                vec!["  short                          1 B"]
            ]
        );
    }
}
