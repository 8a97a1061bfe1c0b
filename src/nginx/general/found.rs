//! What was found so far, each pool and chunk with the best way to it.

use super::graph::{NO_INDEX, NodeId};
use crate::addr::Addr;
use rustc_hash::FxHashMap;

/// A pointer: a member of an object, or one of its elements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pointer {
    pub(super) node: NodeId,
    pub(super) member: u32,
    pub(super) index: u32,
    /// True if a type on the way to it was inferred, or that of the pointer itself.
    pub(super) inferred: bool,
}

impl Pointer {
    /// The member of an object.
    pub(super) fn member(node: NodeId, member: u32, inferred: bool) -> Pointer {
        Pointer { node, member, index: NO_INDEX, inferred }
    }
}

/// A pool with the way to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PoolEntry {
    pub(super) pool: Addr,
    pub(super) pointer: Pointer,
    pub(super) by_container: bool,
}

/// A chunk with the way to it.
#[derive(Clone, Debug)]
pub(super) struct ChunkEntry {
    pub(super) pointer: Pointer,
    pub(super) type_name: Box<str>,
    pub(super) interior: bool,
}

/// Everything that was found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) pools: FxHashMap<u32, PoolEntry>,
    pub(super) chunks: FxHashMap<Addr, ChunkEntry>,
}

impl Found {
    /// Notes a pool. True if it is new.
    pub(super) fn pool(&mut self, index: u32, entry: PoolEntry) -> bool {
        let rank = |entry: &PoolEntry| (entry.by_container, entry.pointer.inferred);
        match self.pools.get_mut(&index) {
            Some(known) => {
                if rank(&entry) < rank(known) {
                    *known = entry;
                }
                false
            }
            None => self.pools.insert(index, entry).is_none(),
        }
    }

    /// Notes a chunk. True if it is new.
    pub(super) fn chunk(&mut self, start: Addr, entry: ChunkEntry) -> bool {
        // A pointer whose target has a name says more than `void *`.
        let is_plain = |entry: &ChunkEntry| matches!(&*entry.type_name, "void" | "char");
        let rank = |entry: &ChunkEntry| (entry.interior, entry.pointer.inferred, is_plain(entry));
        match self.chunks.get_mut(&start) {
            Some(known) => {
                if rank(&entry) < rank(known) {
                    *known = entry;
                }
                false
            }
            None => self.chunks.insert(start, entry).is_none(),
        }
    }
}
