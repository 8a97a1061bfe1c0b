//! How pools were found and how their owners are known, and how much of what is in use has an owner.

use super::parts::Parts;
use super::percent;
use crate::report::scope::Scope;
use crate::report::trust::short;
use crate::snapshot::human::{counted, human_count};
use crate::snapshot::model::{LOST, NOBODY, PoolCheck, Snapshot, UNKNOWN_POOL, UNREACHABLE_POOL};
use crate::snapshot::pool::Trust;

/// Every trust, best first.
const TRUSTS: [Trust; 5] =
    [Trust::TypedPath, Trust::InferredPath, Trust::BuiltInPath, Trust::Referenced, Trust::Signature];

/// One sentence for each of these, where there is something to say.
pub(super) fn sentences(snapshot: &Snapshot, parts: &Parts<'_>, scope: Scope) -> Vec<String> {
    let check = &snapshot.pool_check;
    if check.by_signature == 0 && check.by_name == 0 {
        return Vec::new();
    }
    let ways = match scope {
        Scope::PoolsOnly => {
            format!("{} found by signature; without debug info there are no names", counted(check.by_signature, "pool"))
        }
        _ => two_ways(check) + &owners_by_trust(snapshot),
    };
    [Some(ways), attributed(snapshot, parts, scope)].into_iter().flatten().collect()
}

/// Whether the two ways to find pools agree.
fn two_ways(check: &PoolCheck) -> String {
    match check.by_name == check.both && check.by_signature == check.both {
        true => format!("{}: each found both by name and by signature", counted(check.both, "pool")),
        false => format!(
            "{} found by name, {} by signature, {} both ways",
            counted(check.by_name, "pool"),
            human_count(check.by_signature),
            human_count(check.both)
        ),
    }
}

/// `; owners: 480 by typed path, 12 by inferred path, 1 unreachable`. Nothing if not all pools have rows.
fn owners_by_trust(snapshot: &Snapshot) -> String {
    let pools = &snapshot.pools;
    if pools.len() as u64 != snapshot.pool_check.by_signature {
        return String::new();
    }
    let nobodys = |kind: &str| [UNKNOWN_POOL, UNREACHABLE_POOL].contains(&kind);
    let of_kind = |kind: &str| pools.iter().filter(|pool| pool.owner.kind == kind).count() as u64;
    let known = TRUSTS.into_iter().map(|trust| {
        let known = pools.iter().filter(|pool| pool.owner.trust == trust && !nobodys(&pool.owner.kind));
        (known.count() as u64, format!("by {}", way(trust)))
    });
    let unknown = [(UNREACHABLE_POOL, "unreachable"), (UNKNOWN_POOL, "without a known owner")];
    let unknown = unknown.into_iter().map(|(kind, words)| (of_kind(kind), words.to_owned()));
    let counts: Vec<(u64, String)> = known.chain(unknown).filter(|(pools, _)| *pools > 0).collect();
    match counts.as_slice() {
        [] => String::new(),
        [(_, words)] => format!("; owners: all {words}"),
        several => {
            let parts: Vec<String> =
                several.iter().map(|(pools, words)| format!("{} {words}", human_count(*pools))).collect();
            format!("; owners: {}", parts.join(", "))
        }
    }
}

/// How an owner is known, behind "by".
fn way(trust: Trust) -> &'static str {
    if trust == Trust::Referenced { "what points there" } else { short(trust) }
}

/// How much of what is in use has an owner, and how much of it is known in which way. Without debug info nobody's was looked
/// for.
fn attributed(snapshot: &Snapshot, parts: &Parts<'_>, scope: Scope) -> Option<String> {
    let in_use = snapshot.in_use_bytes();
    if scope != Scope::Owners || in_use == 0 {
        return None;
    }
    let owned = percent::coverage(snapshot.owned_bytes() as f64 / in_use as f64);
    let ways = bytes_by_trust(snapshot, parts).map(|ways| in_words(&ways, in_use)).unwrap_or_default();
    let lost = snapshot.owners.iter().filter(|owner| LOST.contains(&owner.owner.as_str()));
    let lost = match lost.fold(0u64, |sum, owner| sum.saturating_add(owner.bytes)) {
        0 => String::new(),
        lost => format!("; nothing points to {}", percent::tenths(lost, in_use)),
    };
    Some(format!("{owned} of the bytes in use have an owner{ways}{lost}"))
}

/// Bytes in use that have an owner, by how that is known. `None` if that cannot be told of all of them.
fn bytes_by_trust(snapshot: &Snapshot, parts: &Parts<'_>) -> Option<Vec<(u64, String)>> {
    let mut known = [0u64; TRUSTS.len()];
    let is_owned = |kind: &str| !NOBODY.contains(&kind) && !LOST.contains(&kind);
    for owner in snapshot.owners.iter().filter(|owner| is_owned(&owner.owner)) {
        // glibc's debug info leads to its thread caches.
        let is_of_glibc = owner.owner.starts_with("glibc.");
        let of_owner = |trust| match is_of_glibc {
            true if trust == Trust::TypedPath => owner.bytes,
            true => 0,
            false => parts.bytes(&owner.owner, trust),
        };
        let all = TRUSTS.map(of_owner);
        if all.iter().fold(0u64, |sum, bytes| sum.saturating_add(*bytes)) != owner.bytes {
            return None;
        }
        known.iter_mut().zip(all).for_each(|(sum, bytes)| *sum = sum.saturating_add(bytes));
    }
    let known = known.into_iter().zip(TRUSTS).map(|(bytes, trust)| (bytes, format!("by {}", way(trust))));
    Some(known.filter(|(bytes, _)| *bytes > 0).collect())
}

/// `: 99.2 % by typed path, 0.8 % by what points there`; `, all by typed path`. Shares too small for a figure are told together.
fn in_words(ways: &[(u64, String)], in_use: u64) -> String {
    if let [(_, way)] = ways {
        return format!(", all {way}");
    }
    let (small, large): (Vec<_>, Vec<_>) =
        ways.iter().partition(|(bytes, _)| percent::tenths(*bytes, in_use).starts_with('<'));
    let mut parts: Vec<String> =
        large.iter().map(|(bytes, way)| format!("{} {way}", percent::tenths(*bytes, in_use))).collect();
    if !small.is_empty() {
        let ways: Vec<&str> = small.iter().map(|(_, way)| way.as_str()).collect();
        let bytes = small.iter().fold(0u64, |sum, (bytes, _)| sum.saturating_add(*bytes));
        parts.push(format!("{} {}", percent::tenths(bytes, in_use), ways.join(" or ")));
    }
    if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) }
}
