//! Who is behind the growth, with what the newer snapshot already knows of them.

use super::change::Change;
use super::owners::{NameChange, OwnerChange};
use super::sizes::BucketChange;
use crate::snapshot::finding::Finding;
use crate::snapshot::model::Snapshot;
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
    /// Its name, if pools of one name make up most of the growth.
    pub name: Option<&'a str>,
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

/// Those that grew most, most growth first.
pub(super) fn suspects<'a>(owners: &[OwnerChange<'a>], new: &'a Snapshot) -> Vec<Suspect<'a>> {
    let grew = owners.iter().filter_map(|owner| Some((owner, owner.share_of_growth?)));
    grew.take(MOST).map(|(owner, share)| suspect(owner, share, new)).collect()
}

fn suspect<'a>(owner: &OwnerChange<'a>, share_of_growth: f64, new: &'a Snapshot) -> Suspect<'a> {
    let growth = owner.bytes.growth();
    let most = |grown: u64| grown > growth / 2;
    let name = owner.names.iter().find(|name| most(name.bytes.growth()));
    let (pools, chunks, bytes) = match name {
        Some(NameChange { pools, chunks, bytes, .. }) => (*pools, *chunks, *bytes),
        None => (owner.pools, owner.chunks, owner.bytes),
    };
    let largest = owner.sizes.iter().max_by_key(|bucket| bucket.bytes.growth());
    let name = name.map(|name| name.name);
    Suspect {
        owner: owner.owner,
        label: owner.label,
        name,
        pools,
        chunks,
        bytes,
        per_hour: owner.per_hour,
        share_of_growth,
        mainly: largest.filter(|bucket| most(bucket.bytes.growth())).copied(),
        findings: new.findings.iter().filter(|finding| is_about(finding, owner, name)).collect(),
    }
}

/// Whether a finding speaks of that owner, and if it names one, of that name.
fn is_about(finding: &Finding, owner: &OwnerChange<'_>, name: Option<&str>) -> bool {
    let named = |upstream: &str| name.is_none_or(|name| name == upstream);
    match finding {
        Finding::DeletedButReferenced { upstream, .. } => owner.owner == "dyups.deleting" && named(upstream),
        Finding::DeletedAndUnreferenced { upstream, .. } => owner.owner == "dyups.unreferenced" && named(upstream),
        Finding::PoolsWithoutOwner { .. } => owner.owner == "unknown_pool",
        Finding::OutsidePools { .. } => owner.owner == "outside_pools",
        Finding::LargePool { label, .. } => owner.label == label,
        Finding::FreeButKept { .. } | Finding::Unknown => false,
    }
}
