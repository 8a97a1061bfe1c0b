//! What could not be told, and what does not agree.

use super::paragraph;
use crate::report::scope::Scope;
use crate::report::style::{Line, Look, Style};
use crate::report::text::wrap;
use crate::snapshot::human::{counted, human_count};
use crate::snapshot::model::{LayoutSource, Snapshot};

/// Notes, and disagreements of one kind, beyond these are counted only: with a corrupt heap there can be a million.
const MOST: usize = 10;

/// Places beyond these are counted only.
const MOST_PLACES: usize = 12;

pub(super) fn notes(snapshot: &Snapshot, style: Style) -> Vec<Line> {
    let layouts = &snapshot.layouts;
    let nginx = (Scope::of(snapshot) != Scope::NotNginx).then_some(("nginx", &layouts.nginx));
    let layouts = || nginx.into_iter().chain([("glibc", &layouts.glibc)]);
    let missing = layouts().filter_map(|(whose, source)| missing_layouts(snapshot, whose, source));
    let notes: Vec<String> = snapshot.notes.iter().cloned().chain(missing).collect();
    let mut lines = section("Notes", &capped(notes), Look::Plain, style);
    for (whose, source) in layouts().filter(|(_, source)| source.kind != "dwarf" && !source.tried.is_empty()) {
        lines.extend(places(whose, source, style));
    }
    lines
}

/// Where debug info was looked for.
fn places(whose: &str, source: &LayoutSource, style: Style) -> Vec<Line> {
    let mut lines = paragraph(&format!("debug info of {whose} was looked for here:"), Look::Plain, style);
    for place in source.tried.iter().take(MOST_PLACES) {
        let wrapped = wrap(&style.adapt(place), style.width, "      ", "        ");
        lines.extend(wrapped.into_iter().map(|line| Line::new(Look::Detail, line)));
    }
    let left = source.tried.len().saturating_sub(MOST_PLACES);
    if left > 0 {
        lines.push(Line::new(Look::Detail, format!("      and {}", counted(left as u64, "other place"))));
    }
    lines
}

/// Why there are no layouts, unless a note says so already.
fn missing_layouts(snapshot: &Snapshot, whose: &str, source: &LayoutSource) -> Option<String> {
    let problem = source.problem.as_ref()?;
    let said = snapshot.notes.iter().any(|note| note.contains(problem.as_str()));
    (!said).then(|| format!("no {whose} layouts: {problem}"))
}

/// Everything that does not agree, however it was found.
pub(super) fn disagreements(snapshot: &Snapshot, style: Style) -> Vec<Line> {
    let books = snapshot.books.iter().flat_map(|books| &books.problems).cloned().collect();
    let mut kinds: Vec<Vec<String>> = vec![books, snapshot.pool_check.unfinished.clone()];
    if !snapshot.took_several() {
        kinds.extend(about_pools(snapshot));
    }
    let title = counted(snapshot.disagreements(), "disagreement");
    section(&title, &kinds.into_iter().flat_map(capped).collect::<Vec<_>>(), Look::Plain, style)
}

/// What does not agree and was read in different stops: mostly it has changed meanwhile.
pub(super) fn changes(snapshot: &Snapshot, style: Style) -> Vec<Line> {
    if !snapshot.took_several() {
        return Vec::new();
    }
    let title = format!(
        "{} about pools, which may have changed from one stop to another (--single-stop tells)",
        counted(snapshot.changed_meanwhile(), "contradiction")
    );
    let sentences: Vec<String> = about_pools(snapshot).into_iter().flat_map(capped).collect();
    section(&title, &sentences, Look::Plain, style)
}

fn about_pools(snapshot: &Snapshot) -> [Vec<String>; 2] {
    let check = &snapshot.pool_check;
    let only_by_name = check
        .only_by_name
        .iter()
        .map(|(address, path)| format!("{path} leads to {address}, which does not have the signature of a pool"));
    [check.problems.clone(), only_by_name.collect()]
}

/// The first of them, and how many more there are.
fn capped(mut sentences: Vec<String>) -> Vec<String> {
    let left = sentences.len().saturating_sub(MOST) as u64;
    sentences.truncate(MOST);
    if left > 0 {
        sentences.push(format!("and {} more (--format json has all)", human_count(left)));
    }
    sentences
}

fn section(title: &str, sentences: &[String], look: Look, style: Style) -> Vec<Line> {
    if sentences.is_empty() {
        return Vec::new();
    }
    let body = sentences.iter().flat_map(|sentence| paragraph(sentence, look, style));
    [Line::new(Look::Title, title)].into_iter().chain(body).collect()
}
