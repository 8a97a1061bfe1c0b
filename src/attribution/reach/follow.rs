//! From pointers to reachability.

use super::rank::{Best, Rank};
use crate::addr::Addr;

/// How a node is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// By a pointer outside the nodes, which stands at that address; in a register, at its number.
    Direct(Rank, Addr),
    /// By another node, which is held itself.
    Node(u32),
    /// By nothing.
    Nothing,
}

/// Nodes that others point to, by those.
#[derive(Debug, Default)]
pub struct Edges {
    /// Sorted, each once.
    sorted: Vec<(u32, u32)>,
}

impl Edges {
    /// Takes pointers between nodes, in any order.
    pub fn new(mut edges: Vec<(u32, u32)>) -> Edges {
        edges.sort_unstable();
        edges.dedup();
        Edges { sorted: edges }
    }

    /// Nodes that `node` points to.
    pub fn from(&self, node: u32) -> impl Iterator<Item = u32> {
        let first = self.sorted.partition_point(|(from, _)| *from < node);
        let rest = self.sorted.get(first..).unwrap_or_default();
        rest.iter().take_while(move |(from, _)| *from == node).map(|(_, to)| *to)
    }

    /// All of them, by source.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> {
        self.sorted.iter().copied()
    }

    /// The pointers, to add others.
    pub fn into_inner(self) -> Vec<(u32, u32)> {
        self.sorted
    }
}

/// Who holds each node: the nearest to a root, and of several equally near ones the first. What is on a stack or in a
/// register counts only for what nothing else holds.
pub fn follow(best: &[Best], edges: &Edges) -> Vec<Holder> {
    let mut holders = vec![Holder::Nothing; best.len()];
    follow_on(&mut holders, best, edges, Rank::is_lasting);
    follow_on(&mut holders, best, edges, |_| true);
    holders
}

/// The same for nodes of which that is not known yet, by pointers of the ranks that `counts` lets through.
pub fn follow_on(holders: &mut [Holder], best: &[Best], edges: &Edges, counts: impl Fn(Rank) -> bool) {
    for (best, holder) in best.iter().zip(holders.iter_mut()).filter(|(_, holder)| **holder == Holder::Nothing) {
        if let Some((rank, at)) = best.get().filter(|(rank, _)| counts(*rank)) {
            *holder = Holder::Direct(rank, at);
        }
    }
    let held = holders.iter().enumerate().filter(|(_, holder)| **holder != Holder::Nothing);
    let frontier = held.map(|(node, _)| node as u32).collect();
    spread(holders, frontier, edges);
}

/// Goes on from `frontier`, level by level.
fn spread(holders: &mut [Holder], mut frontier: Vec<u32>, edges: &Edges) {
    while !frontier.is_empty() {
        frontier.sort_unstable();
        let mut next = Vec::new();
        for node in frontier {
            for target in edges.from(node) {
                if let Some(holder) = holders.get_mut(target as usize).filter(|holder| **holder == Holder::Nothing) {
                    *holder = Holder::Node(node);
                    next.push(target);
                }
            }
        }
        frontier = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_that_nothing_leads_to_is_held_by_nothing() {
        let best: Vec<Best> = (0..6).map(|_| Best::none()).collect();
        best[0].note(Rank::Variable, 0x10);
        best[3].note(Rank::Stack, 0x20);
        let edges = Edges::new(vec![(0, 1), (1, 2), (2, 0), (0, 2), (4, 5), (5, 4), (4, 1), (3, 2)]);
        let holders = follow(&best, &edges);
        assert_eq!(holders[0], Holder::Direct(Rank::Variable, Addr(0x10)));
        assert_eq!(holders[1..3], [Holder::Node(0), Holder::Node(0)]);
        assert_eq!(holders[3], Holder::Direct(Rank::Stack, Addr(0x20)));
        assert_eq!(holders[4..], [Holder::Nothing, Holder::Nothing]);
    }
}
