//! Who holds single chunks, in words: what a group says of one example, said of the very chunk.

use super::Names;
use super::grouper::Grouper;
use crate::addr::Addr;
use crate::attribution::Attribution;
use crate::attribution::reach::{Holder, Node, Reach};
use crate::malloc::heap::Heap;

/// How many chunks in a row are named between a chunk and what holds it in the end.
const MOST_STEPS: usize = 6;

impl Attribution {
    /// Who holds the chunks in which `addresses` lie, by the addresses that malloc returned for them: `pointed to by the chunk
    /// at 0x…, which is pointed to by ngx_foo (nginx)`. Only chunks that `reach` has looked for have an answer. To be asked
    /// before [`Attribution::add_reach`] gives these chunks away.
    pub fn holders_of(&self, heap: &Heap, reach: &Reach, names: &dyn Names, addresses: &[u64]) -> Vec<(Addr, String)> {
        let mut grouper = Grouper::new(heap, self, reach, names);
        let mut told = Vec::new();
        // A chunk's header lies right before its memory, and its first word counts as the end of the chunk before.
        for address in addresses.iter().flat_map(|address| [Addr(*address), Addr(address.wrapping_add(16))]) {
            let Some(chunk) = heap.containing(address) else { continue };
            let node = reach.nodes.list.iter().position(|node| *node == Node::Chunk(chunk));
            let text = node.and_then(|node| grouper.chain(node as u32));
            told.extend(text.map(|text| (heap.chunk(chunk).memory(), text)));
        }
        told
    }
}

impl Grouper<'_> {
    /// Who holds a node, and who holds that, up to what is no node. `None` if that could not be told for certain.
    fn chain(&mut self, node: u32) -> Option<String> {
        let mut steps: Vec<String> = Vec::new();
        let mut next = Some(node);
        while let Some(node) = next.take() {
            let text = match self.holder(node)? {
                Holder::Nothing => "nothing points to it".to_owned(),
                _ if steps.len() == MOST_STEPS => "held by more of that kind".to_owned(),
                holder => {
                    // A pool says itself who holds it.
                    next = match holder {
                        Holder::Node(parent) => self.chunk(parent).map(|_| parent),
                        _ => None,
                    };
                    self.holder_text(holder)
                }
            };
            steps.extend((!text.is_empty()).then_some(text));
        }
        (!steps.is_empty()).then(|| steps.join(", which is "))
    }
}
