//! Looks again for what seems to be held by nothing, until that is certain.

use super::follow::{Edges, Holder};
use super::look::Looker;
use super::marks::{HEAD, Mark, mark_of};
use super::nodes::Node;
use crate::addr::{Addr, AddrRange};
use crate::malloc::walk::PayloadVisitor;
use crate::nginx::scan::PoolScanner;
use crate::target::live::MAX_RANGES;
use rustc_hash::{FxHashSet, FxHasher};
use std::hash::Hasher;

/// How often it is looked again, at most.
const MOST_LOOKS: usize = 5;

/// So many bytes of a node are compared: its first ones.
const COMPARED: u64 = 4096;

/// What is certain.
#[derive(Debug, Default)]
pub struct Confirmed {
    /// Nodes that nothing holds, in order.
    pub lost: Vec<u32>,
    /// Pointers between nodes, of which those between lost ones are all there.
    pub edges: Edges,
    /// Bytes looked through.
    pub bytes: u64,
}

/// Confirms what seems to be lost.
pub struct Confirmer<'a> {
    /// Looks again.
    pub looker: &'a Looker<'a>,
}

/// A number for the content of a node; `None` if it is no longer there.
type Content = Option<u64>;

impl Confirmer<'_> {
    /// Looks again for `lost`, which is in order, until a look finds none of them held and none changed.
    pub fn confirm(&self, lost: Vec<u32>, changed: &[AddrRange], edges: Edges) -> Confirmed {
        let mut confirmed = Confirmed { lost, edges, bytes: 0 };
        self.drop_changed(&mut confirmed, changed, None);
        let mut before = self.contents(&confirmed.lost);
        for _ in 0..MOST_LOOKS {
            if confirmed.lost.is_empty() || !self.looker.around.wait() {
                return confirmed;
            }
            let count = confirmed.lost.len();
            let look = self.looker.full_look(&confirmed.lost);
            let after = self.contents(&confirmed.lost);
            confirmed.bytes += look.found.bytes;
            if look.found.is_partial {
                confirmed.lost.clear();
                return confirmed;
            }
            confirmed.edges = look.edges;
            let is_same = confirmed.lost.iter().zip(before.iter().zip(&after));
            let same: FxHashSet<u32> = is_same
                .filter(|(_, (before, after))| before == after && after.is_some())
                .map(|(node, _)| *node)
                .collect();
            let is_held = |node: &u32| look.holders.get(*node as usize) != Some(&Holder::Nothing);
            let dropped = confirmed.lost.iter().copied().filter(|node| is_held(node) || !same.contains(node)).collect();
            self.drop_changed(&mut confirmed, &look.found.changed, Some(dropped));
            if confirmed.lost.len() == count {
                return confirmed;
            }
            before = self.contents(&confirmed.lost);
        }
        // No two looks agreed.
        confirmed.lost.clear();
        confirmed
    }

    /// Takes out what lies where the heap has changed, what has been freed, what is to be `dropped`, and all that these
    /// point to: they may be alive.
    fn drop_changed(&self, confirmed: &mut Confirmed, changed: &[AddrRange], dropped: Option<FxHashSet<u32>>) {
        let mut alive = dropped.unwrap_or_default();
        let merged = merge(changed);
        let Some(freed) = self.freed_now(confirmed) else {
            confirmed.lost.clear();
            return;
        };
        for node in &confirmed.lost {
            let has_changed = |chunk: AddrRange| {
                let next = merged.partition_point(|range| range.end <= chunk.start);
                merged.get(next).is_some_and(|range| range.overlaps(chunk))
            };
            let is_gone = self.chunks(*node).any(|chunk| has_changed(chunk) || freed.contains(&chunk.start));
            if is_gone {
                alive.insert(*node);
            }
        }
        let mut frontier: Vec<u32> = alive.iter().copied().collect();
        while let Some(node) = frontier.pop() {
            frontier.extend(confirmed.edges.from(node).filter(|target| alive.insert(*target)));
        }
        confirmed.lost.retain(|node| !alive.contains(node));
    }

    /// Chunks that have been freed and that only lists tell from those in use. `None` if that cannot be told; where nothing
    /// is lost any more, it is not asked.
    fn freed_now(&self, confirmed: &Confirmed) -> Option<FxHashSet<Addr>> {
        match confirmed.lost.is_empty() {
            true => Some(FxHashSet::default()),
            false => Some(self.looker.around.freed_now(self.looker.heap)?.into_iter().collect()),
        }
    }

    /// Memory of the chunks of a node.
    fn chunks(&self, node: u32) -> impl Iterator<Item = AddrRange> {
        let heap = self.looker.heap;
        let (single, pool) = match self.looker.nodes.get(node) {
            Some(Node::Chunk(chunk)) => (Some(chunk), None),
            Some(Node::Pool(pool)) => (None, self.looker.attribution.pools.get(pool as usize).map(|owned| &owned.pool)),
            None => (None, None),
        };
        let of_pool = pool.into_iter().flat_map(|pool| pool.blocks.iter().chain(&pool.large)).copied();
        single.into_iter().chain(of_pool).map(|chunk| AddrRange::sized(heap.chunk(chunk).memory(), heap.usable(chunk)))
    }

    /// What each node begins with.
    fn contents(&self, nodes: &[u32]) -> Vec<Content> {
        let first = |node: &u32| {
            let range = self.chunks(*node).next().unwrap_or(AddrRange::sized(Addr::NULL, 0));
            AddrRange::sized(range.start, range.len().min(COMPARED))
        };
        let mut contents = Vec::with_capacity(nodes.len());
        for batch in nodes.chunks(MAX_RANGES) {
            let ranges: Vec<AddrRange> = batch.iter().map(first).collect();
            let mut bytes = vec![0; ranges.iter().map(|range| range.len() as usize).sum()];
            let is_whole = self.looker.around.memory().read_ranges(&ranges, &mut bytes).is_ok();
            let mut rest = bytes.as_mut_slice();
            for (node, range) in batch.iter().zip(&ranges) {
                let (own, later) = rest.split_at_mut(range.len() as usize);
                let is_there = is_whole || self.looker.around.memory().read(range.start, own).is_ok();
                contents.push(
                    (is_there && self.is_still_pool(*node, *range, own) && self.is_still_session(*node, own))
                        .then(|| number_of(own)),
                );
                rest = later;
            }
        }
        contents
    }

    /// True if a node that is a pool still begins with the header of one of that block size.
    fn is_still_pool(&self, node: u32, range: AddrRange, bytes: &[u8]) -> bool {
        let (Some(Node::Pool(pool)), Some(layout)) = (self.looker.nodes.get(node), self.looker.pools) else {
            return true;
        };
        let Some(owned) = self.looker.attribution.pools.get(pool as usize) else { return false };
        let mut scanner = PoolScanner::new(layout, self.looker.around.page_size());
        scanner.visit(range.start, owned.pool.block_size.max(range.len()), bytes);
        let block = scanner.blocks.first().filter(|_| !scanner.pools.is_empty());
        block.is_some_and(|block| block.end.0.wrapping_sub(block.start.0) == owned.pool.block_size)
    }

    /// True if a node that was taken for a session still is one.
    fn is_still_session(&self, node: u32, bytes: &[u8]) -> bool {
        if !self.looker.nodes.is_by_start(node) {
            return true;
        }
        let Some(Node::Chunk(chunk)) = self.looker.nodes.get(node) else { return false };
        let head = bytes.get(..HEAD.min(bytes.len())).unwrap_or_default();
        mark_of(head, self.looker.heap.usable(chunk)) == Some(Mark::SslSession)
    }
}

fn number_of(bytes: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(bytes);
    hasher.finish()
}

/// Ranges in address order, those that touch or overlap joined.
fn merge(ranges: &[AddrRange]) -> Vec<AddrRange> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    let mut merged: Vec<AddrRange> = Vec::new();
    for range in sorted {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_overlap_become_one() {
        let range = |start, end| AddrRange::new(Addr(start), Addr(end));
        let merged = merge(&[range(8, 9), range(1, 4), range(2, 3), range(4, 6)]);
        assert_eq!(merged, [range(1, 6), range(8, 9)]);
    }
}
