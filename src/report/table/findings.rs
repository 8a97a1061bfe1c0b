//! What stands out, in words, with what proves it.

use super::paragraph;
use crate::report::style::{Line, Look, Style};
use crate::report::text;
use crate::snapshot::finding::Finding;
use crate::snapshot::model::Snapshot;

pub(super) fn lines(snapshot: &Snapshot, style: Style) -> Vec<Line> {
    let mut lines = vec![Line::new(Look::Title, "What stands out")];
    if snapshot.findings.is_empty() {
        let sentence = match snapshot.books {
            Some(_) => "Nothing that poolscope looks for.",
            None => "Nothing can be said: the heap was not walked.",
        };
        lines.push(Line::new(Look::Plain, format!("  {sentence}")));
    }
    for finding in &snapshot.findings {
        lines.extend(paragraph(&sentence(finding), Look::Alarm, style));
        for proof in finding.evidence() {
            let wrapped = text::wrap(&style.adapt(&proof), style.width, "      ", "        ");
            lines.extend(wrapped.into_iter().map(|line| Line::new(Look::Detail, line)));
        }
    }
    lines
}

fn sentence(finding: &Finding) -> String {
    let mut text = finding.to_string();
    if let Some(first) = text.get(..1).map(str::to_uppercase) {
        text.replace_range(..1, &first);
    }
    text + "."
}
