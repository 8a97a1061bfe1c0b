//! What stands out, in words, with what proves it: short below the header, and whole below the tables where that is longer.

use super::paragraph;
use crate::report::scope::Scope;
use crate::report::style::{Line, Look, Style};
use crate::report::text;
use crate::snapshot::finding::Finding;
use crate::snapshot::human::counted;
use crate::snapshot::model::Snapshot;

/// Findings below the header: the first screen has room for a few.
const MOST_FIRST: usize = 5;
/// Lines of each there, its evidence included.
const MOST_LINES: usize = 5;
/// One that would lose a single line is shown whole: the line that points to the rest, and the rest, would be longer.
const NOT_CUT: usize = MOST_LINES + 1;
/// Findings below the tables: a worker can have as many as it has had upstreams.
const MOST: usize = 10;

/// What belongs on the first screen.
pub(super) fn first(snapshot: &Snapshot, style: Style) -> Vec<Line> {
    let mut lines = vec![Line::new(Look::Title, "What stands out")];
    for finding in snapshot.findings.iter().take(MOST_FIRST) {
        lines.extend(short(finding, style));
    }
    let left = snapshot.findings.len().saturating_sub(MOST_FIRST) as u64;
    if left > 0 {
        lines.push(Line::new(Look::Plain, format!("  and {} (below the tables)", counted(left, "more finding"))));
    }
    if snapshot.process.role == "worker shutting down" && snapshot.findings.iter().any(is_of_upstreams) {
        let text = "This worker is shutting down: no new request reaches it, so that nothing looks an upstream up in it any \
                    more; it ends, and frees everything, when its last connection closes.";
        lines.extend(paragraph(text, Look::Plain, style));
    }
    if let Some(remark) = remark(snapshot) {
        let wrapped = text::wrap(remark, style.width, "  ", "  ");
        lines.extend(wrapped.into_iter().map(|line| Line::new(Look::Plain, line)));
    }
    lines
}

/// All of it, if the first screen had no room for something.
pub(super) fn whole(snapshot: &Snapshot, style: Style) -> Vec<Line> {
    let findings = &snapshot.findings;
    let fits = |finding: &Finding| all_lines(finding, style).len() <= NOT_CUT;
    let is_cut = |(index, finding): (usize, &Finding)| index >= MOST_FIRST || !fits(finding);
    let shown: Vec<&Finding> =
        findings.iter().enumerate().filter(|place| is_cut(*place)).map(|(_, finding)| finding).collect();
    if shown.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![Line::new(Look::Title, "What stands out, in full")];
    lines.extend(shown.iter().take(MOST).flat_map(|finding| all_lines(finding, style)));
    let left = shown.len().saturating_sub(MOST) as u64;
    if left > 0 {
        let more = format!("  and {} (--format json has all)", counted(left, "more finding"));
        lines.push(Line::new(Look::Plain, more));
    }
    lines
}

/// The conclusion, and below it the evidence as far as there is room: never more lines than a finding has on the first screen.
fn short(finding: &Finding, style: Style) -> Vec<Line> {
    let mut lines = all_lines(finding, style);
    if lines.len() > NOT_CUT {
        lines.truncate(MOST_LINES);
        let more = format!(" {} (in full below the tables)", style.ellipsis());
        if let Some(last) = lines.last_mut() {
            let room = style.width.saturating_sub(text::width(&more));
            last.text = text::keep_start(&last.text, room, "") + &more;
        }
    }
    lines
}

/// The conclusion, and below it what proves it, with several proofs on a line.
fn all_lines(finding: &Finding, style: Style) -> Vec<Line> {
    let mut lines = paragraph(&sentence(finding), Look::Alarm, style);
    let proofs: Vec<String> = finding.evidence().iter().map(|proof| style.adapt(proof)).collect();
    if !proofs.is_empty() {
        const INDENT: &str = "      ";
        let room = style.width.saturating_sub(INDENT.len());
        let flowed = text::flow(&proofs, style.separator(), room, "");
        lines.extend(flowed.into_iter().map(|line| Line::new(Look::Detail, format!("{INDENT}{line}"))));
    }
    lines
}

fn is_of_upstreams(finding: &Finding) -> bool {
    matches!(finding, Finding::DeletedButReferenced { .. } | Finding::DeletedAndUnreferenced { .. })
}

/// What nothing else says: that there is nothing, and what could not be looked for.
fn remark(snapshot: &Snapshot) -> Option<&'static str> {
    let nothing = snapshot.findings.is_empty();
    match (&snapshot.books, Scope::of(snapshot)) {
        (None, _) if nothing => Some("Nothing can be said: the heap was not walked."),
        (Some(_), Scope::PoolsOnly) if nothing => Some(
            "Nothing that poolscope looks for. Owners of pools, such as deleted upstreams, were not looked for, because \
             nginx's debug info is missing.",
        ),
        (Some(_), Scope::PoolsOnly) => Some(
            "Owners of pools, such as deleted upstreams, were not looked for, because nginx's debug info is missing.",
        ),
        (Some(_), Scope::NotNginx) if nothing => Some("Nothing that poolscope looks for outside nginx."),
        (Some(_), Scope::Owners) if nothing => Some("Nothing that poolscope looks for."),
        _ => None,
    }
}

fn sentence(finding: &Finding) -> String {
    let mut text = finding.to_string();
    if let Some(first) = text.get(..1).map(str::to_uppercase) {
        text.replace_range(..1, &first);
    }
    text + "."
}
