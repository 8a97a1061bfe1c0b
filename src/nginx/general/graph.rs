//! What was visited and how it was reached, and what waits.
//!
//! Objects are visited breadth first, those that were reached without inference before all others. A step from one kind of
//! object to another, through one member, is an *edge*. An edge is followed [`FULLY`] times; if nothing was found behind
//! it by then, what it leads to waits, and is looked at without going further when nothing else is left to do. So the
//! million peers of a thousand upstreams cost as much as those of the first one, and the thousand upstreams themselves are
//! all visited as soon as one of them leads to a pool.

use super::shape::ShapeId;
use crate::addr::Addr;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::VecDeque;

/// How often an edge is followed before something is found behind it.
const FULLY: u32 = 64;

/// Most objects that wait behind one edge.
const MAX_WAITING: usize = 1 << 16;

/// An object by its place among all that were visited.
pub(super) type NodeId = u32;

/// No object: what a root was reached from.
pub(super) const NOWHERE: NodeId = u32::MAX;

/// No index: the member is not one of many.
pub(super) const NO_INDEX: u32 = u32::MAX;

/// How a member leads to an object.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum How {
    /// It is a root.
    Root,
    /// The member points to it.
    Pointer,
    /// The member points to it, and does not say what it is.
    Cast,
    /// It is an element that lies in the member's array, queue or tree.
    Element,
    /// An element points to it.
    ElementPointer,
    /// It is a module's entry of a table of configurations; the index is that of the module.
    Module,
}

/// A step from one object to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Step {
    /// Index into the members of the shape that it leads from.
    pub(super) member: u32,
    /// Which element, or [`NO_INDEX`].
    pub(super) index: u32,
    pub(super) how: How,
    /// True if the type of what it leads to is not stated anywhere.
    pub(super) inferred: bool,
}

/// An object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) address: Addr,
    pub(super) shape: ShapeId,
    pub(super) parent: NodeId,
    pub(super) step: Step,
    /// True if a step on the way to it was inferred.
    pub(super) inferred: bool,
    /// How many of the steps were.
    pub(super) guesses: u8,
    /// The module or source file that it belongs to, by its place in a list of the explorer's.
    pub(super) owner: u32,
    /// How many steps of one kind in a row led here, as along `next` in a chain.
    pub(super) row: u32,
    /// The object that the row started with.
    pub(super) row_start: NodeId,
    edge: u32,
    /// True if something was found here or behind it.
    is_productive: bool,
}

/// What an edge leads from, through and to. The last number tells uses of one type apart, such as events by their handlers.
type EdgeKey = (ShapeId, u32, How, ShapeId, u64);

#[derive(Default)]
struct Edge {
    followed: u32,
    productive: bool,
    waiting: Vec<Node>,
}

impl Node {
    fn new(address: Addr, shape: ShapeId, parent: NodeId, step: Step, owner: u32, edge: u32) -> Node {
        let (row, row_start) = (1, NOWHERE);
        let (inferred, guesses, is_productive) = (false, 0, false);
        Node { address, shape, parent, step, inferred, guesses, owner, row, row_start, edge, is_productive }
    }

    /// The same at another address: further along the chain that it is part of.
    pub(super) fn moved_to(self, address: Addr) -> Node {
        Node { address, ..self }
    }
}

/// The state of a traversal.
#[derive(Default)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    visited: FxHashMap<(Addr, ShapeId), NodeId>,
    /// Addresses of objects whose type is certain.
    certain: FxHashSet<Addr>,
    edges: Vec<Edge>,
    edge_ids: FxHashMap<EdgeKey, u32>,
    sure: VecDeque<NodeId>,
    guessed: VecDeque<NodeId>,
    /// Objects that were turned away because too many waited.
    pub(super) dropped: u64,
}

impl Graph {
    /// The objects that come next, as far as it is known by now.
    pub(super) fn upcoming(&self, most: usize) -> impl Iterator<Item = Node> {
        let queue = if self.sure.is_empty() { &self.guessed } else { &self.sure };
        queue.iter().take(most).filter_map(|id| self.node(*id))
    }

    /// Adds a root.
    pub(super) fn add_root(&mut self, address: Addr, shape: ShapeId, owner: u32) {
        let step = Step { member: 0, index: NO_INDEX, how: How::Root, inferred: false };
        self.edges.push(Edge::default());
        let edge = self.edges.len() as u32 - 1;
        self.push(Node::new(address, shape, NOWHERE, step, owner, edge));
    }

    /// Adds an object that `parent` leads to. It is visited soon, or waits if its like led to nothing.
    pub(super) fn add(&mut self, parent: NodeId, step: Step, to: (Addr, ShapeId), owner: u32, variant: u64) {
        let Some(from) = self.node(parent) else { return };
        let inferred = from.inferred || step.inferred;
        let other_type_is_certain = inferred && self.certain.contains(&to.0);
        if self.visited.contains_key(&to) || other_type_is_certain && step.inferred {
            return;
        }
        let key = (from.shape, step.member, step.how, to.1, variant);
        let edges = &mut self.edges;
        let id = *self.edge_ids.entry(key).or_insert_with(|| {
            edges.push(Edge::default());
            edges.len() as u32 - 1
        });
        let guesses = from.guesses.saturating_add(u8::from(step.inferred));
        let mut node = Node { inferred, guesses, ..Node::new(to.0, to.1, parent, step, owner, id) };
        let same = |step: Step| (step.member, step.index, step.how) == (from.step.member, NO_INDEX, How::Pointer);
        if from.shape == to.1 && same(step) {
            (node.row, node.row_start) = (from.row.saturating_add(1), from.row_start);
        }
        let Some(edge) = self.edges.get_mut(id as usize) else { return };
        if edge.productive || edge.followed < FULLY {
            edge.followed += 1;
            self.push(node);
        } else if edge.waiting.len() < MAX_WAITING {
            edge.waiting.push(node);
        } else {
            self.dropped += 1;
        }
    }

    fn push(&mut self, node: Node) {
        let id = self.nodes.len() as NodeId;
        if id == NOWHERE {
            self.dropped += 1;
            return;
        }
        if self.visited.insert((node.address, node.shape), id).is_none() {
            let row_start = if node.row == 1 { id } else { node.row_start };
            self.nodes.push(Node { row_start, ..node });
            if node.inferred {
                self.guessed.push_back(id);
            } else {
                self.certain.insert(node.address);
                self.sure.push_back(id);
            }
        }
    }

    /// The next object to visit.
    pub(super) fn next(&mut self) -> Option<NodeId> {
        self.sure.pop_front().or_else(|| self.guessed.pop_front())
    }

    /// An object.
    pub(super) fn node(&self, id: NodeId) -> Option<Node> {
        self.nodes.get(id as usize).copied()
    }

    /// Notes that something was found at an object: what waits behind the edges that led there is to be visited.
    pub(super) fn found_at(&mut self, id: NodeId) {
        let mut at = id;
        while let Some(node) = self.nodes.get_mut(at as usize).filter(|node| !node.is_productive) {
            node.is_productive = true;
            let (edge, parent) = (node.edge, node.parent);
            self.wake(edge);
            at = parent;
        }
    }

    fn wake(&mut self, edge: u32) {
        let Some(edge) = self.edges.get_mut(edge as usize).filter(|edge| !edge.productive) else { return };
        edge.productive = true;
        for node in std::mem::take(&mut edge.waiting) {
            self.push(node);
        }
    }

    /// Takes out everything that waits, to be looked at without going further.
    pub(super) fn take_waiting(&mut self) -> Vec<Node> {
        self.edges.iter_mut().flat_map(|edge| std::mem::take(&mut edge.waiting)).collect()
    }

    /// Makes one of those taken out an object, because something was found there.
    pub(super) fn admit(&mut self, node: Node) -> NodeId {
        self.wake(node.edge);
        self.push(node);
        self.visited.get(&(node.address, node.shape)).copied().unwrap_or(NOWHERE)
    }

    /// True if an object of certain type lies at exactly this address.
    pub(super) fn is_certain(&self, address: Addr) -> bool {
        self.certain.contains(&address)
    }

    /// Objects visited or about to be.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(how: How) -> Step {
        Step { member: 0, index: NO_INDEX, how, inferred: false }
    }

    fn drain(graph: &mut Graph) -> usize {
        std::iter::from_fn(|| graph.next()).count()
    }

    #[test]
    fn an_edge_that_leads_nowhere_is_followed_a_few_times() {
        let mut graph = Graph::default();
        graph.add_root(Addr(0x1000), ShapeId(0), 0);
        for index in 0..1000 {
            graph.add(0, step(How::Element), (Addr(0x2000 + index * 16), ShapeId(1)), 0, 0);
        }
        assert_eq!(drain(&mut graph), 65);
        assert_eq!(graph.take_waiting().len(), 1000 - 64);
    }

    #[test]
    fn one_find_wakes_all_that_wait() {
        let mut graph = Graph::default();
        graph.add_root(Addr(0x1000), ShapeId(0), 0);
        for index in 0..1000 {
            graph.add(0, step(How::Element), (Addr(0x2000 + index * 16), ShapeId(1)), 0, 0);
        }
        drain(&mut graph);
        graph.found_at(7);
        assert_eq!(drain(&mut graph), 1000 - 64);
        assert_eq!(graph.take_waiting().len(), 0);
    }

    #[test]
    fn an_address_of_certain_type_is_not_taken_for_another() {
        let mut graph = Graph::default();
        graph.add_root(Addr(0x1000), ShapeId(0), 0);
        graph.add(0, step(How::Pointer), (Addr(0x2000), ShapeId(1)), 0, 0);
        graph.add(0, Step { inferred: true, ..step(How::Cast) }, (Addr(0x2000), ShapeId(2)), 0, 0);
        assert_eq!(drain(&mut graph), 2);
    }
}
