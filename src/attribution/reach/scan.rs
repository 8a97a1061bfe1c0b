//! A look through memory for pointers to what is wanted, on several threads.

use super::found::Found;
use super::nodes::{Node, Nodes};
use super::rank::{Best, Rank};
use super::targets::Targets;
use super::windows::Window;
use super::worker::Worker;
use crate::addr::AddrRange;
use crate::attribution::Attribution;
use crate::malloc::heap::{ChunkId, Heap};
use crate::malloc::read::ReadPagemap;
use crate::nginx::layout::PoolLayout;
use crate::target::memory::Memory;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A look through memory.
pub struct Scan<'a> {
    /// The heap as it was.
    pub heap: &'a Heap,
    /// Whose its chunks are.
    pub attribution: &'a Attribution,
    /// All nodes.
    pub nodes: &'a Nodes,
    /// What is looked for.
    pub targets: &'a Targets,
    /// The best pointer to each node so far.
    pub best: &'a [Best],
    /// Memory as it is now.
    pub memory: &'a (dyn Memory + Sync),
    /// Which of its pages hold anything.
    pub pagemap: &'a ReadPagemap<'a>,
    /// Page size in bytes.
    pub page_size: u64,
    /// True if the first bytes of chunks are to be judged.
    pub with_marks: bool,
    /// Layout of pools, if there are any.
    pub pools: Option<&'a PoolLayout>,
    /// True if nodes that are not looked for are known to be held.
    pub others_are_held: bool,
    /// Words in chunks that lead nowhere, whatever they are: in address order.
    pub stale: &'a [AddrRange],
    /// How many nodes nothing points to so far. With none, there is nothing left to look for.
    pub open: &'a AtomicUsize,
}

impl Scan<'_> {
    /// Looks through all windows, or through as many as it takes until no node is open.
    pub fn run(&self, windows: &[Window], threads: usize, wanted: &(dyn Fn(ChunkId) -> bool + Sync)) -> Found {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut worker = Worker::new(self, wanted);
            while let Some(window) = windows.get(next.fetch_add(1, Ordering::Relaxed))
                && self.open.load(Ordering::Relaxed) > 0
            {
                worker.look(window);
            }
            worker.found
        };
        let mut found = Found::default();
        if threads < 2 || windows.len() < 8 {
            found.add(work());
            return found;
        }
        std::thread::scope(|scope| {
            // A machine short of threads is no reason to fail: the work is then done by fewer.
            let start = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
            let workers: Vec<_> = (1..threads).filter_map(start).collect();
            found.add(work());
            for worker in workers {
                match worker.join() {
                    Ok(part) => found.add(part),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
        found
    }

    /// Notes a pointer to a node.
    pub fn note(&self, node: u32, rank: Rank, at: u64) {
        if self.best.get(node as usize).is_some_and(|best| best.note(rank, at)) {
            // Nodes that are not counted are not looked for, and never come here.
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// True if that node is one of those looked for.
    pub fn looks_for(&self, node: u32) -> bool {
        let address = match self.nodes.get(node) {
            Some(Node::Chunk(chunk)) => Some(self.heap.chunk(chunk).memory().0),
            Some(Node::Pool(pool)) => self.attribution.pools.get(pool as usize).map(|owned| owned.pool.address.0),
            None => None,
        };
        address.is_some_and(|address| self.targets.at(address) == Some(node))
    }
}
