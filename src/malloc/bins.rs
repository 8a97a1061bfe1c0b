//! What the bins of all arenas hold at one moment, read anew after a heap was walked in several stops.
//!
//! Members of a bin lie all over the heap, and each tells where the next one is: followed one by one they would cost a
//! system call each. Most of them the walk has found, so that they are fetched in a few large reads before any is followed.

use super::arena::{Arena, Bin};
use super::chunk::{ALIGNMENT, BK_OFFSET, FD_OFFSET, HEADER, MIN_SIZE, SIZE_OFFSET, SizeWord};
use super::walk::FreeLinks;
use crate::addr::{Addr, AddrRange};
use crate::target::live::MAX_RANGES;
use crate::target::memory::{Memory, word_at};
use rustc_hash::FxHashMap;

/// Bytes of a free chunk's header and links.
const BYTES: u64 = BK_OFFSET + 8;

/// Members that the walk has not found, and that are read one by one, at most.
const MOST_UNKNOWN: usize = 4096;

/// All members of all bins, in address order; `known` are starts of chunks that probably are among them.
///
/// # Errors
/// As many as were found, if the bins contradict themselves or hold too much that is not known.
pub(super) fn read_bins(
    memory: &impl Memory,
    arenas: &[Arena],
    known: &[Addr],
) -> Result<Vec<FreeLinks>, Vec<FreeLinks>> {
    let mut members = Members { memory, known: fetch(memory, known), unknown: 0 };
    let mut found = Vec::with_capacity(known.len());
    let mut bins = arenas.iter().filter(|arena| !arena.is_uninitialised()).flat_map(|arena| &arena.bins);
    let is_whole = bins.all(|bin| members.follow(bin, known.len() + MOST_UNKNOWN, &mut found).is_some());
    found.sort_unstable_by_key(|links| links.memory);
    if is_whole { Ok(found) } else { Err(found) }
}

/// Headers and links at these places, as far as they can be read.
pub(super) fn fetch(memory: &impl Memory, starts: &[Addr]) -> FxHashMap<Addr, FreeLinks> {
    let mut links = FxHashMap::default();
    links.reserve(starts.len());
    let mut bytes = vec![0; starts.len().min(MAX_RANGES) * BYTES as usize];
    for batch in starts.chunks(MAX_RANGES) {
        let ranges: Vec<AddrRange> = batch.iter().map(|start| AddrRange::sized(*start, BYTES)).collect();
        let Some(bytes) = bytes.get_mut(..batch.len() * BYTES as usize) else { break };
        // Where one is gone, those that are asked for are read one by one.
        if memory.read_ranges(&ranges, bytes).is_ok() {
            let each = bytes.as_chunks::<{ BYTES as usize }>().0;
            links.extend(batch.iter().zip(each).map(|(start, bytes)| (*start, parse(*start, bytes))));
        }
    }
    links
}

fn parse(start: Addr, bytes: &[u8]) -> FreeLinks {
    FreeLinks {
        memory: start + HEADER,
        size: SizeWord(word_at(bytes, SIZE_OFFSET)).size(),
        forward: Addr(word_at(bytes, FD_OFFSET)),
        backward: Addr(word_at(bytes, BK_OFFSET)),
    }
}

struct Members<'a, M> {
    memory: &'a M,
    known: FxHashMap<Addr, FreeLinks>,
    /// How many were read that were not known.
    unknown: usize,
}

impl<M: Memory> Members<'_, M> {
    /// Adds what a bin holds, as long as that is no more than `most`. A circle is told by its backward links.
    fn follow(&mut self, bin: &Bin, most: usize, found: &mut Vec<FreeLinks>) -> Option<()> {
        let mut before = bin.pseudo_chunk;
        let mut at = bin.forward;
        while at != bin.pseudo_chunk {
            let links = self.links(at)?;
            if links.backward != before || links.size < MIN_SIZE || found.len() >= most {
                return None;
            }
            found.push(links);
            before = at;
            at = links.forward;
        }
        (bin.backward == before).then_some(())
    }

    fn links(&mut self, at: Addr) -> Option<FreeLinks> {
        if let Some(links) = self.known.get(&at) {
            return Some(*links);
        }
        self.unknown += 1;
        if self.unknown > MOST_UNKNOWN || !at.is_aligned(ALIGNMENT) {
            return None;
        }
        let mut bytes = [0; BYTES as usize];
        self.memory.read(at, &mut bytes).ok()?;
        Some(parse(at, &bytes))
    }
}
