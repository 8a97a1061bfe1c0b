//! The lists that hang on a pool: large allocations and cleanups.

use crate::addr::Addr;
use crate::nginx::layout::PoolLayout;
use crate::nginx::scan::PoolNote;
use crate::target::memory::{Memory, word_at};
use rustc_hash::FxHashSet;

/// More nodes than this in one list are not believed. Long-lived requests can have very long lists of large allocations,
/// because nodes whose memory was freed are reused only near the front (nginx `ngx_palloc_large`).
const MAX_NODES: usize = 4 << 20;

/// A cleanup of a pool (`ngx_pool_cleanup_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cleanup {
    /// The function that is to be called; null if it is not to be called any more.
    pub handler: Addr,
    /// What it is to be given.
    pub data: Addr,
}

/// The lists that hang on a pool, read while the target stands still.
#[derive(Debug, Clone, Default)]
pub struct PoolLists {
    /// Large allocations that are not freed.
    pub large: Vec<Addr>,
    /// Nodes whose memory was freed.
    pub large_freed: u64,
    /// Cleanups, those that were cleared included with a null handler.
    pub cleanups: Vec<Cleanup>,
    /// What was wrong with them.
    pub problem: Option<String>,
}

/// Reads the lists of a possible pool. The pool may be a dead one: every read can lead to nonsense.
pub fn read_lists(memory: &impl Memory, layout: &PoolLayout, pool: &PoolNote) -> PoolLists {
    let in_large = NodeLayout { next: layout.large_next, values: [layout.large_alloc] };
    let in_cleanup = NodeLayout { next: layout.cleanup_next, values: [layout.cleanup_handler, layout.cleanup_data] };
    let (allocations, large) = follow(memory, pool.large, in_large);
    let (found, cleanups) = follow(memory, pool.cleanup, in_cleanup);
    let mut allocations: Vec<Addr> = allocations.into_iter().map(|[alloc]| alloc).collect();
    let nodes = allocations.len();
    allocations.retain(|alloc| !alloc.is_null());
    let name = |list: &str, result: Result<(), String>| result.err().map(|problem| format!("its {list}: {problem}"));
    PoolLists {
        large_freed: (nodes - allocations.len()) as u64,
        large: allocations,
        cleanups: found.into_iter().map(|[handler, data]| Cleanup { handler, data }).collect(),
        problem: name("large allocations", large).or(name("cleanups", cleanups)),
    }
}

/// Where a list keeps what in its nodes, in bytes.
#[derive(Clone, Copy)]
struct NodeLayout<const N: usize> {
    next: u64,
    values: [u64; N],
}

impl<const N: usize> NodeLayout<N> {
    /// The values of the node at `node`, and the node after it.
    fn read(self, memory: &impl Memory, node: Addr, bytes: &mut Vec<u8>) -> Result<([Addr; N], Addr), String> {
        let last = self.values.into_iter().fold(self.next, u64::max);
        bytes.resize(last as usize + 8, 0);
        memory.read(node, bytes).map_err(|fault| fault.to_string())?;
        Ok((self.values.map(|offset| Addr(word_at(bytes, offset))), Addr(word_at(bytes, self.next))))
    }
}

/// Values of the nodes of a list, and what stopped the walk if it was not the list's end.
fn follow<const N: usize>(
    memory: &impl Memory,
    first: Addr,
    layout: NodeLayout<N>,
) -> (Vec<[Addr; N]>, Result<(), String>) {
    let mut values = Vec::new();
    let mut bytes = Vec::new();
    let mut node = first;
    // A circle comes by the same node again before twice as many steps are taken as led to it (Brent).
    let mut mark = (Addr::NULL, 1);
    while !node.is_null() {
        if node == mark.0 {
            return follow_circle(memory, first, layout);
        }
        if values.len() == mark.1 {
            mark = (node, values.len() * 2);
        }
        if values.len() >= MAX_NODES {
            return (values, Err(format!("the list does not end after {MAX_NODES} nodes")));
        }
        match layout.read(memory, node, &mut bytes) {
            Ok((value, next)) => {
                values.push(value);
                node = next;
            }
            Err(problem) => return (values, Err(problem)),
        }
    }
    (values, Ok(()))
}

/// The same for a list that is known to lead in a circle: each node counts once.
fn follow_circle<const N: usize>(
    memory: &impl Memory,
    first: Addr,
    layout: NodeLayout<N>,
) -> (Vec<[Addr; N]>, Result<(), String>) {
    let mut values = Vec::new();
    let mut bytes = Vec::new();
    let mut seen = FxHashSet::default();
    let mut node = first;
    while !node.is_null() && seen.insert(node) {
        match layout.read(memory, node, &mut bytes) {
            Ok((value, next)) => {
                values.push(value);
                node = next;
            }
            Err(problem) => return (values, Err(problem)),
        }
    }
    (values, Err(format!("the list leads in a circle, back to {node}")))
}
