//! What stands out, in words, with what proves it.

use super::paragraph;
use crate::report::scope::Scope;
use crate::report::style::{Line, Look, Style};
use crate::report::text;
use crate::snapshot::finding::Finding;
use crate::snapshot::model::Snapshot;

pub(super) fn lines(snapshot: &Snapshot, style: Style) -> Vec<Line> {
    let mut lines = vec![Line::new(Look::Title, "What stands out")];
    for finding in &snapshot.findings {
        lines.extend(paragraph(&sentence(finding), Look::Alarm, style));
        for proof in finding.evidence() {
            let wrapped = text::wrap(&style.adapt(&proof), style.width, "      ", "        ");
            lines.extend(wrapped.into_iter().map(|line| Line::new(Look::Detail, line)));
        }
    }
    if snapshot.process.role == "worker shutting down" && !snapshot.findings.is_empty() {
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
