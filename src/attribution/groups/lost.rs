//! What nothing holds, as what was lost and what went with it.

use super::grouper::Grouper;
use super::kinds::UNREFERENCED;
use super::local::LocalGroup;
use crate::attribution::reach::{Edges, Holder, Reach};
use crate::nginx::owner::Trust;
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

impl Grouper<'_> {
    /// What nothing points to is called by what it looks like, or by its size; what only that leads to, after it.
    pub(super) fn group_lost(&mut self) {
        let heads = heads(self.reach);
        for number in 0..self.reach.holders.len() as u32 {
            if self.holder(number) != Some(Holder::Nothing) {
                continue;
            }
            let Some(own) = self.lost_name(number) else { continue };
            let head = heads.get(&number).map(|head| self.lost_name(*head));
            let name = match head {
                None => own,
                // A lost list of equal things is that many lost things.
                Some(Some(head)) if head == own => own,
                Some(Some(head)) => format!("held by an unreferenced {head}"),
                Some(None) => "held by an unreachable pool".to_owned(),
            };
            let text = "nothing points to it".to_owned();
            let group = self.groups.number(LocalGroup::new(&UNREFERENCED, name, Trust::Signature, text, false));
            self.set(number, group);
        }
    }

    /// `None` for a pool.
    fn lost_name(&mut self, node: u32) -> Option<String> {
        let size = self.heap.chunk(self.chunk(node)?).size();
        Some(match self.mark_name(node) {
            Some((_, name)) => name,
            None => format!("chunk of {size} bytes"),
        })
    }
}
