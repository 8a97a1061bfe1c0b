//! Several snapshots in the order of time: how fast what grows, and how steadily.

use super::series::Series;
use super::{Diff, DiffError, Related};
use crate::snapshot::model::Snapshot;
use serde::Serialize;

/// Owners beyond these have no series of their own.
const MOST_OWNERS: usize = 5;

/// Two snapshots or more.
#[derive(Debug, Clone)]
pub struct Trend<'a> {
    /// All of them, oldest first.
    pub snapshots: Vec<&'a Snapshot>,
    /// True if they were given in another order.
    pub reordered: bool,
    /// How many of the oldest show another process than the newest; the rest is the trend.
    pub others: usize,
    /// What changed over the trend: from its first snapshot to the last. If only the newest shows its process, from the
    /// first snapshot of all.
    pub overall: Diff<'a>,
    /// Bytes in use of each snapshot of the trend; `None` if there are fewer than three, or if one of their heaps was not
    /// walked.
    pub in_use: Option<Series>,
    /// Resident bytes of the whole process; `None` as above, or if one of them does not tell.
    pub resident: Option<Series>,
    /// The same by owner, those that grew most.
    pub owners: Vec<OwnerSeries<'a>>,
}

/// Bytes of one kind of owner over a trend.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OwnerSeries<'a> {
    /// Stable name of the kind.
    pub owner: &'a str,
    /// The same for people.
    pub label: &'a str,
    /// Bytes of its chunks.
    pub bytes: Series,
}

impl<'a> Trend<'a> {
    /// Compares two snapshots or more, in any order.
    ///
    /// # Errors
    /// [`DiffError`] if there are fewer than two.
    pub fn of(snapshots: impl IntoIterator<Item = &'a Snapshot>) -> Result<Trend<'a>, DiffError> {
        let mut snapshots: Vec<&Snapshot> = snapshots.into_iter().collect();
        let reordered = !snapshots.is_sorted_by(|old, new| old.taken_at.total_cmp(&new.taken_at).is_le());
        snapshots.sort_by(|old, new| old.taken_at.total_cmp(&new.taken_at));
        let (Some(first), Some(last)) = (snapshots.first().copied(), snapshots.last().copied()) else {
            return Err(DiffError::TooFew(0));
        };
        if snapshots.len() < 2 {
            return Err(DiffError::TooFew(1));
        }
        let same = |snapshot: &&&Snapshot| Related::of(snapshot, last).relation.is_same_process();
        // The newest is of its own process, whatever its identity says.
        let earlier = snapshots.iter().rev().skip(1).take_while(same).count();
        let others = snapshots.len() - 1 - earlier;
        let tail: Vec<&Snapshot> = snapshots.iter().skip(others).copied().collect();
        let start = if tail.len() > 1 { tail.first().copied().unwrap_or(first) } else { first };
        let overall = Diff::between(start, last);
        let times: Vec<f64> = tail.iter().map(|snapshot| snapshot.taken_at).collect();
        let series = |value: &dyn Fn(&Snapshot) -> Option<u64>| {
            let values: Option<Vec<u64>> = tail.iter().map(|snapshot| value(snapshot)).collect();
            values.filter(|values| values.len() > 2).map(|values| Series::of(values, &times))
        };
        let in_use = series(&|snapshot| bytes_of(snapshot, |_| true));
        let by_kind = tail.iter().all(|snapshot| super::knows_owners(snapshot) == super::knows_owners(last));
        let top = overall.owners.iter().filter(|owner| owner.bytes.by() > 0 && by_kind).take(MOST_OWNERS);
        let owners = top.filter_map(|owner| {
            let bytes = series(&|snapshot| bytes_of(snapshot, |kind| kind == owner.owner))?;
            Some(OwnerSeries { owner: owner.owner, label: owner.label, bytes })
        });
        let owners = owners.collect();
        let resident = series(&|snapshot| snapshot.process.resident);
        Ok(Trend { snapshots, reordered, others, overall, in_use, resident, owners })
    }
}

/// Bytes in use of the owners that are counted; `None` if the heap was not walked.
fn bytes_of(snapshot: &Snapshot, counts: impl Fn(&str) -> bool) -> Option<u64> {
    let owners = snapshot.owners.iter().filter(|owner| counts(&owner.owner));
    super::knows_use(snapshot).then(|| owners.fold(0, |sum: u64, owner| sum.saturating_add(owner.bytes)))
}
