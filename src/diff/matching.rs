//! Which pool of the newer snapshot is which of the older: by address and by what proves that it is still the same one.
//!
//! An address alone proves nothing: nginx destroys and creates pools all the time, and malloc hands the same memory out
//! again. What a pool keeps for life is compared as far as both snapshots know it.

use crate::snapshot::model::Snapshot;
use crate::snapshot::pool::PoolRow;
use rustc_hash::FxHashMap;

/// No pool.
const NONE: u32 = u32::MAX;

/// Which pools are the same, by their indexes in both snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matching {
    /// For each pool of the newer snapshot the index of the same in the older, or [`NONE`].
    before: Vec<u32>,
    /// Pools of the older snapshot that are not in the newer.
    gone: Vec<u32>,
}

impl Matching {
    /// Matches the pools of one process.
    pub fn of(old: &Snapshot, new: &Snapshot) -> Matching {
        let rules = Rules::of(old, new);
        let mut by_address: FxHashMap<u64, u32> = FxHashMap::default();
        by_address.reserve(old.pools.len());
        for (index, pool) in (0..NONE).zip(&old.pools) {
            // A file may have two pools at one address: the first counts.
            by_address.entry(pool.address.0).or_insert(index);
        }
        let mut stays = vec![false; old.pools.len()];
        let find = |pool: &PoolRow| {
            let index = *by_address.get(&pool.address.0)?;
            let taken = stays.get_mut(index as usize)?;
            let same = !*taken && rules.are_same(old.pools.get(index as usize)?, pool);
            *taken |= same;
            same.then_some(index)
        };
        let mut find = find;
        let before = new.pools.iter().map(|pool| find(pool).unwrap_or(NONE)).collect();
        let gone = (0..NONE).zip(&stays).filter(|(_, stays)| !**stays).map(|(index, _)| index).collect();
        Matching { before, gone }
    }

    /// Pairs of pools: those of the newer snapshot in its order, each with the same one of the older if it was there; then
    /// those that are gone.
    pub fn pairs<'a>(&self, old: &'a Snapshot, new: &'a Snapshot) -> impl Iterator<Item = Pair<'a>> + use<'_, 'a> {
        let stays = new.pools.iter().zip(&self.before).map(|(pool, before)| match old.pools.get(*before as usize) {
            Some(before) => Pair::Both(before, pool),
            None => Pair::Appeared(pool),
        });
        stays.chain(self.gone.iter().filter_map(|index| old.pools.get(*index as usize)).map(Pair::Gone))
    }
}

/// A pool in both snapshots, or in one.
#[derive(Debug, Clone, Copy)]
pub enum Pair<'a> {
    /// In both: as it was, and as it is.
    Both(&'a PoolRow, &'a PoolRow),
    /// Only in the newer.
    Appeared(&'a PoolRow),
    /// Only in the older.
    Gone(&'a PoolRow),
}

/// What can be compared, which depends on what each snapshot knows.
pub(super) struct Rules {
    /// Whether both know the owners of pools.
    owners: bool,
    /// Whether both have read every pool to its end.
    whole: bool,
}

impl Rules {
    pub(super) fn of(old: &Snapshot, new: &Snapshot) -> Rules {
        let whole = |snapshot: &Snapshot| snapshot.coverage == Some(1.0) && snapshot.pool_check.problems.is_empty();
        Rules { owners: super::knows_owners(old) && super::knows_owners(new), whole: whole(old) && whole(new) }
    }

    /// Whether two pools at one address are the same pool.
    pub(super) fn are_same(&self, old: &PoolRow, new: &PoolRow) -> bool {
        old.block_size == new.block_size
            && second_blocks_agree(old, new)
            && (!self.whole || keeps_its_blocks(old, new))
            && (!self.owners || owners_agree(old, new))
    }
}

/// A second block stays the second. One that has come since proves nothing.
pub(super) fn second_blocks_agree(old: &PoolRow, new: &PoolRow) -> bool {
    old.second_block.zip(new.second_block).is_none_or(|(old, new)| old == new)
}

/// A pool gives no block back before it is destroyed (nginx ngx_palloc.c: only `ngx_destroy_pool` frees blocks).
fn keeps_its_blocks(old: &PoolRow, new: &PoolRow) -> bool {
    new.blocks >= old.blocks
}

/// The owner's number decides where both have one: nginx gives none twice in the life of a worker. Else the owner must be
/// of the same family, have the same name and place, and not have come back to life.
fn owners_agree(old: &PoolRow, new: &PoolRow) -> bool {
    if let (Some(before), Some(after)) = (old.identity, new.identity) {
        return before == after;
    }
    let names = old.owner.name.as_deref().zip(new.owner.name.as_deref());
    let same_path = old.owner.path == new.owner.path;
    let slots = old.slot.zip(new.slot).filter(|_| same_path);
    family(&old.owner.kind) == family(&new.owner.kind)
        && names.is_none_or(|(old, new)| old == new)
        && slots.is_none_or(|(old, new)| old == new)
        && !(is_deleted(old) && is_live(new))
}

/// A deleted upstream never comes back: one that lives in its place is the next.
fn is_deleted(pool: &PoolRow) -> bool {
    pool.owner.state.as_deref() == Some("deleting")
}

fn is_live(pool: &PoolRow) -> bool {
    pool.owner.state.as_deref() == Some("live")
}

/// What a kind of owner stays while its state changes: `dyups.live` and `dyups.deleting` are both `dyups`, and a cycle is
/// one also after another has replaced it. Of Lua's no kind becomes another, except a timer that has come due.
pub(super) fn family(kind: &str) -> &str {
    if kind.starts_with("lua.") {
        return kind.strip_suffix("_running").unwrap_or(kind);
    }
    let family = kind.split('.').next().unwrap_or(kind);
    family.strip_prefix("old_").unwrap_or(family)
}
