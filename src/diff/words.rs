//! The comparison in words: what a report says first.

use super::change::Change;
use super::outlook::{Forecast, Outlook};
use super::series::{Series, Steadiness};
use super::verdict::Verdict;
use super::whose::place;
use super::{Diff, Trend};
use crate::snapshot::human::{counted, human_bytes, human_count};
use crate::snapshot::model::{Snapshot, UNREACHABLE_POOL};

/// A year in seconds: what lies further ahead is not worth a figure.
const YEAR: f64 = 365.0 * 86_400.0;

/// `+118 MiB`, `−3.20 KiB`, `0 B`.
pub fn signed_bytes(bytes: i128) -> String {
    format!("{}{}", sign(bytes), human_bytes(magnitude(bytes)))
}

/// A change of a number with its noun: `+1 pool`, `−1,204 chunks`.
pub fn signed_counted(number: i128, noun: &str) -> String {
    let plural = if number.unsigned_abs() == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", signed_count(number))
}

/// `+119`, `−1,204`, `0`.
pub fn signed_count(number: i128) -> String {
    format!("{}{}", sign(number), human_count(magnitude(number)))
}

fn sign(number: i128) -> &'static str {
    match number {
        0 => "",
        ..0 => "−",
        _ => "+",
    }
}

pub(super) fn magnitude(number: i128) -> u64 {
    u64::try_from(number.unsigned_abs()).unwrap_or(u64::MAX)
}

/// Bytes per hour as bytes: `39.4 MiB`, with a sign only if it is negative.
fn hourly(rate: f64) -> String {
    let sign = if rate <= -0.5 { "−" } else { "" };
    format!("{sign}{}", human_bytes(rate.abs() as u64))
}

/// A time as people say it: `4 s`, `12 min`, `5 h 20 min`, `3 d 4 h`, `more than a year`.
pub fn duration(seconds: f64) -> String {
    if seconds.is_nan() || seconds >= YEAR {
        return "more than a year".to_owned();
    }
    let two = |large: u64, unit: &str, small: u64, sub: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {sub}"),
    };
    match seconds {
        ..0.95 => "less than a second".to_owned(),
        ..9.95 => format!("{} s", (seconds * 10.0).round() / 10.0),
        ..119.5 => format!("{} s", seconds.round()),
        _ => {
            let minutes = (seconds / 60.0).round() as u64;
            match minutes {
                0..60 => format!("{minutes} min"),
                60..2880 => two(minutes / 60, "h", minutes % 60, "min"),
                _ => two(minutes / 1440, "d", minutes / 60 % 24, "h"),
            }
        }
    }
}

/// A change beside what was: `12 % of 8.00 MiB`, `to 12 times 1.00 MiB`.
fn beside_what_was(change: Change) -> Option<String> {
    let (share, was) = (percent(change)?, human_bytes(change.old));
    Some(if share.ends_with("times") { format!("to {share} {was}") } else { format!("{share} of {was}") })
}

/// A share of what was, of something that changed: `12 %`, `0.03 %`, `<0.01 %`.
fn percent(change: Change) -> Option<String> {
    let percent = change.percent()?.abs();
    Some(match percent {
        ..0.01 => "<0.01 %".to_owned(),
        ..1.0 => format!("{percent:.2} %"),
        ..9.95 => format!("{percent:.1} %"),
        ..1000.0 => format!("{percent:.0} %"),
        _ => format!("{:.0} times", percent / 100.0 + 1.0),
    })
}

impl Diff<'_> {
    /// What changed, of what kind it is, and what comes of it: each a sentence.
    pub fn summary(&self) -> Vec<String> {
        let same = self.related.relation.is_same_process();
        let mut sentences = self.incomplete_sentence();
        sentences.push(self.in_use_sentence(same));
        sentences.extend(self.unreachable_sentence(same));
        if same {
            sentences.extend(self.verdict_sentence());
            sentences.extend(outlook_sentence(&self.outlook, self.interval.seconds));
        }
        sentences.extend(self.moved_sentences());
        sentences
    }

    /// Said first: everything after it may come of that.
    fn incomplete_sentence(&self) -> Vec<String> {
        let is_incomplete =
            |side: &Snapshot| side.source.missing > 0 || side.coverage.is_some_and(|coverage| coverage < 1.0);
        let which = match (is_incomplete(&self.old), is_incomplete(&self.new)) {
            (false, false) => return Vec::new(),
            (true, false) => "The older snapshot is",
            (false, true) => "The newer snapshot is",
            (true, true) => "Both snapshots are",
        };
        vec![format!("{which} incomplete: what is missing there looks like a change.")]
    }

    /// Pools that nobody holds any more are said however small they are.
    fn unreachable_sentence(&self, same: bool) -> Option<String> {
        let owner = self.owners.iter().find(|owner| owner.owner == UNREACHABLE_POOL)?;
        let (pools, bytes) = (owner.pools.growth(), owner.bytes.growth());
        (same && pools > 0).then(|| {
            let them = if pools == 1 { "it" } else { "them" };
            format!(
                "{} with {} can no longer be reached: nothing points to {them}, so that nobody can free {them}.",
                counted(pools, "more pool"),
                human_bytes(bytes)
            )
        })
    }

    fn in_use_sentence(&self, same: bool) -> String {
        let Some(change) = self.in_use_bytes else {
            return "What is in use cannot be compared: not both heaps were walked.".to_owned();
        };
        let (by, time) = (change.by(), self.time());
        let amount = human_bytes(magnitude(by));
        // Two processes are compared by both figures anyway.
        let share = if same { beside_what_was(change) } else { percent(change) };
        let share = share.map(|share| format!(" ({share})")).unwrap_or_default();
        let now = human_bytes(change.new);
        let clause = self.suspect_clause(by);
        match (same, by) {
            (true, 0) => format!("Nothing grew in use{time}: {now}, as before{clause}."),
            (true, 1..) => format!("In use grew by {amount}{share}{time}{}{clause}.", self.rate_words(change)),
            (true, _) => format!("In use shrank by {amount}{share}{time}, to {now}{clause}."),
            (false, 0) => format!("Both have {now} in use{clause}."),
            (false, by) => {
                let word = if by > 0 { "more" } else { "less" };
                let (new, old) = (self.new.process.pid, self.old.process.pid);
                let whose = if new == old { "the newer".to_owned() } else { format!("process {new}") };
                let before = human_bytes(change.old);
                // Which part of it is whose comes after a figure that has a colon already.
                let clause = clause.replacen(": ", "; ", 1);
                format!("In use, {whose} has {amount} {word}{share}: {now} against {before}{clause}.")
            }
        }
    }

    /// ` in 3 h`; nothing if no time is known.
    fn time(&self) -> String {
        match self.interval.seconds {
            seconds if seconds > 0.0 => format!(" in {}", duration(seconds)),
            _ => String::new(),
        }
    }

    /// Rates of a few seconds are not spoken of: nobody must take them for a trend.
    fn rate_words(&self, change: Change) -> String {
        let rate = self.interval.per_hour(change.by()).filter(|_| self.interval.foretells());
        rate.map(|rate| format!(", {} per hour", hourly(rate))).unwrap_or_default()
    }

    fn suspect_clause(&self, total: i128) -> String {
        let Some(suspect) = self.suspects.first() else { return String::new() };
        let growth = suspect.bytes.growth();
        let amount = human_bytes(growth);
        let place = place(suspect);
        match total {
            // A few bytes less elsewhere are not worth a word.
            1.. if i128::from(growth) <= total.saturating_add(total / 50) => format!(": {amount} of it {place}"),
            1.. => format!(": {amount} more {place}, less elsewhere"),
            0 => format!("; {amount} more {place}, and as much less elsewhere"),
            _ => String::new(),
        }
    }

    fn verdict_sentence(&self) -> Option<String> {
        let main = self.judgement.main();
        let grown = || main.map(|part| human_bytes(part.bytes.growth())).unwrap_or_default();
        Some(match self.judgement.verdict {
            Verdict::Nothing => "Nothing else grew either.".to_owned(),
            Verdict::InUse => "This is growth in use, not free memory that glibc keeps.".to_owned(),
            Verdict::FreeButKept => format!(
                "What grew is free memory that glibc keeps, by {}, and not what is in use: fragmentation, or a peak that \
                 has passed.",
                grown()
            ),
            Verdict::FreedAndKept => {
                format!(
                    "Of what was freed, glibc keeps {} more than before, instead of giving it back to the kernel.",
                    grown()
                )
            }
            Verdict::OutsideMalloc => format!(
                "The part of the process that grew most is not malloc's: {}, by {}.",
                main.map(|part| part.label).unwrap_or_default(),
                grown()
            ),
            Verdict::HeapOfUnknownUse => match (main, self.resident) {
                (Some(part), _) if part.kind.starts_with("glibc_own") || part.kind == "brk_heap" => {
                    format!("{} grew by {}; what of it is in use is not known.", part.label, grown())
                }
                (_, Some(resident)) => format!(
                    "All of the process in memory (RSS) {} by {}; what of it is in use is not known.",
                    if resident.by() < 0 { "shrank" } else { "grew" },
                    human_bytes(magnitude(resident.by()))
                ),
                (_, None) => "Whether the heap grew is not known.".to_owned(),
            },
        })
    }

    fn moved_sentences(&self) -> Vec<String> {
        let moved = self.pools.iter().flat_map(|pools| &pools.moved).take(3);
        moved
            .map(|moved| format!("{} went from {} to {}.", counted(moved.pools, "pool"), moved.from, moved.to))
            .collect()
    }
}

fn outlook_sentence(outlook: &Outlook, seconds: f64) -> Option<String> {
    match outlook {
        Outlook::Reaches(forecast) => Some(forecast_sentence(forecast)),
        Outlook::NotGrowing | Outlook::OtherProcess => None,
        Outlook::TooShort if seconds > 0.0 => {
            Some(format!("Over {}: too short to foretell anything.", duration(seconds)))
        }
        Outlook::TooShort => Some("The snapshots tell no time between them, so that there are no rates.".to_owned()),
        Outlook::LimitUnknown => {
            Some("No memory limit is known, so that nothing is said of when it is reached.".to_owned())
        }
    }
}

fn forecast_sentence(forecast: &Forecast) -> String {
    let limit = match (&forecast.cgroup, forecast.limit) {
        (Some(group), Some(limit)) if group.is_empty() => {
            format!("the {} limit of its control group", human_bytes(limit))
        }
        (Some(group), Some(limit)) => format!("the {} limit of {group}", human_bytes(limit)),
        _ => format!("the end of the {} that the machine has left", human_bytes(forecast.room)),
    };
    match (forecast.room, forecast.seconds) {
        (0, _) => format!("It has reached {limit}."),
        (_, seconds) if seconds >= YEAR => {
            format!("At this rate {limit} is more than a year away (this process alone).")
        }
        (_, seconds) => format!("At this rate it reaches {limit} in {} (this process alone).", duration(seconds)),
    }
}

impl Trend<'_> {
    /// How steady the growth is, and what is not in the trend: each a sentence.
    pub fn summary(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        if self.reordered {
            sentences
                .push("The snapshots were not given in the order in which they were taken; here they are.".to_owned());
        }
        let all = self.snapshots.len();
        if all > 2 && self.others > 0 {
            let left = all - self.others;
            sentences.push(match left {
                1 => format!(
                    "Only the newest of {all} snapshots shows its process: there is no trend, and the first and the last \
                     are compared."
                ),
                _ => format!(
                    "The comparison is of the last {left} of {all} snapshots: what is before them shows another process."
                ),
            });
        }
        sentences.extend(self.in_use.as_ref().map(|series| format!("In use it {}.", steadiness(series))));
        sentences
    }
}

/// `grew in 4 of 4 intervals, 1.90 MiB to 2.20 MiB per hour: steady`.
pub fn steadiness(series: &Series) -> String {
    let intervals = series.rates.len();
    let rates = match series.rate_range() {
        Some((least, most)) if hourly(least) == hourly(most) => format!(", {} per hour", hourly(least)),
        Some((least, most)) => format!(", {} to {} per hour", hourly(least), hourly(most)),
        None => String::new(),
    };
    let word = match series.steadiness {
        Steadiness::Steady => ": steady",
        Steadiness::Uneven => ": at uneven rates",
        Steadiness::NotSteady => ": not steady",
        Steadiness::NotGrowing | Steadiness::Unknown => "",
    };
    format!("grew in {} of {intervals} intervals{rates}{word}", series.grew_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_those_of_the_change() {
        assert_eq!(signed_bytes(118 << 20), "+118 MiB");
        assert_eq!(signed_bytes(-3277), "−3.20 KiB");
        assert_eq!(signed_bytes(0), "0 B");
        assert_eq!(signed_count(-1204), "−1,204");
        assert_eq!([1, -1, 2].map(|by| signed_counted(by, "pool")), ["+1 pool", "−1 pool", "+2 pools"]);
        assert_eq!(signed_bytes(i128::MIN), "−16.0 EiB");
    }

    #[test]
    fn times_are_as_precise_as_they_matter() {
        for (seconds, text) in [
            (0.2, "less than a second"),
            (4.04, "4 s"),
            (90.0, "90 s"),
            (720.0, "12 min"),
            (10_800.0, "3 h"),
            (19_200.0, "5 h 20 min"),
            (273_600.0, "3 d 4 h"),
            (f64::INFINITY, "more than a year"),
            (f64::NAN, "more than a year"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn small_shares_are_not_hidden() {
        let percent = |old, new| percent(Change::new(old, new));
        assert_eq!(percent(1_000_000, 1_000_001).unwrap(), "<0.01 %");
        assert_eq!(percent(10_000, 10_003).unwrap(), "0.03 %");
        assert_eq!(percent(100, 112).unwrap(), "12 %");
        assert_eq!(percent(1, 40).unwrap(), "40 times");
        assert_eq!(percent(0, 12), None);
        assert_eq!(beside_what_was(Change::new(1 << 20, 9 << 17)).unwrap(), "12 % of 1.00 MiB");
        assert_eq!(beside_what_was(Change::new(1 << 20, 40 << 20)).unwrap(), "to 40 times 1.00 MiB");
    }
}
