//! Rows of the pools that were found.

use super::prepared::Prepared;
use crate::addr::Addr;
use crate::attribution::{Attribution, OwnedPool};
use crate::malloc::heap::Heap;
use crate::nginx::events;
use crate::nginx::owner::{NamedPool, OwnerKind};
use crate::nginx::pool::Cleanup;
use crate::snapshot::model::HexAddr;
use crate::snapshot::pool::{CleanupRow, Identity, PoolOwner, PoolRow, split_path};
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::sync::Arc;

/// A row for each pool, in their order.
pub fn rows(prepared: &Prepared, heap: &Heap, attribution: &Attribution) -> Vec<PoolRow> {
    let mut maker = RowMaker { prepared, heap, owners: FxHashMap::default(), cleanups: FxHashMap::default() };
    attribution.pools.iter().map(|owned| maker.row(owned)).collect()
}

/// Makes rows that share what they have in common.
struct RowMaker<'a> {
    prepared: &'a Prepared,
    heap: &'a Heap,
    owners: FxHashMap<PoolOwner, Arc<PoolOwner>>,
    cleanups: FxHashMap<Vec<Addr>, Arc<[CleanupRow]>>,
}

impl RowMaker<'_> {
    fn row(&mut self, owned: &OwnedPool) -> PoolRow {
        let pool = &owned.pool;
        let named = owned.named.as_ref();
        let facts = named.map(|named| &named.facts);
        let (path, slot) = split_path(owned.path());
        let owner = PoolOwner {
            kind: owned.kind().key.to_owned(),
            label: owned.kind().label.to_owned(),
            name: named.and_then(|named| named.name.clone()),
            state: named.and_then(|named| named.state).map(str::to_owned),
            trust: owned.trust(),
            path,
            protocol: facts.and_then(|facts| facts.protocol).map(str::to_owned),
            handler: facts.and_then(|facts| facts.handler).map(|handler| symbol(self.prepared, handler)),
        };
        let identity = named.and_then(|named| named.identity);
        PoolRow {
            address: HexAddr(pool.address.0),
            owner: self.shared(owner),
            slot,
            identity: identity.map(|(connection, request)| Identity { connection, request }),
            age_ms: facts.and_then(|facts| facts.age_ms),
            client: facts.and_then(|facts| facts.client.as_deref()).map(Arc::from),
            uri: facts.and_then(|facts| facts.uri.as_deref()).map(Arc::from),
            second_block: pool.blocks.get(1).map(|block| HexAddr(self.heap.chunk(*block).memory().0)),
            references: named.and_then(|named| named.references),
            block_size: pool.block_size,
            blocks: pool.blocks.len() as u64,
            large: pool.large.len() as u64,
            large_freed: pool.large_freed,
            block_bytes: pool.block_bytes,
            large_bytes: pool.large_bytes,
            used: pool.used,
            unused: pool.unused,
            lost: pool.lost,
            cleanups: self.cleanups(&pool.cleanups),
        }
    }

    fn shared(&mut self, owner: PoolOwner) -> Arc<PoolOwner> {
        match self.owners.get(&owner) {
            Some(known) => known.clone(),
            None => {
                let new = Arc::new(owner.clone());
                self.owners.insert(owner, new.clone());
                new
            }
        }
    }

    fn cleanups(&mut self, cleanups: &[Cleanup]) -> Arc<[CleanupRow]> {
        let handlers: Vec<Addr> = cleanups.iter().map(|cleanup| cleanup.handler).collect();
        if let Some(known) = self.cleanups.get(&handlers) {
            return known.clone();
        }
        let new: Arc<[CleanupRow]> = cleanup_rows(self.prepared, &handlers).into();
        self.cleanups.insert(handlers, new.clone());
        new
    }
}

fn cleanup_rows(prepared: &Prepared, handlers: &[Addr]) -> Vec<CleanupRow> {
    let mut counts: Vec<(Addr, u64)> = Vec::new();
    // A cleanup that is no longer to be run has its handler cleared.
    for handler in handlers.iter().filter(|handler| !handler.is_null()) {
        match counts.iter_mut().find(|(address, _)| address == handler) {
            Some((_, count)) => *count += 1,
            None => counts.push((*handler, 1)),
        }
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.iter().map(|(handler, count)| CleanupRow { handler: symbol(prepared, *handler), count: *count }).collect()
}

/// The function at an address, by symbol; in a file without one, by the file and how far into it.
fn symbol(prepared: &Prepared, address: Addr) -> String {
    match prepared.symbol_at(address) {
        Some((symbol, 0, _)) => symbol.name.to_string(),
        Some((symbol, offset, _)) => format!("{}+{offset:#x}", symbol.name),
        None => match prepared.modules().find(|module| module.span.contains(address)) {
            Some(module) => {
                let file = module.debug.path().file_name().unwrap_or_default().to_string_lossy();
                format!("{file}+{:#x}", module.bias.to_file(address).0)
            }
            None => address.to_string(),
        },
    }
}

/// Names the owners that are told apart by nothing but the function that they wait for.
pub fn name_by_handler(prepared: &Prepared, named: &mut [NamedPool]) {
    const KINDS: [&OwnerKind; 2] = [&events::TIMER, &events::POSTED];
    let mut known: FxHashMap<Addr, String> = FxHashMap::default();
    for named in named.iter_mut().filter(|named| named.name.is_none() && KINDS.contains(&named.kind)) {
        let name = named.facts.handler.map(|handler| known.entry(handler).or_insert_with(|| symbol(prepared, handler)));
        named.name = name.cloned();
    }
}

/// Puts the largest pools first. Gives back the new place of each.
pub fn sort(pools: &mut [PoolRow]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..pools.len() as u32).collect();
    order.sort_by_key(|index| pools.get(*index as usize).map(|pool| (Reverse(pool.bytes()), pool.address)));
    let mut place = vec![0; order.len()];
    for (new, old) in order.iter().enumerate() {
        place[*old as usize] = new as u32;
    }
    pools.sort_by_key(|pool| (Reverse(pool.bytes()), pool.address));
    place
}
