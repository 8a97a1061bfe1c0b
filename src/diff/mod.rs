//! What changed between snapshots: by owner, size and single pool, with rates, and who is behind it.
//!
//! Snapshots come from files, which may hold anything: sums stop at the largest number, and a difference never overflows.
//! Nothing here copies a pool: results refer to the two snapshots.

mod change;
mod cycle;
mod error;
mod groups;
mod matching;
mod notes;
mod outlook;
mod owners;
mod pools;
mod relation;
mod series;
mod sizes;
mod suspects;
mod totals;
mod trend;
mod verdict;
pub mod whose;
pub mod words;

pub use change::{Change, Interval};
pub use error::DiffError;
pub use groups::GroupChange;
pub use matching::{Matching, Pair};
pub use outlook::{Forecast, Outlook};
pub use owners::{ALL_POOLS, NameChange, OwnerChange};
pub use pools::{Fate, Moved, PoolChanges, Tally, Traffic};
pub use relation::{Related, Relation};
pub use series::{Pace, Series, Steadiness};
pub use sizes::BucketChange;
pub use suspects::Suspect;
pub use totals::TotalChange;
pub use trend::{OwnerSeries, Trend};
pub use verdict::{Judgement, Part, Verdict};

use crate::snapshot::model::{OwnerSummary, Snapshot};

/// Two snapshots compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Diff<'a> {
    /// The older snapshot.
    pub old: SnapshotRef<'a>,
    /// The newer snapshot.
    pub new: SnapshotRef<'a>,
    /// Whom they show.
    pub related: Related,
    /// The time between them.
    pub interval: Interval,
    /// Bytes in use; `None` if the heap of one of them was not walked.
    pub in_use_bytes: Option<Change>,
    /// Chunks in use; `None` if the heap of one of them was not walked.
    pub in_use_chunks: Option<Change>,
    /// The resident bytes of the whole process; `None` if one of them is a core.
    pub resident: Option<Change>,
    /// Where the memory is.
    pub totals: Vec<TotalChange<'a>>,
    /// What kind of growth it is.
    pub judgement: Judgement<'a>,
    /// When the memory limit is reached.
    pub outlook: Outlook,
    /// Everything in use by owner, most growth first; empty if the heap of one of them was not walked.
    pub owners: Vec<OwnerChange<'a>>,
    /// What is in use outside pools by what it is, most growth first; empty if the heap of one of them was not walked.
    pub groups: Vec<GroupChange<'a>>,
    /// What became of single pools; `None` for different processes, or if one of their heaps was not walked.
    pub pools: Option<PoolChanges<'a>>,
    /// Who grew, most growth first.
    pub suspects: Vec<Suspect<'a>>,
    /// What limits the comparison, one sentence each.
    pub notes: Vec<String>,
}

/// A snapshot that is compared. Two are equal if they are one and the same.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotRef<'a>(pub &'a Snapshot);

impl PartialEq for SnapshotRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl std::ops::Deref for SnapshotRef<'_> {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        self.0
    }
}

impl<'a> Diff<'a> {
    /// What changed from `old` to `new`. If `new` was taken first, there are no rates: [`Trend::of`] puts them in order.
    pub fn between(old: &'a Snapshot, new: &'a Snapshot) -> Diff<'a> {
        let related = Related::of(old, new);
        let interval = Interval::between(old.taken_at, new.taken_at);
        let same = related.relation.is_same_process();
        let totals = totals::total_changes(old, new, same.then_some(interval));
        let judgement = Judgement::of(&totals);
        let grown = match (judgement.verdict, totals::resident(old, new)) {
            (Verdict::Nothing | Verdict::FreedAndKept, _) => 0,
            // What is in memory is what a limit counts.
            (_, Some(resident)) => resident.by(),
            (_, None) => judgement.grew.iter().map(|part| part.bytes.by()).sum(),
        };
        let walked = knows_use(old) && knows_use(new);
        let pools = (same && walked).then(|| PoolChanges::of(old, new));
        let owners = match walked {
            true => owners::owner_changes(old, new, pools.as_ref(), interval),
            false => Vec::new(),
        };
        let groups = match walked {
            true => groups::group_changes(old, new, same.then_some(interval)),
            false => Vec::new(),
        };
        let in_use = |number: fn(&OwnerSummary) -> u64| {
            let sum = |side: &Snapshot| side.owners.iter().fold(0u64, |sum, owner| sum.saturating_add(number(owner)));
            walked.then(|| Change::new(sum(old), sum(new)))
        };
        Diff {
            old: SnapshotRef(old),
            new: SnapshotRef(new),
            interval,
            in_use_bytes: in_use(|owner| owner.bytes),
            in_use_chunks: in_use(|owner| owner.chunks),
            resident: totals::resident(old, new),
            outlook: Outlook::of(grown, interval, same, new.limits.as_ref().or(old.limits.as_ref())),
            suspects: suspects::suspects(&owners, &groups, pools.as_ref().map_or(&[], |pools| &pools.moved), new),
            notes: notes::notes(old, new),
            related,
            totals,
            judgement,
            owners,
            groups,
            pools,
        }
    }

    /// Bytes by which what is in use grew; negative if it shrank, `None` if the heap of one of them was not walked.
    pub fn growth_in_use(&self) -> Option<i128> {
        self.in_use_bytes.map(Change::by)
    }

    /// All pools of both snapshots, those that stay as one; nothing for different processes.
    pub fn pairs(&self) -> impl Iterator<Item = Pair<'a>> + use<'_, 'a> {
        let (old, new) = (self.old.0, self.new.0);
        self.pools.iter().flat_map(move |pools| pools.pairs(old, new))
    }

    /// The pools of that fate that changed most, at most `top` of them; nothing for different processes.
    pub fn largest(&self, fate: Fate, top: usize) -> Vec<Pair<'a>> {
        self.pools.as_ref().map(|pools| pools.largest(fate, top, self.old.0, self.new.0)).unwrap_or_default()
    }
}

/// True if owners of pools were looked for.
pub(crate) fn knows_owners(snapshot: &Snapshot) -> bool {
    snapshot.knows_owners()
}

/// True if the heap was walked.
pub(crate) fn knows_use(snapshot: &Snapshot) -> bool {
    snapshot.coverage.is_some() || !snapshot.owners.is_empty()
}
