//! How a report for people looks: how wide, with colour or without, and with which characters.

use super::text::printable;

/// The look of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// No line is wider than this many columns. At least [`Style::NARROWEST`].
    pub width: usize,
    /// Whether to use ANSI colours.
    pub color: bool,
    /// Whether the reader's character set has block characters, dashes and the like; else only ASCII is written.
    pub unicode: bool,
}

impl Style {
    /// The least width that the tables fit into.
    pub const NARROWEST: usize = 72;
    /// Where the width is not known.
    pub const USUAL: usize = 80;
    /// Lines longer than this are harder to read, however wide the terminal is.
    pub const WIDEST: usize = 120;

    /// Plain text of the usual width: what goes into a file.
    pub const PLAIN: Style = Style { width: Style::USUAL, color: false, unicode: true };

    /// Between two facts on one line.
    pub(super) fn separator(self) -> &'static str {
        if self.unicode { " · " } else { " | " }
    }

    /// Between the ends of a range.
    pub(super) fn dash(self) -> char {
        if self.unicode { '–' } else { '-' }
    }

    /// For what was left out.
    pub(super) fn ellipsis(self) -> &'static str {
        if self.unicode { "…" } else { "..." }
    }

    /// The text in the reader's character set, free of what a terminal must not be sent. To be done before anything is
    /// measured.
    pub(super) fn adapt(self, text: &str) -> String {
        match self.unicode {
            true => printable(text, true),
            false => printable(&text.replace('…', "...").replace(['–', '−'], "-"), false),
        }
    }

    /// Before each of several things.
    pub(super) fn bullet(self) -> &'static str {
        if self.unicode { "• " } else { "* " }
    }
}

/// What a line of a report is, from which its colour follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing special.
    Plain,
    /// Names the section, or the columns of a table.
    Title,
    /// What an operator must not miss.
    Alarm,
    /// Detail that proves something else.
    Detail,
    /// Holds bars, from this column on.
    Bar(usize),
    /// Holds the bar that stands out, and others, from this column on.
    TopBar(usize),
}

/// A line of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) look: Look,
    pub(super) text: String,
}

impl Line {
    pub(super) fn new(look: Look, text: impl Into<String>) -> Line {
        Line { look, text: text.into() }
    }

    /// The line as it is written, without a newline.
    pub(super) fn painted(&self, style: Style) -> String {
        let text = printable(self.text.trim_end(), style.unicode);
        if !style.color {
            return text;
        }
        match self.look {
            Look::Plain => text,
            Look::Title => format!("\x1b[1m{text}\x1b[0m"),
            Look::Alarm => format!("\x1b[1;33m{text}\x1b[0m"),
            Look::Detail => format!("\x1b[2m{text}\x1b[0m"),
            Look::Bar(from) => paint_bars(&text, from, "\x1b[36m"),
            Look::TopBar(from) => paint_bars(&text, from, "\x1b[1;31m"),
        }
    }
}

/// Colours each run of bar characters from the column `from` on; before it, a dot is a decimal point.
fn paint_bars(text: &str, from: usize, color: &str) -> String {
    let mut painted = String::new();
    let mut inside = false;
    for (column, character) in text.chars().enumerate() {
        let bar = column >= from && super::table::bars::is_bar(character);
        if bar != inside {
            painted.push_str(if bar { color } else { "\x1b[0m" });
            inside = bar;
        }
        painted.push(character);
    }
    if inside {
        painted.push_str("\x1b[0m");
    }
    painted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bars_are_coloured_in_a_row_with_bars() {
        let line = Line::new(Look::Bar(9), "256K  1.2  ██▌");
        let style = Style { color: true, ..Style::PLAIN };
        assert_eq!(line.painted(style), "256K  1.2  \x1b[36m██▌\x1b[0m");
        assert_eq!(line.painted(Style::PLAIN), "256K  1.2  ██▌");
    }

    #[test]
    fn a_name_cannot_smuggle_in_escape_sequences() {
        let line = Line::new(Look::Plain, "upstream \x1b[2Jevil\u{202e}");
        assert_eq!(line.painted(Style::PLAIN), "upstream ?[2Jevil?");
    }
}
