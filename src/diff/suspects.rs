//! Who is behind the growth, with what the newer snapshot already knows of them.

use super::change::Change;
use super::groups::GroupChange;
use super::owners::{NameChange, OwnerChange};
use super::pools::Moved;
use super::sizes::BucketChange;
use crate::snapshot::finding::Finding;
use crate::snapshot::model::{Snapshot, UNREACHABLE_POOL};
use serde::Serialize;

/// More are not suspects but the rest.
const MOST: usize = 5;

/// An owner that grew.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Suspect<'a> {
    /// Stable name of its kind.
    pub owner: &'a str,
    /// The same for people.
    pub label: &'a str,
    /// Its name, if its pools or groups of chunks have names: each is told for itself.
    pub name: Option<&'a str>,
    /// The path to one of its chunks, or who points to that; only of groups outside pools.
    pub path: Option<&'a str>,
    /// How many pools; 0 for owners that are no pools.
    pub pools: Change,
    /// How many chunks.
    pub chunks: Change,
    /// Their bytes.
    pub bytes: Change,
    /// Bytes per hour; only within one process.
    pub per_hour: Option<f64>,
    /// Of all bytes by which owners grew, the part of this owner, from 0 to 1.
    pub share_of_growth: f64,
    /// The size that makes up most of the growth, if one does.
    pub mainly: Option<BucketChange>,
    /// What the newer snapshot says of this owner.
    pub findings: Vec<&'a Finding>,
}

/// Those that grew most, most growth first: each name of an owner for itself. `moved` are changes of state, which make one
/// kind larger and another smaller: what an owner has more by these alone is no growth.
pub(super) fn suspects<'a>(
    owners: &[OwnerChange<'a>],
    groups: &[GroupChange<'a>],
    moved: &[Moved<'_>],
    new: &'a Snapshot,
) -> Vec<Suspect<'a>> {
    let moved_to = |kind: &str| -> u64 {
        moved.iter().filter(|moved| moved.to == kind).fold(0, |sum, moved| moved.bytes.saturating_add(sum))
    };
    let mut suspects: Vec<Suspect<'a>> = Vec::new();
    for owner in owners.iter().filter(|owner| owner.bytes.growth() > moved_to(owner.owner)) {
        let Some(share) = owner.share_of_growth else { continue };
        let grown: Vec<&NameChange<'a>> = owner.names.iter().filter(|name| name.bytes.growth() > 0).collect();
        let named = |group: &&GroupChange<'a>| group.owner == owner.owner && group.bytes.growth() > 0;
        let parts: Vec<&GroupChange<'a>> = groups.iter().filter(named).collect();
        match (grown.is_empty(), parts.iter().any(|group| !group.name.is_empty())) {
            (false, _) => suspects.extend(grown.into_iter().map(|name| of_name(owner, name, share, new))),
            (true, true) => suspects.extend(parts.into_iter().map(|group| of_group(owner, group, share))),
            (true, false) => suspects.push(of_owner(owner, share, new)),
        }
    }
    // Pools that nobody can free any more are the strongest evidence there is, however small they are.
    suspects.sort_by_key(|suspect| (!suspect.is_unreachable(), std::cmp::Reverse(suspect.bytes.growth())));
    suspects.truncate(MOST);
    suspects.sort_by_key(|suspect| std::cmp::Reverse(suspect.bytes.growth()));
    suspects
}

fn of_owner<'a>(owner: &OwnerChange<'a>, share_of_growth: f64, new: &'a Snapshot) -> Suspect<'a> {
    Suspect {
        owner: owner.owner,
        label: owner.label,
        name: None,
        path: None,
        pools: owner.pools,
        chunks: owner.chunks,
        bytes: owner.bytes,
        per_hour: owner.per_hour,
        share_of_growth,
        mainly: mainly(owner, owner.bytes.growth()),
        findings: new.findings.iter().filter(|finding| is_about(finding, owner, None)).collect(),
    }
}

/// One name of an owner. Sizes are known of the whole owner only: they are told if nobody else has a part in them.
fn of_name<'a>(owner: &OwnerChange<'a>, name: &NameChange<'a>, share: f64, new: &'a Snapshot) -> Suspect<'a> {
    let (growth, of_owner) = (name.bytes.growth(), owner.bytes.growth().max(1));
    let part = growth as f64 / of_owner as f64;
    Suspect {
        owner: owner.owner,
        label: owner.label,
        name: Some(name.name),
        path: None,
        pools: name.pools,
        chunks: name.chunks,
        bytes: name.bytes,
        per_hour: owner.per_hour.map(|rate| rate * part),
        share_of_growth: (share * part).min(1.0),
        mainly: mainly(owner, growth).filter(|_| growth == of_owner),
        findings: new.findings.iter().filter(|finding| is_about(finding, owner, Some(name.name))).collect(),
    }
}

/// One group of an owner outside pools.
fn of_group<'a>(owner: &OwnerChange<'a>, group: &GroupChange<'a>, share: f64) -> Suspect<'a> {
    let (growth, of_owner) = (group.bytes.growth(), owner.bytes.growth().max(1));
    Suspect {
        owner: owner.owner,
        label: owner.label,
        name: Some(group.name).filter(|name| !name.is_empty()),
        path: Some(group.path).filter(|path| !path.is_empty()),
        pools: Change::default(),
        chunks: group.chunks,
        bytes: group.bytes,
        per_hour: group.per_hour,
        share_of_growth: (share * growth as f64 / of_owner as f64).min(1.0),
        mainly: mainly(owner, growth).filter(|_| growth == of_owner),
        findings: Vec::new(),
    }
}

impl Suspect<'_> {
    /// True if it is pools that nothing points to any more, and more of them than before.
    pub fn is_unreachable(&self) -> bool {
        self.owner == UNREACHABLE_POOL && self.pools.growth() > 0
    }
}

/// The size that makes up most of the growth, if one does.
fn mainly(owner: &OwnerChange<'_>, growth: u64) -> Option<BucketChange> {
    let largest = owner.sizes.iter().max_by_key(|bucket| bucket.bytes.growth())?;
    (largest.bytes.growth() > growth / 2).then_some(*largest)
}

/// Whether a finding speaks of that owner, and if it names one, of that name.
fn is_about(finding: &Finding, owner: &OwnerChange<'_>, name: Option<&str>) -> bool {
    match finding {
        Finding::LargePool { label, .. } => owner.label == label,
        finding => finding.is_of_kind(owner.owner, name),
    }
}
