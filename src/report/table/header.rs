//! Who was looked at, for how long it stood still, and how far the report can be trusted.

use super::percent;
use crate::malloc::seam::Seams;
use crate::report::scope::Scope;
use crate::report::style::{Line, Look, Style};
use crate::report::text::{self, keep_start};
use crate::snapshot::human::{counted, human_bytes, human_count, utc};
use crate::snapshot::model::{EXACT, FreezeInfo, IN_CHANGE, LayoutSource, ProcessInfo, Snapshot, SourceInfo};

pub(super) fn lines(snapshot: &Snapshot, style: Style) -> Vec<Line> {
    let process = &snapshot.process;
    let mut lines = vec![Line::new(
        Look::Title,
        keep_start(&style.adapt(&identity(process, style)), style.width, style.ellipsis()),
    )];
    let trust = layouts(snapshot).into_iter().chain([coverage(snapshot)]).collect();
    let groups = [facts(snapshot), stops(snapshot).into_iter().collect(), trust];
    for group in groups {
        let group: Vec<String> = group.iter().map(|phrase| style.adapt(phrase)).collect();
        let flowed = text::flow(&group, style.separator(), style.width, "  ");
        lines.extend(flowed.into_iter().map(|line| Line::new(Look::Plain, line)));
    }
    lines
}

fn identity(process: &ProcessInfo, style: Style) -> String {
    format!("{} {}{}{}", process.role, process.pid, style.separator(), process.title)
}

fn facts(snapshot: &Snapshot) -> Vec<String> {
    let process = &snapshot.process;
    let mut facts: Vec<String> = process.server.iter().cloned().collect();
    facts.push(match &process.allocator_version {
        Some(version) => format!("{} {version}", process.allocator),
        None => process.allocator.clone(),
    });
    if process.threads > 0 {
        facts.push(counted(process.threads as u64, "thread"));
    }
    facts.extend(process.age_seconds.map(|seconds| format!("up {}", age(seconds))));
    facts.extend(process.resident.map(|bytes| format!("RSS {}", human_bytes(bytes))));
    facts.push(match (&snapshot.freeze, core(&snapshot.source)) {
        (_, Some(core)) => core,
        (Some(stop), None) => freeze(stop, process.server.is_some()),
        (None, None) => "not frozen".to_owned(),
    });
    facts.extend((snapshot.taken_at > 0.0).then(|| format!("taken {}", utc(snapshot.taken_at as u64))));
    facts
}

/// Where the memory was read, if that was a core.
fn core(source: &SourceInfo) -> Option<String> {
    let file = source.file.as_ref().filter(|_| source.kind == "core")?;
    let ended = source.signal.map(|signal| format!("ended by {}", signal_name(signal)));
    let cut = (source.missing > 0).then(|| format!("cut off: {} missing", human_bytes(source.missing)));
    let remarks: Vec<String> = ended.into_iter().chain(cut).collect();
    Some(match remarks.is_empty() {
        true => format!("core {file}"),
        false => format!("core {file} ({})", remarks.join(", ")),
    })
}

/// `SIGSEGV`, or `signal 35` for those without a name.
fn signal_name(signal: i32) -> String {
    let known = nix::sys::signal::Signal::try_from(signal);
    known.map_or_else(|_| format!("signal {signal}"), |signal| signal.as_str().to_owned())
}

fn freeze(freeze: &FreezeInfo, has_events: bool) -> String {
    let place = match freeze.place.as_str() {
        "between_events" if !has_events => "waiting in the kernel".to_owned(),
        place => place.replace('_', " "),
    };
    let place = match freeze.unused_stops {
        0 => place,
        tries => format!("{place}, after {} elsewhere{}", counted(u64::from(tries), "stop"), sum_beside(freeze)),
    };
    let asked = freeze.max_pause_microseconds.filter(|asked| *asked < freeze.pause_microseconds);
    let longer = asked.map(|asked| format!(", longer than the {} asked for", duration(asked))).unwrap_or_default();
    let consistency = match freeze.consistency.as_str() {
        EXACT => ", exact",
        IN_CHANGE => ", malloc may have had something half done",
        _ => "",
    };
    match freeze.stops {
        0 => "not frozen".to_owned(),
        1 => format!("frozen {} ({place}){consistency}{longer}", duration(freeze.pause_microseconds)),
        stops => format!("frozen {stops} times, at most {} ({place}){longer}", duration(freeze.pause_microseconds)),
    }
}

/// How long all stops took together, if one is told as the only one that was of use; of several it is told with what they mean.
fn sum_beside(freeze: &FreezeInfo) -> String {
    match freeze.stops {
        1 => format!(", {} in all", duration(freeze.sum_microseconds)),
        _ => String::new(),
    }
}

/// What several stops mean for what is shown; nothing of a single one.
fn stops(snapshot: &Snapshot) -> Option<String> {
    let freeze = snapshot.freeze.as_ref().filter(|freeze| freeze.stops > 1)?;
    let Seams { chunks, changed, .. } = freeze.seams;
    let changed = match (chunks, changed) {
        (0, _) => String::new(),
        (_, 0) => format!(", and {} that were read twice had not changed", counted(chunks, "chunk")),
        _ => format!(", and of {} that were read twice {} had changed", counted(chunks, "chunk"), human_count(changed)),
    };
    Some(format!(
        "not one moment but {} within {}, {}{} in all: each part is as it was at its stop{changed} (--single-stop reads all in one)",
        freeze.stops,
        duration(freeze.elapsed_microseconds),
        duration(freeze.sum_microseconds),
        if freeze.unused_stops > 0 { " with those elsewhere" } else { "" },
    ))
}

/// Where layouts come from; those of nginx only if it is nginx.
fn layouts(snapshot: &Snapshot) -> Vec<String> {
    let is_core = snapshot.source.kind == "core";
    let glibc = format!("glibc {}", source(&snapshot.layouts.glibc, is_core));
    let nginx = &snapshot.layouts.nginx;
    let nginx = match (Scope::of(snapshot), nginx.kind.as_str()) {
        (Scope::NotNginx, _) => return vec![format!("layouts: {glibc}")],
        (Scope::PoolsOnly, "built_in") => "none (pools by the layout they have had since 0.8.1)".to_owned(),
        _ => source(nginx, is_core),
    };
    vec![format!("layouts: nginx {nginx}"), glibc]
}

fn source(source: &LayoutSource, is_core: bool) -> String {
    let verified = match source.verified_by.as_deref() {
        Some("same_file") if is_core => "of the same file",
        Some("same_file") => "of the running file",
        Some("build_id") => "build-id matches",
        Some("path") => "taken on trust",
        Some("memory") => "checked against its memory",
        Some("checksum") => "debuglink checksum matches",
        Some(other) => other,
        None => "",
    };
    match (source.kind.as_str(), verified) {
        ("none" | "", _) => "none (see Notes)".to_owned(),
        ("built_in", verified) => format!("built in ({verified})"),
        ("dwarf", "") => "DWARF".to_owned(),
        ("dwarf", verified) => format!("DWARF ({verified})"),
        (kind, "") => kind.to_owned(),
        (kind, verified) => format!("{kind} ({verified})"),
    }
}

fn coverage(snapshot: &Snapshot) -> String {
    let (Some(books), Some(coverage)) = (&snapshot.books, snapshot.coverage) else {
        return "coverage: none, the heap was not walked (see Notes)".to_owned();
    };
    let disagreements = snapshot.disagreements();
    let verdict = match (books.problems.len(), disagreements) {
        (1.., _) if snapshot.took_several() => {
            format!("{}, as some of it changed between stops (at the end)", counted(disagreements, "disagreement"))
        }
        (0, 0) => match snapshot.changed_meanwhile() {
            0 => "books reconcile".to_owned(),
            changes => format!(
                "books reconcile; {} about pools may have changed between stops (at the end)",
                counted(changes, "thing")
            ),
        },
        (0, pools) => format!("books reconcile, {} about pools (at the end)", counted(pools, "disagreement")),
        _ => format!("{} (at the end)", counted(disagreements, "disagreement")),
    };
    format!("coverage: {} of {}, {verdict}", percent::coverage(coverage), human_bytes(books.from_kernel()))
}

/// `412 µs` is written with the letter that every character set has.
fn duration(microseconds: u64) -> String {
    match microseconds {
        0..1_000 => format!("{microseconds} us"),
        1_000..10_000 => format!("{:.1} ms", microseconds as f64 / 1e3),
        10_000..1_000_000 => format!("{} ms", microseconds / 1_000),
        _ => format!("{:.2} s", microseconds as f64 / 1e6),
    }
}

fn age(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {minutes:02} min"),
        _ => format!("{days} d {hours:02}:{minutes:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::malloc::books::Books;
    use crate::snapshot::model::{CONTRADICTED, PoolCheck, SEVERAL_MOMENTS};

    #[test]
    fn only_what_is_exact_is_called_so() {
        let freeze_of = |place: &str, consistency: &str, stops| {
            let consistency = consistency.to_owned();
            let info = FreezeInfo {
                place: place.into(),
                consistency,
                stops,
                pause_microseconds: 412,
                ..FreezeInfo::default()
            };
            freeze(&info, true)
        };
        assert_eq!(freeze_of("between_events", EXACT, 1), "frozen 412 us (between events), exact");
        assert_eq!(
            freeze_of("in_user_code", IN_CHANGE, 1),
            "frozen 412 us (in user code), malloc may have had something half done"
        );
        assert_eq!(freeze_of("between_events", CONTRADICTED, 1), "frozen 412 us (between events)");
        assert_eq!(freeze_of("between_events", SEVERAL_MOMENTS, 4), "frozen 4 times, at most 412 us (between events)");
        let tries = FreezeInfo { stops: 1, unused_stops: 2, sum_microseconds: 940, ..FreezeInfo::default() };
        let place = "between_events".to_owned();
        assert_eq!(
            freeze(&FreezeInfo { place, pause_microseconds: 412, ..tries }, true),
            "frozen 412 us (between events, after 2 stops elsewhere, 940 us in all)"
        );
        // Of a file from before this was told.
        assert_eq!(freeze_of("between_events", "", 1), "frozen 412 us (between events)");
    }

    #[test]
    fn what_changed_between_stops_is_no_disagreement() {
        let verdict_of = |stops| {
            let freeze = Some(FreezeInfo { stops, ..FreezeInfo::default() });
            let pool_check = PoolCheck { problems: vec!["a pool leads nowhere".to_owned()], ..PoolCheck::default() };
            let books = Some(Books::default());
            coverage(&Snapshot { freeze, pool_check, books, coverage: Some(1.0), ..Snapshot::default() })
        };
        assert_eq!(
            verdict_of(1),
            "coverage: 100.00 % of 0 B, books reconcile, 1 disagreement about pools (at the end)"
        );
        assert_eq!(
            verdict_of(3),
            "coverage: 100.00 % of 0 B, books reconcile; 1 thing about pools may have changed between stops (at the end)"
        );
    }

    #[test]
    fn durations_have_the_unit_that_suits() {
        assert_eq!(duration(412), "412 us");
        assert_eq!(duration(4_120), "4.1 ms");
        assert_eq!(duration(41_200), "41 ms");
        assert_eq!(duration(1_234_000), "1.23 s");
        assert_eq!(age(529_920), "6 d 03:12");
        assert_eq!(age(59), "59 s");
        assert_eq!(age(3_720), "1 h 02 min");
    }
}
