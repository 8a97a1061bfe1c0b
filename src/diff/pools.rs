//! What became of single pools.

use super::change::Change;
use super::matching::{Matching, Pair};
use crate::snapshot::model::Snapshot;
use crate::snapshot::pool::PoolRow;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// What became of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It was not there before.
    Appeared,
    /// It is no longer there.
    Gone,
    /// It holds more bytes.
    Grown,
    /// It holds fewer bytes.
    Shrunk,
    /// It holds as many bytes.
    Unchanged,
}

impl Fate {
    /// The name used in rows.
    pub fn name(self) -> &'static str {
        match self {
            Fate::Appeared => "appeared",
            Fate::Gone => "gone",
            Fate::Grown => "grown",
            Fate::Shrunk => "shrunk",
            Fate::Unchanged => "unchanged",
        }
    }
}

impl<'a> Pair<'a> {
    /// What became of it.
    pub fn fate(self) -> Fate {
        match self {
            Pair::Appeared(_) => Fate::Appeared,
            Pair::Gone(_) => Fate::Gone,
            Pair::Both(old, new) if new.bytes() > old.bytes() => Fate::Grown,
            Pair::Both(old, new) if new.bytes() < old.bytes() => Fate::Shrunk,
            Pair::Both(..) => Fate::Unchanged,
        }
    }

    /// The pool as it is, or as it was if it is gone.
    pub fn latest(self) -> &'a PoolRow {
        match self {
            Pair::Both(_, pool) | Pair::Appeared(pool) | Pair::Gone(pool) => pool,
        }
    }

    /// A number of it in both snapshots: 0 where it is not there.
    pub fn change(self, number: impl Fn(&PoolRow) -> u64) -> Change {
        match self {
            Pair::Both(old, new) => Change::new(number(old), number(new)),
            Pair::Appeared(new) => Change::new(0, number(new)),
            Pair::Gone(old) => Change::new(number(old), 0),
        }
    }

    /// The kinds of its owner, if that changed: from, to.
    pub fn moved(self) -> Option<(&'a str, &'a str)> {
        match self {
            Pair::Both(old, new) if old.owner.kind != new.owner.kind => Some((&old.owner.kind, &new.owner.kind)),
            _ => None,
        }
    }
}

/// How many pools had which fate, with the bytes by which they changed the sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tally {
    /// How many pools.
    pub pools: u64,
    /// Bytes of chunks that they hold more (or, where negative, fewer) than before.
    pub change: i128,
}

/// Pools whose owner is another kind of the same family than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moved<'a> {
    /// Kind of the owner before.
    pub from: &'a str,
    /// Kind of the owner now.
    pub to: &'a str,
    /// How many pools.
    pub pools: u64,
    /// Their bytes now.
    pub bytes: u64,
}

/// What became of single pools of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolChanges<'a> {
    matching: Matching,
    /// How many had which fate.
    pub tallies: BTreeMap<Fate, Tally>,
    /// Changes of state, most pools first.
    pub moved: Vec<Moved<'a>>,
    /// Of each kind of owner: how many pools appeared, and how many are gone.
    pub by_kind: BTreeMap<&'a str, Traffic>,
}

/// Pools that came and went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Traffic {
    /// That were not there before.
    pub appeared: u64,
    /// That are no longer there.
    pub gone: u64,
}

impl<'a> PoolChanges<'a> {
    /// Matches the pools of one process and counts what became of them.
    pub fn of(old: &'a Snapshot, new: &'a Snapshot) -> PoolChanges<'a> {
        let matching = Matching::of(old, new);
        // A kind that one of them does not know has not changed.
        let owners_known = super::knows_owners(old) && super::knows_owners(new);
        let (mut tallies, mut by_kind) = (BTreeMap::<Fate, Tally>::new(), BTreeMap::<&str, Traffic>::new());
        let mut moved: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
        for pair in matching.pairs(old, new) {
            let tally = tallies.entry(pair.fate()).or_default();
            tally.pools += 1;
            tally.change += pair.change(PoolRow::bytes).by();
            match pair {
                Pair::Appeared(pool) => by_kind.entry(&pool.owner.kind).or_default().appeared += 1,
                Pair::Gone(pool) => by_kind.entry(&pool.owner.kind).or_default().gone += 1,
                Pair::Both(..) => {}
            }
            if let Some(kinds) = pair.moved().filter(|_| owners_known) {
                let (pools, bytes) = moved.entry(kinds).or_default();
                *pools += 1;
                *bytes = bytes.saturating_add(pair.latest().bytes());
            }
        }
        let mut moved: Vec<Moved<'_>> =
            moved.into_iter().map(|((from, to), (pools, bytes))| Moved { from, to, pools, bytes }).collect();
        moved.sort_by_key(|moved| Reverse(moved.pools));
        PoolChanges { matching, tallies, moved, by_kind }
    }

    /// How many had that fate, with the bytes.
    pub fn tally(&self, fate: Fate) -> Tally {
        self.tallies.get(&fate).copied().unwrap_or_default()
    }

    /// All pools of both snapshots, those that stay as one.
    pub fn pairs(&self, old: &'a Snapshot, new: &'a Snapshot) -> impl Iterator<Item = Pair<'a>> + use<'_, 'a> {
        self.matching.pairs(old, new)
    }

    /// Those of that fate that changed most, at most `top` of them.
    pub fn largest(&self, fate: Fate, top: usize, old: &'a Snapshot, new: &'a Snapshot) -> Vec<Pair<'a>> {
        let size = |pair: &Pair<'_>| (Reverse(pair.change(PoolRow::bytes).by().unsigned_abs()), pair.latest().address);
        let mut pairs: Vec<Pair<'_>> = self.pairs(old, new).filter(|pair| pair.fate() == fate).collect();
        if top < pairs.len() {
            pairs.select_nth_unstable_by_key(top, size);
            pairs.truncate(top);
        }
        pairs.sort_by_key(size);
        pairs
    }
}
