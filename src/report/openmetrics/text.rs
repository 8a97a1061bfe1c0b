//! The lines of an exposition (OpenMetrics 1.0, "Text format").

use super::families::Family;
use std::fmt::{self, Write as _};
use std::io::{self, Write};

/// Value of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// Bytes, or how many.
    Whole(u64),
    /// Seconds or a ratio; finite.
    Real(f64),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::Whole(number) => number.fmt(f),
            Number::Real(number) => number.fmt(f),
        }
    }
}

/// Help, type and, if it has one, unit of a family.
pub fn head(family: &Family, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "# HELP {} {}", family.name, family.help)?;
    writeln!(out, "# TYPE {} gauge", family.name)?;
    match family.unit() {
        Some(unit) => writeln!(out, "# UNIT {} {unit}", family.name),
        None => Ok(()),
    }
}

/// One sample; `labels` as [`labels`] makes them.
pub fn sample(family: &Family, labels: &str, value: Number, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}{{{labels}}} {value}", family.name)
}

/// Labels as they stand between braces.
pub fn labels(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push(',');
        }
        // Writing to a string cannot fail.
        let _ = write!(text, "{name}=\"{}\"", Escaped(value));
    }
    text
}

/// The value of a label with what would end it escaped: quotes, backslashes and line feeds.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            other => f.write_char(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_label_is_escaped() {
        assert_eq!(labels(&[("server", "a\"b\\c\nd")]), r#"server="a\"b\\c\nd""#);
        assert_eq!(labels(&[("pid", "1"), ("owner", "dyups.live")]), r#"pid="1",owner="dyups.live""#);
        assert_eq!(labels(&[("role", "")]), r#"role="""#);
    }

    #[test]
    fn numbers_are_written_in_full() {
        assert_eq!(Number::Whole(u64::MAX).to_string(), "18446744073709551615");
        assert_eq!(Number::Real(1_772_332_500.25).to_string(), "1772332500.25");
        assert_eq!(Number::Real(0.004_12).to_string(), "0.00412");
        assert_eq!(Number::Real(1.0).to_string(), "1");
    }
}
