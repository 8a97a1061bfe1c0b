//! `SSL_SESSION`s outside pools. OpenSSL hands out and keeps nothing but the address that malloc gave (OpenSSL
//! `ssl/ssl_sess.c`): a word that leads into the middle of one is what the memory was used for before.

use super::marks::{HEAD, Mark, SESSION_SIZES, mark_of};
use super::nodes::{Node, Nodes};
use crate::addr::AddrRange;
use crate::malloc::heap::Heap;
use crate::target::live::MAX_RANGES;
use crate::target::memory::Memory;

/// Chunks of a fitting size that are looked at, at most. Of others any pointer into them counts.
const MOST: usize = 1 << 18;

/// Nodes that are sessions, in order.
pub fn find(nodes: &Nodes, heap: &Heap, memory: &dyn Memory) -> Vec<u32> {
    let candidates: Vec<(u32, AddrRange, u64)> = (0u32..)
        .zip(&nodes.list)
        .filter_map(|(number, node)| match node {
            Node::Chunk(chunk) => {
                let usable = heap.usable(*chunk);
                let head = AddrRange::sized(heap.chunk(*chunk).memory(), usable.min(HEAD as u64));
                SESSION_SIZES.contains(&usable).then_some((number, head, usable))
            }
            Node::Pool(_) => None,
        })
        .take(MOST)
        .collect();
    let mut sessions = Vec::new();
    for batch in candidates.chunks(MAX_RANGES) {
        let ranges: Vec<AddrRange> = batch.iter().map(|(_, head, _)| *head).collect();
        let mut bytes = vec![0; ranges.iter().map(|range| range.len() as usize).sum()];
        let is_whole = memory.read_ranges(&ranges, &mut bytes).is_ok();
        let mut rest = bytes.as_mut_slice();
        for (number, head, usable) in batch {
            let (own, later) = rest.split_at_mut(head.len() as usize);
            let is_there = is_whole || memory.read(head.start, own).is_ok();
            if is_there && mark_of(own, *usable) == Some(Mark::SslSession) {
                sessions.push(*number);
            }
            rest = later;
        }
    }
    sessions
}
