//! How pools were found and how their owners are known, and how much of what is in use has an owner.

use super::percent;
use crate::report::scope::Scope;
use crate::report::trust::short;
use crate::snapshot::human::{counted, human_count};
use crate::snapshot::model::{PoolCheck, Snapshot, UNKNOWN_POOL, UNREACHABLE_POOL};
use crate::snapshot::pool::Trust;

/// Every trust that leads from somewhere, best first.
const PATHS: [Trust; 4] = [Trust::TypedPath, Trust::InferredPath, Trust::BuiltInPath, Trust::Referenced];

/// One sentence for each of these, where there is something to say.
pub(super) fn sentences(snapshot: &Snapshot, scope: Scope) -> Vec<String> {
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
    [Some(ways), attributed(snapshot, scope)].into_iter().flatten().collect()
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

/// `; 480 by typed path, 12 by inferred path, 1 unreachable`. Nothing if not all pools have rows.
fn owners_by_trust(snapshot: &Snapshot) -> String {
    let pools = &snapshot.pools;
    if pools.len() as u64 != snapshot.pool_check.by_signature {
        return String::new();
    }
    let nobodys = |kind: &str| [UNKNOWN_POOL, UNREACHABLE_POOL].contains(&kind);
    let of_kind = |kind: &str| pools.iter().filter(|pool| pool.owner.kind == kind).count() as u64;
    let known = PATHS.into_iter().map(|trust| {
        let known = pools.iter().filter(|pool| pool.owner.trust == trust && !nobodys(&pool.owner.kind));
        let way = if trust == Trust::Referenced { "what points to them" } else { short(trust) };
        (known.count() as u64, format!("by {way}"))
    });
    let unknown = [(UNREACHABLE_POOL, "unreachable"), (UNKNOWN_POOL, "without a known owner")];
    let unknown = unknown.into_iter().map(|(kind, words)| (of_kind(kind), words.to_owned()));
    let counts: Vec<(u64, String)> = known.chain(unknown).filter(|(pools, _)| *pools > 0).collect();
    match counts.as_slice() {
        [] => String::new(),
        [(_, words)] => format!("; all {words}"),
        several => {
            let parts: Vec<String> =
                several.iter().map(|(pools, words)| format!("{} {words}", human_count(*pools))).collect();
            format!("; {}", parts.join(", "))
        }
    }
}

/// How much of what is in use has an owner. Without debug info nobody's was looked for.
fn attributed(snapshot: &Snapshot, scope: Scope) -> Option<String> {
    let in_use = snapshot.in_use_bytes();
    (scope == Scope::Owners && in_use > 0).then(|| {
        let share = percent::coverage(snapshot.owned_bytes() as f64 / in_use as f64);
        format!("{share} of the bytes in use have an owner")
    })
}
