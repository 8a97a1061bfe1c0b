//! Who holds what: a conservative mark over the process's memory, as a leak checker makes it.
//!
//! Every aligned word of the roots, of pools with a name and of other chunks in use that is an address within a chunk counts
//! as a pointer to it; of an `SSL_SESSION` only its start does. What no such chain leads to is held by nothing. While the process runs, pointers move under our eyes:
//! what seems to be held by nothing is looked for again, and again, until two looks agree; and memory that nobody can reach
//! cannot change, so that what has changed between two looks is not believed to be lost. Where anything that could hold a
//! pointer is not known for certain, nothing is said to be lost.
//!
//! What is lost can pass for held. A word that was left over from an earlier use may lead to memory that is in use again for
//! something else: in memory that a live pool has handed out, nothing tells such a word from one that a module goes by. nginx
//! keeps arrays of `cf->temp_pool` after it has destroyed that (`ngx_http_core_main_conf_t.ports`); which chunks they lead to
//! depends on what was allocated there since. Where nginx's own rules say that a word is left over, it does not count
//! ([`Surroundings::stale`]).

mod confirm;
mod follow;
mod found;
mod look;
mod marks;
mod nodes;
mod rank;
mod roots;
mod scan;
mod sessions;
mod targets;
#[cfg(test)]
mod tests;
mod windows;
mod worker;

pub use follow::{Edges, Holder};
pub use marks::Mark;
pub use nodes::{Node, Nodes};
pub use rank::Rank;
pub use roots::{Layout, RootKind, RootRange, roots, shared_memory, thread_local};

use super::Attribution;
use crate::addr::{Addr, AddrRange};
use crate::malloc::heap::Heap;
use crate::malloc::read::ReadPagemap;
use crate::nginx::layout::PoolLayout;
use crate::target::memory::Memory;
use confirm::Confirmer;
use look::Looker;

/// With more nodes than this nobody is looked for: what is noted for each would take too much memory.
pub const MOST_NODES: usize = 4 << 20;

/// Bytes that are noted for each node, about.
pub const BYTES_BY_NODE: u64 = 100;

/// A process whose memory can be looked at.
pub trait Surroundings: Sync {
    /// Its memory as it is now.
    fn memory(&self) -> &(dyn Memory + Sync);

    /// Which pages hold anything.
    fn pagemap(&self) -> &ReadPagemap<'_>;

    /// Memory outside the heap that can hold pointers, as it is now.
    fn roots(&self, heap: &Heap) -> Roots;

    /// What was in the registers when it stood still.
    fn registers(&self) -> &[u64];

    /// Chunks that are in thread caches and fastbins now. `None` if there may be others that could not be found: then any
    /// chunk may have been freed.
    fn freed_now(&self, heap: &Heap) -> Option<Vec<Addr>>;

    /// Words in chunks with a known type that are known to be left over and lead nowhere: as they are now, in address order.
    fn stale(&self) -> Vec<AddrRange>;

    /// Lets a few milliseconds pass; false if nothing changes anyhow.
    fn wait(&self) -> bool;

    /// True if it can have an `SSL_SESSION`.
    fn has_openssl(&self) -> bool;

    /// Page size in bytes.
    fn page_size(&self) -> u64;

    /// With more nodes than this, in a heap of so many chunks, nobody is looked for.
    fn most_nodes(&self, _chunks: usize) -> usize {
        MOST_NODES
    }

    /// How many threads may look at once.
    fn threads(&self) -> usize;
}

/// Memory outside the heap that can hold pointers.
#[derive(Debug, Default)]
pub struct Roots {
    /// Where it lies.
    pub ranges: Vec<RootRange>,
    /// False if there may be more that is not known: then nothing can be said to be held by nothing.
    pub is_whole: bool,
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
    /// How many nodes nothing was found to point to, of which that cannot be told for sure as not all is known that may.
    pub untold: u64,
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
    if Nodes::count(heap, attribution) > around.most_nodes(heap.chunks.len()) {
        return None;
    }
    let mut nodes = Nodes::of(heap, attribution);
    if around.has_openssl() {
        nodes.by_start = sessions::find(&nodes, heap, around.memory());
    }
    let looker = Looker { heap, attribution, around, nodes: &nodes, pools };
    let first = looker.first_look();
    let mut reached = Reach {
        holders: first.holders.iter().copied().map(Some).collect(),
        lost_edges: Edges::default(),
        marks: first.found.marks,
        bytes: first.found.bytes,
        untold: 0,
        nodes: Nodes::default(),
    };
    reached.marks.sort_unstable();
    reached.marks.dedup_by_key(|(node, _)| *node);
    let seems_lost = lost(&first.holders);
    let confirmer = Confirmer { looker: &looker };
    let is_partial = first.found.is_partial || !is_whole;
    if is_partial {
        reached.untold = seems_lost.len() as u64;
    }
    let confirmed = match is_partial {
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

fn lost(holders: &[Holder]) -> Vec<u32> {
    let lost = holders.iter().enumerate().filter(|(_, holder)| **holder == Holder::Nothing);
    lost.map(|(node, _)| node as u32).collect()
}
