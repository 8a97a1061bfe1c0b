//! What nothing holds, as what was lost and what went with it.

use crate::attribution::reach::{Edges, Holder, Reach};
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::collections::hash_map::Entry;

/// For each lost node that another lost one holds: the one at the head of it. Two that hold each other have the first of
/// them as their head.
pub fn heads(reach: &Reach) -> FxHashMap<u32, u32> {
    let is_lost = |node: &u32| reach.holders.get(*node as usize) == Some(&Some(Holder::Nothing));
    let lost: Vec<u32> = (0..reach.holders.len() as u32).filter(is_lost).collect();
    let held: Vec<u32> =
        reach.lost_edges.iter().filter(|(from, to)| is_lost(from) && from != to).map(|(_, to)| to).collect();
    let held: BTreeSet<u32> = held.into_iter().collect();
    let mut heads = FxHashMap::default();
    let free = lost.iter().filter(|node| !held.contains(node));
    // Those that nothing at all points to come first; what is left are circles.
    for head in free.chain(lost.iter()) {
        if !heads.contains_key(head) {
            spread(*head, &reach.lost_edges, &is_lost, &mut heads);
        }
    }
    heads.retain(|node, head| node != head);
    heads
}

fn spread(head: u32, edges: &Edges, is_lost: &impl Fn(&u32) -> bool, heads: &mut FxHashMap<u32, u32>) {
    let mut frontier = vec![head];
    heads.insert(head, head);
    while let Some(node) = frontier.pop() {
        for target in edges.from(node).filter(is_lost) {
            if let Entry::Vacant(place) = heads.entry(target) {
                place.insert(head);
                frontier.push(target);
            }
        }
    }
}
