//! Whose growth it is, in words.

use super::change::Change;
use super::suspects::Suspect;
use super::words::magnitude;
use crate::snapshot::human::{counted, group_label, human_count, with_name};

/// Where the growth of a suspect is: `in 119 more pools of dyups upstream "svc", deleted but still referenced`.
pub(super) fn place(suspect: &Suspect<'_>) -> String {
    let label = suspect_name(suspect);
    let more = magnitude(suspect.pools.by().max(0));
    match (suspect.pools.new, more) {
        (0, _) => match (suspect.label.starts_with("outside"), suspect.chunks.growth()) {
            (true, 0) => label,
            (true, more) => format!("{label}, in {} more", counted(more, "chunk")),
            (false, more @ 1..) if suspect.name.is_some() => format!("in {} of {label}", counted(more, "more chunk")),
            (false, _) => format!("in {label}"),
        },
        (pools, 0) => format!("in the {}", pools_of(pools, "", &label)),
        (_, more) => format!("in {}", pools_of(more, "more ", &label)),
    }
}

/// What a suspect is called: pools by the name of their owner, groups of chunks by their own.
pub fn suspect_name(suspect: &Suspect<'_>) -> String {
    match (suspect.pools == Change::default(), suspect.name) {
        (true, Some(name)) => group_label(suspect.label, name),
        (_, name) => named(suspect.label, name),
    }
}

/// `119 more pools of dyups upstream "svc"`, `3 request pools`, `2 more pools without a known owner`.
fn pools_of(number: u64, more: &str, label: &str) -> String {
    let count = human_count(number);
    let plural = if number == 1 { "" } else { "s" };
    match label.strip_prefix("pools").or_else(|| label.strip_prefix("pool")) {
        Some(rest) => format!("{count} {more}pool{plural}{rest}"),
        None if label.contains([',', '"']) => format!("{count} {more}pool{plural} of {label}"),
        None => format!("{count} {more}{label} pool{plural}"),
    }
}

/// The label with the name behind its first words: `dyups upstream "svc", deleted but still referenced`.
pub fn named(label: &str, name: Option<&str>) -> String {
    let Some(name) = name else { return label.to_owned() };
    match label.split_once(", ") {
        Some((first, rest)) => format!("{}, {rest}", with_name(first, name)),
        None => with_name(label, name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_are_counted_as_people_say_it() {
        assert_eq!(pools_of(3, "more ", "request"), "3 more request pools");
        assert_eq!(pools_of(1, "", "pool without a known owner"), "1 pool without a known owner");
        assert_eq!(
            pools_of(2, "more ", &named("dyups upstream, live", Some("svc"))),
            "2 more pools of dyups upstream \"svc\", live"
        );
        assert_eq!(named("request", Some("a")), "request \"a\"");
    }
}
