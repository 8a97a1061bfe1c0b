//! How much memory a snapshot takes of ours, told before the target is stopped.

use super::SnapshotError;
use crate::attribution::reach::{BYTES_BY_NODE, MOST_NODES};
use crate::target::limits::own_resident;

/// Bytes for each chunk: 16 for the chunk itself, one for spare room, and what is noted of who owns it.
const BY_CHUNK: u64 = 28;

/// The same for a row of its own, in a file or a list.
const BY_ROW: u64 = 28;

/// Bytes for what does not grow with the heap: caches, types, and what is found by following pointers.
const FIXED: u64 = 48 << 20;

/// What this process may take.
#[derive(Debug, Clone, Copy, Default)]
pub struct Footprint {
    /// Bytes in all; `None` for as many as it needs.
    pub limit: Option<u64>,
    /// Whether a row for every chunk is wanted.
    pub with_chunks: bool,
}

impl Footprint {
    /// Bytes that it takes at most to look at so many chunks, those that are taken already among them.
    pub fn needed(&self, chunks: u64) -> u64 {
        let by_chunk = if self.with_chunks { BY_CHUNK + BY_ROW } else { BY_CHUNK };
        own_resident() + FIXED + chunks * by_chunk
    }

    /// Of how many chunks it may be noted who points to them, of so many in all.
    pub fn most_nodes(&self, chunks: u64) -> usize {
        let left = self.limit.map(|limit| limit.saturating_sub(self.needed(chunks)) / BYTES_BY_NODE);
        left.map_or(MOST_NODES, |left| MOST_NODES.min(usize::try_from(left).unwrap_or(MOST_NODES)))
    }

    /// Refuses a heap of so many chunks of process `pid` that would take too much.
    pub fn check(&self, pid: i32, chunks: u64) -> Result<(), SnapshotError> {
        match (self.limit, self.needed(chunks)) {
            (Some(limit), needed) if needed > limit => Err(SnapshotError::MemoryLimit { pid, needed, limit }),
            _ => Ok(()),
        }
    }
}
