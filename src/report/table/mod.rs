//! The report for people: what an operator sees first.
//!
//! One file for each section. A section turns a part of the model into lines; here they are put below each other.

pub(super) mod bars;
mod findings;
mod found;
pub(super) mod grid;
mod header;
mod memory;
mod outside;
mod owners;
mod parts;
pub(super) mod percent;
mod pools;
mod problems;
pub(super) mod sizes;

use super::style::{Line, Look, Style};
use crate::snapshot::model::Snapshot;
use std::io::{self, Write};

/// What to show, and how.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// How it looks.
    pub style: Style,
    /// How many single pools to list.
    pub top: usize,
}

/// Writes the report.
///
/// # Errors
/// Those of `out`.
pub fn write(snapshot: &Snapshot, page: &Page, out: &mut dyn Write) -> io::Result<()> {
    let style = page.style;
    let sections = [
        header::lines(snapshot, style),
        findings::first(snapshot, style),
        memory::lines(&snapshot.memory, style),
        owners::lines(snapshot, page),
        outside::lines(snapshot, page),
        sizes::lines(snapshot, style),
        pools::lines(snapshot, page),
        findings::whole(snapshot, style),
        problems::notes(snapshot, style),
        problems::disagreements(snapshot, style),
        problems::changes(snapshot, style),
    ];
    write_sections(&sections, style, out)
}

/// Writes sections below each other, with an empty line between two; those without lines are left out.
pub(super) fn write_sections(sections: &[Vec<Line>], style: Style, out: &mut dyn Write) -> io::Result<()> {
    for (index, section) in sections.iter().filter(|section| !section.is_empty()).enumerate() {
        if index > 0 {
            out.write_all(b"\n")?;
        }
        for line in section {
            writeln!(out, "{}", line.painted(style))?;
        }
    }
    Ok(())
}

/// A text below a heading: wrapped, each paragraph marked.
pub(super) fn paragraph(text: &str, look: Look, style: Style) -> Vec<Line> {
    let first = format!("  {}", style.bullet());
    let lines = super::text::wrap(&style.adapt(text), style.width, &first, "    ");
    lines.into_iter().map(|line| Line::new(look, line)).collect()
}
