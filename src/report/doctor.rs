//! What stands in the way of a snapshot, for people: one line for each thing that was looked at.

use super::style::{Line, Look, Style};
use super::text::wrap;
use crate::analysis::doctor::{Check, Diagnosis, State};
use std::io::{self, Write};

/// Columns for how something is, and for what it is.
const STATE: usize = 8;
const WHAT: usize = 17;

/// Writes a diagnosis.
///
/// # Errors
/// Those of `out`.
pub fn write(diagnosis: &Diagnosis, style: Style, out: &mut dyn Write) -> io::Result<()> {
    for line in lines(diagnosis, style) {
        writeln!(out, "{}", line.painted(style))?;
    }
    Ok(())
}

fn lines(diagnosis: &Diagnosis, style: Style) -> Vec<Line> {
    let title = diagnosis.title.as_deref().unwrap_or("?");
    let heading = style.adapt(&format!("process {}{}{title}", diagnosis.pid, style.separator()));
    let mut lines: Vec<Line> =
        wrap(&heading, style.width, "", "  ").into_iter().map(|line| Line::new(Look::Title, line)).collect();
    for check in &diagnosis.checks {
        lines.extend(check_lines(check, style));
    }
    let look = if diagnosis.verdict >= State::Warn { Look::Alarm } else { Look::Title };
    let verdict = wrap(verdict(diagnosis), style.width, "", "");
    lines.extend(verdict.into_iter().map(|line| Line::new(look, line)));
    lines
}

fn check_lines(check: &Check, style: Style) -> Vec<Line> {
    let first = format!("{:STATE$}{:WHAT$}", word(check.state), check.what);
    let rest = " ".repeat(STATE + 2);
    let wrapped = |text: &str, first: &str, rest: &str| wrap(&style.adapt(text), style.width, first, rest);
    let look = if check.state >= State::Warn { Look::Alarm } else { Look::Plain };
    let mut lines: Vec<Line> =
        wrapped(&check.finding, &first, &rest).into_iter().map(|line| Line::new(look, line)).collect();
    // Where something was looked for matters only if it was not found.
    if check.state != State::Ok {
        let places = check.looked_at.iter().flat_map(|place| {
            let indent = " ".repeat(STATE);
            wrapped(place, &format!("{indent}looked at "), &format!("{indent}  "))
        });
        lines.extend(places.map(|line| Line::new(Look::Detail, line)));
    }
    if let Some(way_out) = &check.way_out {
        let indent = " ".repeat(STATE);
        let text = wrapped(way_out, &format!("{indent}way out: "), &format!("{indent}  "));
        lines.extend(text.into_iter().map(|line| Line::new(Look::Plain, line)));
    }
    lines
}

fn word(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Note => "note",
        State::Warn => "warn",
        State::Stops => "stops",
    }
}

fn verdict(diagnosis: &Diagnosis) -> &'static str {
    match diagnosis.verdict {
        State::Ok | State::Note => "A snapshot would work in full.",
        State::Warn => "A snapshot would work, but lack what the lines with \"warn\" say.",
        State::Stops => "There can be no snapshot until what the lines with \"stops\" say is out of the way.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(what: &'static str, state: State, finding: &str) -> Check {
        Check { what, state, finding: finding.into(), way_out: None, looked_at: Vec::new() }
    }

    fn text(checks: Vec<Check>) -> String {
        let verdict = checks.iter().map(|check| check.state).max().unwrap();
        let diagnosis = Diagnosis {
            pid: 4242,
            title: Some("nginx: worker process".into()),
            verdict,
            checks,
            expected_pause: None,
            own_memory: None,
        };
        let mut out = Vec::new();
        write(&diagnosis, Style::PLAIN, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_well_takes_a_line() {
        let expected = "\
process 4242 · nginx: worker process
ok      permission       its memory may be read
A snapshot would work in full.
";
        assert_eq!(text(vec![check("permission", State::Ok, "its memory may be read")]), expected);
    }

    #[test]
    fn what_is_missing_has_the_places_and_the_way_out() {
        let mut missing = check("nginx debug info", State::Warn, "not found (build-id ab12)");
        missing.looked_at = vec!["/usr/lib/debug/.build-id/ab/12.debug does not exist".into()];
        missing.way_out = Some("install it".into());
        let expected = "\
process 4242 · nginx: worker process
ok      tracer           nobody traces it
warn    nginx debug info not found (build-id ab12)
        looked at /usr/lib/debug/.build-id/ab/12.debug does not exist
        way out: install it
A snapshot would work, but lack what the lines with \"warn\" say.
";
        assert_eq!(text(vec![check("tracer", State::Ok, "nobody traces it"), missing]), expected);
    }

    #[test]
    fn a_title_cannot_command_the_terminal() {
        let text = text(vec![check("tracer", State::Stops, "gdb\x1b[2J")]);
        assert!(!text.contains('\x1b') && text.contains("\"stops\""), "{text}");
    }
}
