//! Memory that malloc has handed out since the stop: what lies there may hold pointers, and no chunk of the snapshot is there.

use crate::addr::{Addr, AddrRange};
use crate::malloc::chunk::{ChunkState, HEADER, PREV_INUSE, SIZE_OFFSET};
use crate::malloc::heap::Heap;
use crate::target::memory::{Memory, word_at};
use rustc_hash::FxHashSet;

/// More chunks than this are not asked about: to read two words of each takes longer than anything is worth.
const MOST: usize = 1 << 20;

/// Ranges that are read with one system call.
const BATCH: usize = 512;

/// A chunk that was not in use at the stop.
struct Free {
    memory: Addr,
    size: u64,
    state: ChunkState,
}

/// Where there were free chunks and none is now. `cached` are the chunks that are in thread caches and fastbins now, which
/// nothing else tells from those in use. `None` if that cannot be told.
pub fn reused(memory: &dyn Memory, heap: &Heap, cached: &FxHashSet<Addr>) -> Option<Vec<AddrRange>> {
    let is_free = |state| !matches!(state, ChunkState::InUse | ChunkState::Fencepost);
    let free: Vec<Free> = heap
        .chunks
        .iter()
        .filter(|chunk| is_free(chunk.state()))
        .map(|chunk| Free { memory: chunk.memory(), size: chunk.size(), state: chunk.state() })
        .collect();
    if free.len() > MOST {
        return None;
    }
    let mut reused = Vec::new();
    for batch in free.chunks(BATCH) {
        let words = read_words(memory, batch)?;
        let now = batch.iter().zip(words).filter(|(free, words)| is_handed_out(free, *words, cached));
        reused.extend(now.map(|(free, _)| AddrRange::sized(free.memory, free.size - HEADER.min(free.size))));
    }
    Some(reused)
}

/// The size words of each chunk and of the one behind it; of a top, behind which nothing lies, its own twice.
fn read_words(memory: &dyn Memory, batch: &[Free]) -> Option<Vec<[u64; 2]>> {
    let word = |chunk: Addr| AddrRange::sized(chunk - HEADER + SIZE_OFFSET, 8);
    let behind = |free: &Free| match free.state {
        ChunkState::Top => free.memory,
        _ => free.memory + free.size,
    };
    let ranges: Vec<AddrRange> = batch.iter().flat_map(|free| [word(free.memory), word(behind(free))]).collect();
    let mut bytes = vec![0; ranges.len() * 8];
    memory.read_ranges(&ranges, &mut bytes).ok()?;
    let words = (0..batch.len() as u64).map(|index| [word_at(&bytes, index * 16), word_at(&bytes, index * 16 + 8)]);
    Some(words.collect())
}

/// A chunk in a bin is known by the bit in the one behind it; one in a cache has that bit set as if it were in use.
fn is_handed_out(free: &Free, [own, behind]: [u64; 2], cached: &FxHashSet<Addr>) -> bool {
    let has_size = own & !0xf == free.size;
    match free.state {
        ChunkState::Tcache | ChunkState::Fastbin => !has_size || !cached.contains(&free.memory),
        ChunkState::Top => !has_size,
        _ => !has_size || behind & PREV_INUSE != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(state: ChunkState) -> Free {
        Free { memory: Addr(0x1010), size: 0x40, state }
    }

    #[test]
    fn a_chunk_is_handed_out_when_its_size_or_the_bit_behind_it_says_so() {
        let none = FxHashSet::default();
        let cached: FxHashSet<Addr> = [Addr(0x1010)].into_iter().collect();
        for (state, words, cache, expected) in [
            (ChunkState::Free, [0x41, 0x20], &none, false),
            (ChunkState::Free, [0x41, 0x21], &none, true),
            (ChunkState::Free, [0x21, 0x20], &none, true),
            (ChunkState::Tcache, [0x41, 0x21], &cached, false),
            (ChunkState::Tcache, [0x41, 0x21], &none, true),
            (ChunkState::Fastbin, [0x61, 0x21], &cached, true),
            (ChunkState::Top, [0x41, 0x41], &none, false),
            (ChunkState::Top, [0x31, 0x31], &none, true),
        ] {
            assert_eq!(is_handed_out(&free(state), words, cache), expected, "{state:?} {words:x?}");
        }
    }
}
