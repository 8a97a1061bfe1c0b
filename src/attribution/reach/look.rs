//! Looks: one for all nodes, which says who holds each, and those that confirm what that one has missed.

use super::Surroundings;
use super::follow::{Edges, Holder, follow, follow_on};
use super::found::Found;
use super::nodes::Nodes;
use super::rank::{Best, Rank};
use super::roots::{RootKind, RootRange};
use super::scan::Scan;
use super::targets::Targets;
use super::windows::{Window, over_chunks, over_roots};
use crate::addr::AddrRange;
use crate::attribution::{Attribution, Claim};
use crate::malloc::chunk::ChunkState;
use crate::malloc::heap::{ChunkId, Heap};
use crate::nginx::layout::PoolLayout;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Pools are looked through by size, small ones first: these sizes in bytes part them.
const TIERS: [u64; 5] = [64 << 10, 256 << 10, 512 << 10, 2 << 20, u64::MAX];

/// Looks through a heap and what is around it.
pub struct Looker<'a> {
    /// The heap as it was.
    pub heap: &'a Heap,
    /// Whose its chunks are.
    pub attribution: &'a Attribution,
    /// What is looked through.
    pub around: &'a dyn Surroundings,
    /// All nodes.
    pub nodes: &'a Nodes,
    /// Layout of pools, if there are any.
    pub pools: Option<&'a PoolLayout>,
}

/// What a look has come to.
pub struct Look {
    /// Who holds each node.
    pub holders: Vec<Holder>,
    /// Pointers between nodes.
    pub edges: Edges,
    /// What else was found.
    pub found: Found,
}

/// Where a look has got to.
struct Progress {
    targets: Targets,
    best: Vec<Best>,
    others_are_held: bool,
    stale: Vec<AddrRange>,
    /// How many nodes nothing points to; more than there are if the best pointers are wanted and not just any.
    open: AtomicUsize,
    edges: Edges,
    found: Found,
}

impl Looker<'_> {
    /// Looks for all nodes: in the roots and in chunks outside pools, and in as many pools as it takes until everything is
    /// held by something.
    pub fn first_look(&self) -> Look {
        let mut progress = self.begin(None);
        if progress.targets.is_empty() {
            return self.end(progress, Vec::new());
        }
        let mut holders = vec![Holder::Nothing; progress.best.len()];
        let is_outside = |id: ChunkId| !matches!(self.attribution.claim(id), Some(Claim::Pool(_)));
        self.look_in_roots(&mut progress);
        self.look_in(&mut progress, over_chunks(self.heap, |id, _| is_outside(id)), &is_outside, true);
        let mut lower = 0;
        follow_on(&mut holders, &progress.best, &progress.edges, Rank::is_lasting);
        for upper in TIERS {
            // Who is found first stays, so that it makes no difference for whose sake others are looked at.
            let is_open = |node: u32| holders.get(node as usize) == Some(&Holder::Nothing);
            progress.targets = Targets::new(self.nodes.spans(self.heap, self.attribution, is_open));
            if progress.targets.is_empty() {
                break;
            }
            let is_in_tier = |id: ChunkId| match self.attribution.claim(id) {
                Some(Claim::Pool(pool)) => (lower..upper).contains(&self.search_order(pool)),
                _ => false,
            };
            self.look_in(&mut progress, over_chunks(self.heap, |id, _| is_in_tier(id)), &is_in_tier, false);
            follow_on(&mut holders, &progress.best, &progress.edges, Rank::is_lasting);
            lower = upper;
        }
        follow_on(&mut holders, &progress.best, &progress.edges, |_| true);
        self.end(progress, holders)
    }

    /// Looks everywhere for the nodes that are `wanted`, which is in order, until there is a pointer to each. The others count
    /// as held.
    pub fn full_look(&self, wanted: &[u32]) -> Look {
        let mut progress = self.begin(Some(wanted));
        self.look_in_roots(&mut progress);
        let windows = over_chunks(self.heap, |_, chunk| chunk.state() == ChunkState::InUse);
        self.look_in(&mut progress, windows, &|_| true, false);
        // What was taken into use meanwhile is no longer left over.
        let now = self.around.stale();
        let is_used = |range: &AddrRange| now.binary_search(range).is_err();
        let used: Vec<AddrRange> = std::mem::take(&mut progress.stale).into_iter().filter(is_used).collect();
        let used: Vec<RootRange> = used.into_iter().map(|range| RootRange { range, kind: RootKind::InChunk }).collect();
        self.look_in(&mut progress, over_roots(&used), &|_| true, false);
        let holders = follow(&progress.best, &progress.edges);
        self.end(progress, holders)
    }

    /// Begins a look for some nodes, or for all.
    fn begin(&self, wanted: Option<&[u32]>) -> Progress {
        let is_wanted = |node: u32| wanted.is_none_or(|wanted| wanted.binary_search(&node).is_ok());
        let progress = Progress {
            targets: Targets::new(self.nodes.spans(self.heap, self.attribution, is_wanted)),
            best: self.nodes.list.iter().map(|_| Best::none()).collect(),
            others_are_held: wanted.is_some(),
            stale: self.around.stale(),
            open: AtomicUsize::new(wanted.map_or(usize::MAX, <[u32]>::len)),
            edges: Edges::default(),
            found: Found::default(),
        };
        for (number, register) in self.around.registers().iter().enumerate() {
            if let Some(best) = progress.targets.led_to(*register).and_then(|node| progress.best.get(node as usize))
                && best.note(Rank::Register, number as u64)
            {
                progress.open.fetch_sub(1, Ordering::Relaxed);
            }
        }
        progress
    }

    fn look_in_roots(&self, progress: &mut Progress) {
        let roots = self.around.roots(self.heap);
        progress.found.is_partial |= !roots.is_whole;
        self.look_in(progress, over_roots(&roots.ranges), &|_| true, false);
    }

    fn look_in(
        &self,
        progress: &mut Progress,
        windows: Vec<Window>,
        wanted: &(dyn Fn(ChunkId) -> bool + Sync),
        with_marks: bool,
    ) {
        let scan = Scan {
            heap: self.heap,
            attribution: self.attribution,
            nodes: self.nodes,
            targets: &progress.targets,
            best: &progress.best,
            memory: self.around.memory(),
            pagemap: self.around.pagemap(),
            page_size: self.around.page_size(),
            with_marks,
            pools: self.pools,
            others_are_held: progress.others_are_held,
            stale: &progress.stale,
            open: &progress.open,
        };
        let mut found = scan.run(&windows, self.around.threads(), wanted);
        let mut edges = std::mem::take(&mut progress.edges).into_inner();
        edges.append(&mut found.edges);
        progress.edges = Edges::new(edges);
        progress.found.add(found);
    }

    /// When a pool's turn comes: a cycle's at once, whatever its size, because the configuration holds most of what is outside
    /// pools; the others' by their bytes.
    fn search_order(&self, pool: u32) -> u64 {
        let Some(owned) = self.attribution.pools.get(pool as usize) else { return 0 };
        let is_cycle = owned.named.as_ref().is_some_and(|named| named.kind.key == "cycle");
        if is_cycle { 0 } else { owned.pool.bytes() }
    }

    fn end(&self, progress: Progress, holders: Vec<Holder>) -> Look {
        Look { holders, edges: progress.edges, found: progress.found }
    }
}
