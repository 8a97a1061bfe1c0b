//! What changed, in words, and who is behind it.

use super::bytes;
use super::owners::growth;
use crate::diff::whose::suspect_name;
use crate::diff::words::signed_counted;
use crate::diff::{Diff, Suspect, Trend};
use crate::report::style::{Line, Look, Style};
use crate::report::table::paragraph;
use crate::report::table::percent::share;
use crate::report::table::sizes::bucket_label;
use crate::report::text::wrap;
use crate::snapshot::human::human_bytes;

/// Those with a smaller part of the growth are in the table of owners only, but for the first.
const LEAST_SHARE: f64 = 0.05;

/// What changed: each sentence a paragraph, the first one so that it is seen.
pub(super) fn summary(trend: &Trend<'_>, style: Style) -> Vec<Line> {
    let diff = &trend.overall;
    let grew = diff.related.relation.is_same_process() && diff.growth_in_use().is_some_and(|bytes| bytes > 0);
    let mut lines = vec![Line::new(Look::Title, "What changed")];
    for (index, sentence) in diff.summary().iter().chain(&trend.summary()).enumerate() {
        let look = if index == 0 && grew { Look::Alarm } else { Look::Plain };
        lines.extend(paragraph(sentence, look, style));
    }
    lines
}

/// Those who grew, with what proves why.
pub(super) fn lines(diff: &Diff<'_>, style: Style) -> Vec<Line> {
    let notable = |(index, suspect): &(usize, &Suspect<'_>)| {
        *index == 0 || suspect.share_of_growth >= LEAST_SHARE || suspect.is_unreachable()
    };
    let mut lines = Vec::new();
    for (_, suspect) in diff.suspects.iter().enumerate().filter(notable) {
        lines.extend(paragraph(&sentence(suspect, diff, style), Look::Plain, style));
        suspect.path.iter().for_each(|path| lines.extend(wrapped(path, Look::Detail, style)));
        for finding in &suspect.findings {
            let text = finding.to_string();
            lines.extend(wrapped(&format!("now {text}"), Look::Plain, style));
            finding.evidence().iter().for_each(|proof| lines.extend(wrapped(proof, Look::Detail, style)));
        }
    }
    if !lines.is_empty() {
        let title = if diff.related.relation.is_same_process() { "Owners that grew most" } else { "What is larger" };
        lines.insert(0, Line::new(Look::Title, title));
    }
    lines
}

fn wrapped(text: &str, look: Look, style: Style) -> Vec<Line> {
    let lines = wrap(&style.adapt(text), style.width, "      ", "        ");
    lines.into_iter().map(|line| Line::new(look, line)).collect()
}

/// `dyups upstream "svc", deleted …: +118 MiB, +119 pools, 39.4 MiB per hour, 99 % of the 119 MiB that owners grew by,
/// mainly …`.
fn sentence(suspect: &Suspect<'_>, diff: &Diff<'_>, style: Style) -> String {
    let mut facts = vec![bytes(suspect.bytes.by(), style)];
    if suspect.pools.by() != 0 {
        facts.push(signed_counted(suspect.pools.by(), "pool"));
    }
    facts.push(signed_counted(suspect.chunks.by(), "chunk"));
    // What a few seconds make of an hour is no rate.
    let rate = suspect.per_hour.filter(|_| diff.interval.foretells());
    facts.extend(rate.map(|rate| format!("{} per hour", bytes(rate as i128, style))));
    let parts = 1_000_000.0;
    let more = if diff.related.relation.is_same_process() { "that owners grew by" } else { "that owners have more" };
    let share = share((suspect.share_of_growth * parts) as u64, parts as u64);
    facts.push(format!("{share} of the {} {more}", human_bytes(growth(diff))));
    let mainly = suspect.mainly.filter(|bucket| bucket.bytes.by() > 0).map(|bucket| {
        let size = bucket_label(bucket.from, style);
        format!(
            "; mainly {} of {size}: {}",
            signed_counted(bucket.chunks.by(), "chunk"),
            bytes(bucket.bytes.by(), style)
        )
    });
    format!("{}: {}{}", suspect_name(suspect), facts.join(", "), mainly.unwrap_or_default())
}
