//! Who is compared with whom, and when.

use crate::diff::Diff;
use crate::diff::words::duration;
use crate::report::style::{Line, Look, Style};
use crate::report::text::{flow, keep_start, wrap};
use crate::snapshot::human::utc_to_second;
use crate::snapshot::model::Snapshot;

pub(super) fn lines(diff: &Diff<'_>, style: Style) -> Vec<Line> {
    let mut lines = Vec::new();
    let same = diff.related.relation.is_same_process();
    if !same {
        lines.push(title(&format!("old: {}", identity(&diff.old, style)), style));
    }
    let label = if same { "" } else { "new: " };
    lines.push(title(&format!("{label}{}", identity(&diff.new, style)), style));
    let times = [diff.old.taken_at, diff.new.taken_at].map(taken);
    let apart = match diff.interval.seconds {
        seconds if seconds > 0.0 => format!("{} apart", duration(seconds)),
        _ if [diff.old.taken_at, diff.new.taken_at].contains(&0.0) => "the time between them is not known".to_owned(),
        _ if diff.old.taken_at == diff.new.taken_at => "at the same time".to_owned(),
        _ => "not in this order of time".to_owned(),
    };
    let phrases = [format!("{} to {}", times[0], times[1]), apart];
    lines.extend(
        flow(&phrases, style.separator(), style.width, "  ").into_iter().map(|line| Line::new(Look::Plain, line)),
    );
    let look = if same { Look::Plain } else { Look::Alarm };
    let mut sentence = diff.related.sentence.clone();
    if !same {
        // Only nginx is written small where it begins a sentence.
        if let Some(first) = sentence.get(..1).filter(|_| !sentence.starts_with("nginx")).map(str::to_uppercase) {
            sentence.replace_range(..1, &first);
        }
        sentence.push('.');
    }
    lines.extend(wrap(&style.adapt(&sentence), style.width, "", "  ").into_iter().map(|line| Line::new(look, line)));
    lines
}

/// When a snapshot was taken, if that is known.
pub(super) fn taken(seconds: f64) -> String {
    if seconds > 0.0 { utc_to_second(seconds as u64) } else { "some time".to_owned() }
}

fn title(text: &str, style: Style) -> Line {
    Line::new(Look::Title, keep_start(&style.adapt(text), style.width, style.ellipsis()))
}

fn identity(snapshot: &Snapshot, style: Style) -> String {
    let process = &snapshot.process;
    let mut facts = vec![format!("{} {}", process.role, process.pid), process.title.clone()];
    facts.extend(process.server.clone());
    facts.extend(snapshot.source.file.iter().map(|file| format!("core {file}")));
    facts.join(style.separator())
}
