//! Who holds what: a conservative mark over the process's memory, as a leak checker makes it.
//!
//! Every aligned word of the roots, of pools with a name and of other chunks in use that is an address within a chunk counts
//! as a pointer to it; of an `SSL_SESSION` only its start does. What no such chain leads to is held by nothing. While the process runs, pointers move under our eyes:
//! what seems to be held by nothing is looked for again, and again, until two looks agree; and memory that nobody can reach
//! cannot change, so that what has changed between two looks is not believed to be lost.

mod confirm;
mod follow;
mod marks;
mod nodes;
mod roots;
mod scan;
mod sessions;
mod targets;
#[cfg(test)]
mod tests;
mod windows;

pub use follow::{Edges, Holder};
pub use marks::Mark;
pub use nodes::{Node, Nodes};
pub use roots::{Layout, RootKind, RootRange, roots, thread_local};
pub use scan::Rank;

use super::{Attribution, Claim, OwnedPool};
use crate::addr::Addr;
use crate::malloc::chunk::ChunkState;
use crate::malloc::heap::{ChunkId, Heap};
use crate::malloc::read::ReadPagemap;
use crate::nginx::layout::PoolLayout;
use crate::target::memory::Memory;
use confirm::Confirmer;
use follow::follow_on;
use scan::{Best, Found, Scan};
use targets::Targets;
use windows::{Window, over_chunks, over_roots};

/// With more nodes than this nobody is looked for: what is noted for each would take too much memory.
const MOST_NODES: usize = 4 << 20;

/// Pools are looked through by size, small ones first ([`search_order`]): these sizes in bytes part them.
const TIERS: [u64; 5] = [64 << 10, 256 << 10, 512 << 10, 2 << 20, u64::MAX];

/// A process whose memory can be looked at.
pub trait Surroundings: Sync {
    /// Its memory as it is now.
    fn memory(&self) -> &(dyn Memory + Sync);

    /// Which pages hold anything.
    fn pagemap(&self) -> &ReadPagemap<'_>;

    /// Memory outside the heap that can hold pointers, as it is now.
    fn roots(&self, heap: &Heap) -> Vec<RootRange>;

    /// What was in the registers when it stood still.
    fn registers(&self) -> &[u64];

    /// Chunks that are in thread caches and fastbins now.
    fn freed_now(&self, heap: &Heap) -> Vec<Addr>;

    /// Lets a few milliseconds pass; false if nothing changes anyhow.
    fn wait(&self) -> bool;

    /// Page size in bytes.
    fn page_size(&self) -> u64;

    /// How many threads may look at once.
    fn threads(&self) -> usize;
}

/// Who holds each node.
#[derive(Debug)]
pub struct Reach {
    /// The nodes.
    pub nodes: Nodes,
    /// By their numbers: who holds each. [`Holder::Nothing`] is proven; what could not be proven is `None`.
    pub holders: Vec<Option<Holder>>,
    /// Pointers between nodes that nothing holds.
    pub lost_edges: Edges,
    /// What nodes look like, by their numbers, in order.
    pub marks: Vec<(u32, Mark)>,
    /// Bytes that were looked through.
    pub bytes: u64,
}

/// Looks for who holds each chunk that nobody has claimed and each pool without a name. `None` if there are too many.
/// `is_whole` is false if the heap may have chunks in use that are not known: then nothing is said to be held by nothing.
pub fn reach(
    heap: &Heap,
    attribution: &Attribution,
    around: &dyn Surroundings,
    pools: Option<&PoolLayout>,
    is_whole: bool,
) -> Option<Reach> {
    let mut nodes = Nodes::of(heap, attribution);
    if nodes.list.len() > MOST_NODES {
        return None;
    }
    nodes.by_start = sessions::find(&nodes, heap, around.memory());
    let looker = Looker { heap, attribution, around, nodes: &nodes, pools };
    let first = looker.first_look();
    let mut reached = Reach {
        holders: first.holders.iter().copied().map(Some).collect(),
        lost_edges: Edges::default(),
        marks: first.found.marks,
        bytes: first.found.bytes,
        nodes: Nodes::default(),
    };
    reached.marks.sort_unstable();
    reached.marks.dedup_by_key(|(node, _)| *node);
    let seems_lost: Vec<u32> = lost(&first.holders);
    let confirmer = Confirmer { looker: &looker };
    let confirmed = match first.found.is_partial || !is_whole {
        // What was not read may hold anything.
        true => confirm::Confirmed::default(),
        false => confirmer.confirm(seems_lost.clone(), &first.found.changed, first.edges),
    };
    for node in seems_lost {
        if confirmed.lost.binary_search(&node).is_err()
            && let Some(holder) = reached.holders.get_mut(node as usize)
        {
            *holder = None;
        }
    }
    reached.bytes += confirmed.bytes;
    reached.lost_edges = confirmed.edges;
    reached.nodes = nodes;
    Some(reached)
}

/// When a pool's turn comes: a cycle's at once, whatever its size, because the configuration holds most of what is outside
/// pools; the others' by their bytes.
fn search_order(owned: &OwnedPool) -> u64 {
    let is_cycle = owned.named.as_ref().is_some_and(|named| named.kind.key == "cycle");
    if is_cycle { 0 } else { owned.pool.bytes() }
}

fn lost(holders: &[Holder]) -> Vec<u32> {
    let lost = holders.iter().enumerate().filter(|(_, holder)| **holder == Holder::Nothing);
    lost.map(|(node, _)| node as u32).collect()
}

/// Looks through a heap and what is around it.
struct Looker<'a> {
    heap: &'a Heap,
    attribution: &'a Attribution,
    around: &'a dyn Surroundings,
    nodes: &'a Nodes,
    pools: Option<&'a PoolLayout>,
}

/// What a look has come to.
struct Look {
    holders: Vec<Holder>,
    edges: Edges,
    found: Found,
}

/// Where a look has got to.
struct Progress {
    targets: Targets,
    best: Vec<Best>,
    others_are_held: bool,
    edges: Edges,
    found: Found,
}

impl Looker<'_> {
    /// Looks for all nodes: in the roots and in chunks outside pools, and in as many pools as it takes until everything is
    /// held by something.
    fn first_look(&self) -> Look {
        let mut progress = self.begin(false, |_| true);
        if progress.targets.is_empty() {
            return self.end(progress, Vec::new());
        }
        let mut holders = vec![Holder::Nothing; progress.best.len()];
        let is_outside = |id: ChunkId| !matches!(self.attribution.claim(id), Some(Claim::Pool(_)));
        self.look_in(&mut progress, over_roots(&self.around.roots(self.heap)), &|_| true, false);
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
                Some(Claim::Pool(pool)) => {
                    let bytes = self.attribution.pools.get(pool as usize).map_or(0, search_order);
                    (lower..upper).contains(&bytes)
                }
                _ => false,
            };
            self.look_in(&mut progress, over_chunks(self.heap, |id, _| is_in_tier(id)), &is_in_tier, false);
            follow_on(&mut holders, &progress.best, &progress.edges, Rank::is_lasting);
            lower = upper;
        }
        follow_on(&mut holders, &progress.best, &progress.edges, |_| true);
        self.end(progress, holders)
    }

    /// Looks everywhere for the nodes that are `wanted`, which is in order. The others count as held.
    fn full_look(&self, wanted: &[u32]) -> (Vec<Best>, Edges, Found) {
        let mut progress = self.begin(true, |node| wanted.binary_search(&node).is_ok());
        self.look_in(&mut progress, over_roots(&self.around.roots(self.heap)), &|_| true, false);
        let windows = over_chunks(self.heap, |_, chunk| chunk.state() == ChunkState::InUse);
        self.look_in(&mut progress, windows, &|_| true, false);
        (progress.best, progress.edges, progress.found)
    }

    fn begin(&self, others_are_held: bool, wanted: impl Fn(u32) -> bool) -> Progress {
        let targets = Targets::new(self.nodes.spans(self.heap, self.attribution, wanted));
        let best: Vec<Best> = self.nodes.list.iter().map(|_| Best::none()).collect();
        for (number, register) in self.around.registers().iter().enumerate() {
            if let Some(best) = targets.led_to(*register, false).and_then(|node| best.get(node as usize)) {
                best.note(Rank::Register, number as u64);
            }
        }
        Progress { targets, best, others_are_held, edges: Edges::default(), found: Found::default() }
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
        };
        let mut found = scan.run(&windows, self.around.threads(), wanted);
        let mut edges = std::mem::take(&mut progress.edges).into_inner();
        edges.append(&mut found.edges);
        progress.edges = Edges::new(edges);
        progress.found.add(found);
    }

    fn end(&self, progress: Progress, holders: Vec<Holder>) -> Look {
        Look { holders, edges: progress.edges, found: progress.found }
    }
}
