//! What has to be found reachable: chunks outside pools that nobody has claimed, and pools without a name.

use crate::attribution::{Attribution, Claim, TCACHE};
use crate::malloc::chunk::ChunkState;
use crate::malloc::heap::{ChunkId, Heap};

/// Something that is reachable or not as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// A chunk outside pools.
    Chunk(ChunkId),
    /// A pool without a name, by its number: all its chunks.
    Pool(u32),
}

/// Memory of a node: addresses from `start` up to `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First address.
    pub start: u64,
    /// First address past it.
    pub end: u64,
    /// Which node it belongs to.
    pub node: u32,
}

/// All nodes.
#[derive(Debug, Default)]
pub struct Nodes {
    /// By their numbers.
    pub list: Vec<Node>,
    /// Those that only a pointer to their very start holds, in order.
    pub by_start: Vec<u32>,
    /// For each pool its node; `u32::MAX` for pools with a name.
    of_pool: Vec<u32>,
}

/// What pointers in a chunk stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Nothing: the chunk is free, or malloc's own.
    Nobody,
    /// A pool with a name, which is alive.
    NamedPool,
    /// A chunk that was claimed by a typed path, which is alive.
    Claimed,
    /// A node.
    Node(u32),
    /// A chunk outside pools: the node that holds its address.
    Unclaimed,
}

impl Nodes {
    /// How many nodes a heap has.
    pub fn count(heap: &Heap, attribution: &Attribution) -> usize {
        let chunks = heap.in_use().filter(|(id, _)| attribution.claim(*id).is_none()).count();
        chunks + attribution.pools.iter().filter(|owned| owned.named.is_none()).count()
    }

    /// The nodes of a heap.
    pub fn of(heap: &Heap, attribution: &Attribution) -> Nodes {
        let mut nodes =
            Nodes { list: Vec::new(), by_start: Vec::new(), of_pool: vec![u32::MAX; attribution.pools.len()] };
        for (id, _) in heap.in_use().filter(|(id, _)| attribution.claim(*id).is_none()) {
            nodes.list.push(Node::Chunk(id));
        }
        for (index, owned) in attribution.pools.iter().enumerate().filter(|(_, owned)| owned.named.is_none()) {
            if let Some(place) = nodes.of_pool.get_mut(index) {
                *place = nodes.list.len() as u32;
                nodes.list.push(Node::Pool(index as u32));
            }
            debug_assert!(!owned.pool.blocks.is_empty());
        }
        nodes
    }

    /// The node of that number.
    pub fn get(&self, node: u32) -> Option<Node> {
        self.list.get(node as usize).copied()
    }

    /// True if only a pointer to the very start of a node holds it.
    pub fn is_by_start(&self, node: u32) -> bool {
        self.by_start.binary_search(&node).is_ok()
    }

    /// The memory of the nodes that `wanted` names, in address order: as much of it as pointers may lead to.
    pub fn spans(&self, heap: &Heap, attribution: &Attribution, wanted: impl Fn(u32) -> bool) -> Vec<Span> {
        let mut spans = Vec::new();
        let mut add = |node: u32, chunk: ChunkId| {
            let start = heap.chunk(chunk).memory().0;
            let size = if self.is_by_start(node) { 1 } else { heap.usable(chunk) };
            let span = Span { start, end: start.saturating_add(size), node };
            spans.extend((span.start < span.end).then_some(span));
        };
        for (number, node) in self.list.iter().enumerate().filter(|(number, _)| wanted(*number as u32)) {
            match node {
                Node::Chunk(chunk) => add(number as u32, *chunk),
                Node::Pool(pool) => {
                    let pool = attribution.pools.get(*pool as usize).map(|owned| &owned.pool);
                    let chunks = pool.into_iter().flat_map(|pool| pool.blocks.iter().chain(&pool.large));
                    chunks.for_each(|chunk| add(number as u32, *chunk));
                }
            }
        }
        spans.sort_unstable_by_key(|span| span.start);
        // A damaged list can name a chunk twice.
        spans.dedup_by_key(|span| span.start);
        spans
    }

    /// What pointers in that chunk stand for.
    pub fn source(&self, attribution: &Attribution, chunk: ChunkId, state: ChunkState) -> Source {
        if state != ChunkState::InUse {
            return Source::Nobody;
        }
        match attribution.claim(chunk) {
            Some(Claim::Pool(pool)) => match self.of_pool.get(pool as usize) {
                Some(&node) if node != u32::MAX => Source::Node(node),
                _ => Source::NamedPool,
            },
            Some(Claim::Group(group)) => match attribution.groups.get(group as usize) {
                Some(group) if group.kind == &TCACHE => Source::Nobody,
                _ => Source::Claimed,
            },
            None => Source::Unclaimed,
        }
    }
}
