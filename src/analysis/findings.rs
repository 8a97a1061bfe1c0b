//! What stands out, drawn from the pools and the books.

use super::holders;
use super::modules::LoadedModule;
use crate::addr::Addr;
use crate::attribution::{OwnedPool, TCACHE};
use crate::nginx::dyups::{DELETING, UNREFERENCED};
use crate::nginx::owner::OwnerKind;
use crate::snapshot::finding::Finding;
use crate::snapshot::model::{OwnerSummary, Snapshot};
use std::collections::BTreeMap;

/// Outside pools, less than this share of what is in use is nothing to speak of.
const NOTABLE_PERCENT: u64 = 20;

/// Below this many bytes nothing is spoken of, whatever its share.
const NOTABLE_BYTES: u64 = 16 << 20;

/// Deleted upstreams of one name.
#[derive(Default)]
struct Generations {
    pools: u64,
    references: u64,
    bytes: u64,
    slots: Vec<u64>,
    counters: Vec<Addr>,
    block_size: u64,
}

/// What stands out, most important first.
pub fn findings(snapshot: &Snapshot, pools: &[OwnedPool], binary: &LoadedModule) -> Vec<Finding> {
    let mut findings = deleted_upstreams(pools, binary);
    findings.extend(shutting_down(snapshot, pools));
    findings.extend(large_pool(snapshot, pools));
    // Where no owner was looked for, that none was found says nothing.
    if snapshot.layouts.nginx.kind == "dwarf" {
        findings.extend(pools_without_owner(&snapshot.owners));
    }
    findings.extend(outside_pools(snapshot));
    findings.extend(free_but_kept(snapshot));
    findings
}

fn generations(pools: &[OwnedPool], kind: &'static OwnerKind) -> Vec<(String, Generations)> {
    let mut by_name: BTreeMap<String, Generations> = BTreeMap::new();
    for owned in pools {
        let Some(named) = owned.named.as_ref().filter(|named| named.kind == kind) else { continue };
        let entry = by_name.entry(named.name.clone().unwrap_or_default()).or_default();
        entry.pools += 1;
        entry.references += named.references.unwrap_or(0);
        entry.bytes += owned.pool.bytes();
        entry.slots.extend(named.slot);
        entry.counters.extend(named.reference_counter);
        entry.block_size = owned.pool.block_size;
    }
    let mut sorted: Vec<_> = by_name.into_iter().collect();
    sorted.sort_by_key(|(_, generations)| std::cmp::Reverse(generations.bytes));
    sorted
}

fn deleted_upstreams(pools: &[OwnedPool], binary: &LoadedModule) -> Vec<Finding> {
    let mut findings = Vec::new();
    let deleting = generations(pools, &DELETING);
    let counters: Vec<&[Addr]> = deleting.iter().map(|(_, found)| found.counters.as_slice()).collect();
    let holders = holders::of(pools, &counters);
    for ((upstream, mut found), holders) in deleting.into_iter().zip(holders) {
        let explained = holders.iter().map(|holder| holder.references).sum();
        findings.push(Finding::DeletedButReferenced {
            unexplained: found.references.saturating_sub(explained),
            holders,
            upstream,
            pools: found.pools,
            references: found.references,
            bytes: found.bytes,
            path: format!("dy_upstreams[{}].ref", ranges(&mut found.slots)),
            created_at: created_at(binary, &DELETING, found.block_size),
        });
    }
    for (upstream, mut found) in generations(pools, &UNREFERENCED) {
        findings.push(Finding::DeletedAndUnreferenced {
            upstream,
            pools: found.pools,
            bytes: found.bytes,
            path: format!("dy_upstreams[{}].ref", ranges(&mut found.slots)),
        });
    }
    findings
}

/// The source line that creates pools of that size: the call of `ngx_create_pool` with it as a constant argument, in one
/// of the files of the owner's module. More than one such call is no answer.
fn created_at(binary: &LoadedModule, kind: &OwnerKind, block_size: u64) -> Option<String> {
    let sites = binary.debug.call_sites("ngx_create_pool", None).ok()?;
    let mut places = sites.iter().filter(|site| site.arguments.first() == Some(&Some(block_size))).filter_map(|site| {
        let file = site.source.file.as_ref()?.file_name()?.to_string_lossy().into_owned();
        let line = site.source.line?;
        let in_unit = kind.unit.is_some_and(|unit| file.contains(unit));
        in_unit.then(|| match &site.source.function {
            Some(function) => format!("{file}:{line} ({function})"),
            None => format!("{file}:{line}"),
        })
    });
    let first = places.next()?;
    places.next().is_none().then_some(first)
}

/// Numbers as ranges: `0..4,7`, both ends included; cut after some.
fn ranges(numbers: &mut [u64]) -> String {
    const SHOWN: usize = 6;
    numbers.sort_unstable();
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for number in numbers.iter() {
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == *number => *end = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    let shown = ranges.iter().take(SHOWN).map(|(start, end)| match start == end {
        true => start.to_string(),
        false => format!("{start}..{end}"),
    });
    let mut text = shown.collect::<Vec<_>>().join(",");
    if ranges.len() > SHOWN {
        text.push_str(",…");
    }
    text
}

/// One pool that holds much of everything: a request or connection that has lived too long, or a cycle that something
/// keeps allocating from.
fn large_pool(snapshot: &Snapshot, pools: &[OwnedPool]) -> Option<Finding> {
    let largest = pools.iter().max_by_key(|owned| owned.pool.bytes())?;
    let bytes = largest.pool.bytes();
    let is_notable = bytes >= NOTABLE_BYTES && bytes * 100 / snapshot.in_use_bytes().max(1) >= NOTABLE_PERCENT;
    is_notable.then(|| Finding::LargePool {
        address: largest.pool.address.0,
        label: largest.kind().label.to_owned(),
        bytes,
        path: largest.named.as_ref().map(|named| named.path.clone()).unwrap_or_default(),
        owner: largest.kind().key.to_owned(),
        state: largest.named.as_ref().and_then(|named| named.state).map(str::to_owned),
        age_ms: largest.named.as_ref().and_then(|named| named.facts.age_ms),
    })
}

/// A worker that a reload has told to end does so when its connections have ended.
fn shutting_down(snapshot: &Snapshot, pools: &[OwnedPool]) -> Option<Finding> {
    let clients = || pools.iter().filter(|owned| owned.kind().key == "connection");
    let ages = clients().filter_map(|owned| owned.named.as_ref()?.facts.age_ms);
    let is_kept = snapshot.process.role == "worker shutting down" && clients().next().is_some();
    is_kept.then(|| Finding::ShuttingDown {
        clients: clients().count() as u64,
        bytes: snapshot.in_use_bytes(),
        oldest_ms: ages.max(),
    })
}

fn pools_without_owner(owners: &[OwnerSummary]) -> Option<Finding> {
    let unknown = owners.iter().find(|owner| owner.owner == crate::nginx::owner::NO_KNOWN_OWNER.key)?;
    (unknown.bytes >= NOTABLE_BYTES)
        .then_some(Finding::PoolsWithoutOwner { pools: unknown.pools, bytes: unknown.bytes })
}

fn outside_pools(snapshot: &Snapshot) -> Option<Finding> {
    let has_pools = !snapshot.pools.is_empty();
    let outside = || snapshot.owners.iter().filter(|owner| owner.pools == 0 && owner.owner != TCACHE.key);
    let bytes: u64 = outside().map(|owner| owner.bytes).sum();
    let percent = bytes.saturating_mul(100) / snapshot.in_use_bytes().max(1);
    let is_notable = has_pools && bytes >= NOTABLE_BYTES && percent >= NOTABLE_PERCENT;
    is_notable.then(|| Finding::OutsidePools { chunks: outside().map(|owner| owner.chunks).sum(), bytes, percent })
}

fn free_but_kept(snapshot: &Snapshot) -> Option<Finding> {
    let row = snapshot.memory.iter().find(|row| row.kind == "glibc_free")?;
    let is_notable =
        row.size >= NOTABLE_BYTES && row.size * 100 / (row.size + snapshot.in_use_bytes()) >= NOTABLE_PERCENT;
    is_notable.then_some(Finding::FreeButKept { bytes: row.size, resident: row.resident })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_joined_to_ranges() {
        assert_eq!(ranges(&mut [3, 1, 2, 7]), "1..3,7");
        assert_eq!(ranges(&mut []), "");
        assert_eq!(ranges(&mut [0, 2, 4, 6, 8, 10, 12]), "0,2,4,6,8,10,…");
    }
}
