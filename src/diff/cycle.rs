//! The pool that holds a configuration. Each reload makes another, so that it tells one configuration from the next.

use super::matching::second_blocks_agree;
use crate::snapshot::model::Snapshot;
use crate::snapshot::pool::PoolRow;

/// The pool of the cycle that a process runs.
#[derive(Clone, Copy)]
pub(super) struct CyclePool<'a>(&'a PoolRow);

/// Kind of the owner of that pool.
const CYCLE: &str = "cycle";

impl<'a> CyclePool<'a> {
    /// `None` if owners of pools are not known.
    pub(super) fn of(snapshot: &'a Snapshot) -> Option<CyclePool<'a>> {
        snapshot.pools.iter().find(|pool| pool.owner.kind == CYCLE).map(CyclePool)
    }

    /// True if both are the same, or copies of the same made by `fork`.
    pub(super) fn is(self, other: CyclePool<'_>) -> bool {
        self.0.address == other.0.address && second_blocks_agree(self.0, other.0)
    }
}
