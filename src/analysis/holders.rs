//! Who holds the references that keep something: a cleanup in a pool has the address of the counter that it will lower.

use crate::addr::Addr;
use crate::attribution::OwnedPool;
use crate::snapshot::holder::Holder;
use crate::snapshot::model::HexAddr;
use rustc_hash::FxHashMap;
use std::cmp::Reverse;

/// What makes holders the same: kind, name and state.
type Likeness<'a> = (&'static str, Option<&'a str>, Option<&'static str>);

/// For each set of counters those who hold their references, most references first.
pub fn of(pools: &[OwnedPool], counters: &[&[Addr]]) -> Vec<Vec<Holder>> {
    if counters.is_empty() {
        return Vec::new();
    }
    let mut set_of: FxHashMap<Addr, usize> = FxHashMap::default();
    for (number, counters) in counters.iter().enumerate() {
        set_of.extend(counters.iter().map(|counter| (*counter, number)));
    }
    let mut groups: Vec<FxHashMap<Likeness<'_>, Holder>> = vec![FxHashMap::default(); counters.len()];
    for owned in pools {
        add(owned, &set_of, &mut groups);
    }
    groups.into_iter().map(sorted).collect()
}

/// For each pool that counts its references those who hold them, by the address of that pool and in the order of addresses.
pub fn of_each(pools: &[OwnedPool]) -> Vec<(Addr, Vec<Holder>)> {
    let counter = |owned: &OwnedPool| Some((owned.pool.address, [owned.named.as_ref()?.reference_counter?]));
    let counted: Vec<(Addr, [Addr; 1])> = pools.iter().filter_map(counter).collect();
    let counters: Vec<&[Addr]> = counted.iter().map(|(_, counter)| counter.as_slice()).collect();
    let mut each: Vec<(Addr, Vec<Holder>)> = counted.iter().map(|(pool, _)| *pool).zip(of(pools, &counters)).collect();
    each.sort_by_key(|(pool, _)| *pool);
    each
}

/// Counts the references that one pool holds.
fn add<'a>(owned: &'a OwnedPool, set_of: &FxHashMap<Addr, usize>, groups: &mut [FxHashMap<Likeness<'a>, Holder>]) {
    // A pool that holds several references of a set is still one pool.
    let mut counted: Vec<usize> = Vec::new();
    for cleanup in owned.pool.cleanups.iter().filter(|cleanup| !cleanup.handler.is_null()) {
        let Some(number) = set_of.get(&cleanup.data).copied() else { continue };
        let Some(group) = groups.get_mut(number) else { continue };
        let holder = group.entry(likeness(owned)).or_insert_with(|| holder(owned));
        holder.references += 1;
        if !counted.contains(&number) {
            counted.push(number);
            holder.pools += 1;
            holder.oldest_ms = holder.oldest_ms.max(owned.named.as_ref().and_then(|named| named.facts.age_ms));
        }
    }
}

fn likeness(owned: &OwnedPool) -> Likeness<'_> {
    let named = owned.named.as_ref();
    (owned.kind().key, named.and_then(|named| named.name.as_deref()), named.and_then(|named| named.state))
}

fn holder(owned: &OwnedPool) -> Holder {
    let named = owned.named.as_ref();
    Holder {
        owner: owned.kind().key.to_owned(),
        label: owned.kind().label.to_owned(),
        name: named.and_then(|named| named.name.clone()),
        state: named.and_then(|named| named.state).map(str::to_owned),
        example: Some(HexAddr(owned.pool.address.0)),
        ..Holder::default()
    }
}

fn sorted(group: FxHashMap<Likeness<'_>, Holder>) -> Vec<Holder> {
    let mut holders: Vec<Holder> = group.into_values().collect();
    holders.sort_by(|a, b| {
        let key = |holder: &Holder| Reverse(holder.references);
        key(a).cmp(&key(b)).then_with(|| (&a.owner, &a.name, &a.state).cmp(&(&b.owner, &b.name, &b.state)))
    });
    holders
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::Held;
    use crate::nginx::owner::{NamedPool, OwnerFacts};
    use crate::nginx::pool::{Cleanup, Pool};
    use crate::nginx::request::REQUEST;

    fn owned(state: Option<&'static str>, age: u64, cleanups: &[(u64, u64)]) -> OwnedPool {
        let cleanup = |(handler, data): &(u64, u64)| Cleanup { handler: Addr(*handler), data: Addr(*data) };
        let pool = Pool { cleanups: cleanups.iter().map(cleanup).collect(), ..Pool::default() };
        let facts = OwnerFacts { age_ms: Some(age), ..OwnerFacts::default() };
        let plain = NamedPool::plain(Addr(0x10), &REQUEST, String::new());
        let named = state.map(|state| NamedPool { state: Some(state), facts, ..plain });
        OwnedPool { pool, named, held: Held::Unknown }
    }

    #[test]
    fn references_are_grouped_by_what_holds_them() {
        let pools = [
            owned(Some("upgraded"), 5_000, &[(1, 0x100), (1, 0x200), (7, 0x9999)]),
            owned(Some("upgraded"), 9_000, &[(1, 0x100)]),
            owned(Some("waiting for upstream"), 1_000, &[(1, 0x300), (0, 0x100)]),
            owned(None, 0, &[(1, 0x100)]),
        ];
        let (first, second) = ([Addr(0x100), Addr(0x200)], [Addr(0x300)]);
        let found = of(&pools, &[&first, &second]);
        let shown = |holders: &[Holder]| -> Vec<String> {
            let row = |h: &Holder| format!("{} of {}: {h}", h.references, h.owner);
            holders.iter().map(row).collect()
        };
        let words = [
            "3 of request: 2 HTTP requests, upgraded, oldest 9.0 s",
            "1 of unknown_pool: 1 pool without a known owner",
        ];
        assert_eq!(shown(&found[0]), words);
        assert_eq!(shown(&found[1]), ["1 of request: 1 HTTP request, waiting for upstream, 1.0 s old"]);
        assert!(of(&pools, &[]).is_empty());
    }

    #[test]
    fn each_pool_that_counts_references_has_its_own_holders() {
        let upstream = |address, counter| {
            let mut pool = owned(Some("deleting"), 0, &[]);
            pool.pool.address = Addr(address);
            pool.named.as_mut().unwrap().reference_counter = Some(Addr(counter));
            pool
        };
        let mut request = owned(Some("upgraded"), 5_000, &[(1, 0x200)]);
        request.pool.address = Addr(0x7000);
        let each = of_each(&[upstream(0x5000, 0x200), request, upstream(0x4000, 0x100)]);
        assert_eq!(each.iter().map(|(pool, _)| pool.0).collect::<Vec<_>>(), [0x4000, 0x5000]);
        assert!(each[0].1.is_empty());
        let [holder] = each[1].1.as_slice() else { panic!("{each:?}") };
        assert_eq!((holder.references, holder.example), (1, Some(HexAddr(0x7000))));
    }
}
