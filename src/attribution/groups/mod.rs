//! Groups of chunks outside pools: by what they are, by who points to them, or by nothing doing so.

mod first_word;
mod grouper;
mod index;
pub mod kinds;
mod local;
mod lost;
mod names;
mod paths;
mod told;
mod typed;
mod words;

pub use names::{Names, Place};
pub use paths::EXAMPLE;
pub use typed::TypedChunk;

use super::Attribution;
use super::reach::{Node, Reach};
use crate::malloc::heap::Heap;
use grouper::Grouper;
use local::LocalGroups;

impl Attribution {
    /// Gives chunks outside pools to groups by what `reach` has found, and notes how pools without a name are held.
    pub fn add_reach(&mut self, heap: &Heap, reach: &Reach, names: &dyn Names) {
        let mut grouper = Grouper::new(heap, self, reach, names);
        let held = grouper.run();
        let (groups, of_node) = (grouper.groups, grouper.of_node);
        for (pool, held) in held {
            if let Some(owned) = self.pools.get_mut(pool as usize) {
                owned.held = held;
            }
        }
        self.take_groups(heap, reach, groups, &of_node);
    }

    fn take_groups(&mut self, heap: &Heap, reach: &Reach, mut groups: LocalGroups, of_node: &[Option<u32>]) {
        let chunks = || {
            let grouped = reach.nodes.list.iter().zip(of_node);
            grouped.filter_map(|(node, group)| match node {
                Node::Chunk(chunk) => Some((*chunk, (*group)?)),
                Node::Pool(_) => None,
            })
        };
        for (chunk, group) in chunks() {
            groups.count(group, heap.chunk(chunk).size());
        }
        let numbers = groups.merge_small(&mut self.groups);
        for (chunk, group) in chunks() {
            if let Some(number) = numbers.get(group as usize) {
                self.claim_for_group(chunk, *number);
            }
        }
    }
}
