//! What the reader's terminal can show.

use super::args::ColorChoice;
use crate::report::style::Style;
use std::env;
use std::io::{self, IsTerminal};

/// What decides how output looks.
#[derive(Debug, Clone, Default)]
pub(super) struct Environment {
    /// Width of the terminal that standard output goes to; `None` if it is not a terminal.
    pub(super) terminal: Option<usize>,
    /// Whether standard error is a terminal that can take back a line: progress needs both.
    pub(super) shows_progress: bool,
    /// COLUMNS, if it is a number.
    pub(super) columns: Option<usize>,
    /// Whether NO_COLOR is set to anything (no-color.org), or the terminal is a dumb one.
    pub(super) no_color: bool,
    /// Whether the locale's character set is UTF-8.
    pub(super) unicode: bool,
}

impl Environment {
    /// That of this process.
    pub(super) fn of_this_process() -> Environment {
        let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let width =
            || terminal_size::terminal_size_of(io::stdout()).map_or(Style::USUAL, |(width, _)| usize::from(width.0));
        // The first of these that is set decides (locale(7)).
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable).unwrap_or_default();
        // terminfo(5): a terminal that understands no sequences at all.
        let is_dumb = variable("TERM").is_some_and(|term| term == "dumb");
        Environment {
            terminal: io::stdout().is_terminal().then(width),
            shows_progress: io::stderr().is_terminal() && !is_dumb,
            columns: variable("COLUMNS").and_then(|columns| columns.parse().ok()),
            no_color: variable("NO_COLOR").is_some() || is_dumb,
            unicode: is_utf8(&locale),
        }
    }

    /// How a report looks here.
    pub(super) fn style(&self, color: ColorChoice) -> Style {
        let width = self.terminal.or(self.columns).unwrap_or(Style::USUAL);
        Style {
            width: width.clamp(Style::NARROWEST, Style::WIDEST),
            color: match color {
                ColorChoice::Always => true,
                ColorChoice::Never => false,
                ColorChoice::Auto => self.terminal.is_some() && !self.no_color,
            },
            unicode: self.unicode,
        }
    }
}

fn is_utf8(locale: &str) -> bool {
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal() -> Environment {
        Environment { terminal: Some(100), unicode: true, ..Environment::default() }
    }

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        assert!(terminal().style(ColorChoice::Auto).color);
        assert!(!Environment { no_color: true, ..terminal() }.style(ColorChoice::Auto).color);
        assert!(!Environment { terminal: None, ..terminal() }.style(ColorChoice::Auto).color);
        assert!(Environment { no_color: true, ..terminal() }.style(ColorChoice::Always).color);
        assert!(!terminal().style(ColorChoice::Never).color);
    }

    #[test]
    fn the_width_is_that_of_the_terminal_within_reason() {
        let width = |terminal, columns| {
            Environment { terminal, columns, ..Environment::default() }.style(ColorChoice::Auto).width
        };
        assert_eq!(width(Some(100), Some(90)), 100);
        assert_eq!(width(Some(300), None), 120);
        assert_eq!(width(Some(20), None), 72);
        assert_eq!(width(None, None), 80);
        assert_eq!(width(None, Some(100)), 100);
    }

    #[test]
    fn the_locale_names_its_character_set() {
        assert!(is_utf8("en_US.UTF-8") && is_utf8("C.utf8"));
        assert!(!is_utf8("") && !is_utf8("C") && !is_utf8("de_DE@euro"));
    }
}
