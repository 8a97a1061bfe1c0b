//! What a look has found, besides the best pointer to each node.

use super::marks::Mark;
use crate::addr::AddrRange;

/// Edges that a thread keeps, at most: 128 MiB.
const MOST_EDGES: usize = 16 << 20;

/// What a look has found.
#[derive(Debug, Default)]
pub struct Found {
    /// Pointers from one node to another.
    pub edges: Vec<(u32, u32)>,
    /// What nodes look like from their first bytes.
    pub marks: Vec<(u32, Mark)>,
    /// Where chunks are no longer as they were.
    pub changed: Vec<AddrRange>,
    /// Bytes looked through.
    pub bytes: u64,
    /// True if not all could be read, or kept.
    pub is_partial: bool,
}

impl Found {
    /// Adds what another one has found.
    pub fn add(&mut self, other: Found) {
        self.edges.extend(other.edges);
        self.marks.extend(other.marks);
        self.changed.extend(other.changed);
        self.bytes += other.bytes;
        self.is_partial |= other.is_partial;
    }

    /// Keeps memory within bounds: sorts edges and drops those that were found before. What is too much is dropped, and the
    /// look is then partial.
    pub fn limit_edges(&mut self) {
        if self.edges.len() > MOST_EDGES {
            self.edges.sort_unstable();
            self.edges.dedup();
            self.is_partial |= self.edges.len() > MOST_EDGES / 2;
            self.edges.truncate(MOST_EDGES / 2);
        }
    }
}
