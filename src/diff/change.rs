//! A number before and after, and how fast it changed.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

/// A number in the older and in the newer snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    /// In the older snapshot.
    pub old: u64,
    /// In the newer snapshot.
    pub new: u64,
}

impl Change {
    /// From `old` to `new`.
    pub fn new(old: u64, new: u64) -> Change {
        Change { old, new }
    }

    /// By how much it changed; negative if it became less. Two numbers of 64 bits always have a difference in 128.
    pub fn by(self) -> i128 {
        i128::from(self.new) - i128::from(self.old)
    }

    /// By how much it grew; 0 if it did not.
    pub fn growth(self) -> u64 {
        self.new.saturating_sub(self.old)
    }

    /// Growth in percent of what it was; `None` if it was nothing.
    pub fn percent(self) -> Option<f64> {
        (self.old > 0).then(|| self.by() as f64 * 100.0 / self.old as f64)
    }

    /// Counts another number on both sides. Files may claim anything: sums stay at the largest number there is.
    pub fn add(&mut self, other: Change) {
        self.old = self.old.saturating_add(other.old);
        self.new = self.new.saturating_add(other.new);
    }
}

impl std::iter::Sum for Change {
    fn sum<I: Iterator<Item = Change>>(changes: I) -> Change {
        changes.fold(Change::default(), |mut sum, change| {
            sum.add(change);
            sum
        })
    }
}

impl Serialize for Change {
    /// `old`, `new` and `change`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Change", 3)?;
        fields.serialize_field("old", &self.old)?;
        fields.serialize_field("new", &self.new)?;
        fields.serialize_field("change", &self.by())?;
        fields.end()
    }
}

/// The time between two snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// Seconds from the older to the newer. 0 if their times say nothing: the same time, or no time at all.
    pub seconds: f64,
}

impl Interval {
    /// What happens within a shorter time foretells nothing: a burst of requests looks like a leak.
    pub const SHORTEST_TO_FORETELL: f64 = 60.0;

    /// Between two times in seconds since 1970, of which 0 is not known. Times in files may be anything, also no number.
    pub fn between(old: f64, new: f64) -> Interval {
        let seconds = new - old;
        let are_known = old > 0.0 && new > 0.0;
        Interval { seconds: if are_known && seconds.is_finite() && seconds > 0.0 { seconds } else { 0.0 } }
    }

    /// Units per hour; `None` if no time passed.
    pub fn per_hour(self, amount: i128) -> Option<f64> {
        (self.seconds > 0.0).then(|| amount as f64 * 3600.0 / self.seconds)
    }

    /// True if it is long enough to say what comes next.
    pub fn foretells(self) -> bool {
        self.seconds >= Interval::SHORTEST_TO_FORETELL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_what_a_number_can_be_have_a_difference() {
        assert_eq!(Change::new(0, u64::MAX).by(), i128::from(u64::MAX));
        assert_eq!(Change::new(u64::MAX, 0).by(), -i128::from(u64::MAX));
        assert_eq!(Change::new(u64::MAX, 0).growth(), 0);
        let sum: Change = [Change::new(u64::MAX, 1), Change::new(5, 1)].into_iter().sum();
        assert_eq!(sum, Change::new(u64::MAX, 2));
    }

    #[test]
    fn a_rate_needs_time_to_have_passed() {
        assert_eq!(Interval::between(1000.0, 8200.0).per_hour(7200), Some(3600.0));
        assert_eq!(Interval::between(1000.0, 1000.0).per_hour(1), None);
        for (old, new) in [(f64::NAN, 1.0), (0.0, f64::INFINITY), (f64::NEG_INFINITY, 0.0), (2.0, 1.0)] {
            assert_eq!(Interval::between(old, new).seconds, 0.0);
        }
        assert!(!Interval::between(1.0, 5.0).foretells() && Interval::between(1.0, 61.0).foretells());
    }

    #[test]
    fn percent_is_of_what_was() {
        assert_eq!(Change::new(200, 210).percent(), Some(5.0));
        assert_eq!(Change::new(0, 210).percent(), None);
    }

    #[test]
    fn a_change_is_written_with_its_difference() {
        assert_eq!(serde_json::to_string(&Change::new(3, 1)).unwrap(), r#"{"old":3,"new":1,"change":-2}"#);
    }
}
