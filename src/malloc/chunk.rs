//! Chunks: what malloc cuts its memory into.
//!
//! A chunk starts with two words, the size of the chunk before it (only valid while that one is free) and its own size,
//! whose low three bits are flags. What malloc returns is the address after them. These facts have been the same in every
//! glibc on 64-bit machines (glibc malloc.c, `struct malloc_chunk`); the layout that DWARF states is checked against them.

use crate::addr::Addr;
use serde::{Deserialize, Serialize};

/// Bytes from a chunk's start to what malloc returns (glibc malloc.c, `CHUNK_HDR_SZ`).
pub const HEADER: u64 = 16;
/// Offset of the size word in a chunk.
pub const SIZE_OFFSET: u64 = 8;
/// Offset of the forward link of a free chunk.
pub const FD_OFFSET: u64 = 16;
/// Offset of the backward link of a free chunk.
pub const BK_OFFSET: u64 = 24;
/// All chunks start at multiples of this (glibc malloc.c, `MALLOC_ALIGNMENT`).
pub const ALIGNMENT: u64 = 16;
/// The smallest real chunk; what is smaller is a fencepost (glibc malloc.c, `MINSIZE`).
pub const MIN_SIZE: u64 = 32;
/// An in-use chunk reaches into the next one's first word: usable bytes are the size less this.
pub const IN_USE_OVERHEAD: u64 = 8;

/// Flag in the size word: the chunk before is in use (or in a tcache or fastbin, which look the same).
pub const PREV_INUSE: u64 = 1;
/// Flag in the size word: the chunk is a mapping of its own.
pub const IS_MMAPPED: u64 = 2;
/// Flag in the size word: the chunk belongs to another arena than `main_arena`.
pub const NON_MAIN_ARENA: u64 = 4;

/// A chunk's size word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeWord(pub u64);

impl SizeWord {
    /// The chunk's size in bytes, header included.
    pub fn size(self) -> u64 {
        self.0 & !(PREV_INUSE | IS_MMAPPED | NON_MAIN_ARENA)
    }

    /// True if the flag is set.
    pub fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }
}

/// What malloc thinks of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum ChunkState {
    /// Handed out to the program.
    InUse,
    /// Freed by the program, kept in a thread's cache. glibc itself counts it as in use.
    Tcache,
    /// Freed by the program, kept in a fastbin.
    Fastbin,
    /// Free: in the unsorted list, a small bin or a large bin, or the last remainder.
    Free,
    /// The rest of a heap, from which new chunks are cut.
    Top,
    /// Two words at the end of a heap that could not grow: bookkeeping of malloc, never handed out.
    Fencepost,
}

impl ChunkState {
    /// All states, in the order of their numbers.
    pub const ALL: [ChunkState; 6] = [
        ChunkState::InUse,
        ChunkState::Tcache,
        ChunkState::Fastbin,
        ChunkState::Free,
        ChunkState::Top,
        ChunkState::Fencepost,
    ];

    /// True if the program holds it.
    pub fn is_in_use(self) -> bool {
        self == ChunkState::InUse
    }

    /// The name used in rows and filters.
    pub fn name(self) -> &'static str {
        match self {
            ChunkState::InUse => "in_use",
            ChunkState::Tcache => "tcache",
            ChunkState::Fastbin => "fastbin",
            ChunkState::Free => "free",
            ChunkState::Top => "top",
            ChunkState::Fencepost => "fencepost",
        }
    }
}

/// A chunk as found by the walk: 16 bytes, because a heap can hold ten million of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    memory: Addr,
    /// Sizes are multiples of 16, which leaves room for the state.
    size_and_state: u64,
}

impl Chunk {
    /// A chunk whose user memory is at `memory`, of `size` bytes with its header; the low four bits of `size` are
    /// dropped.
    pub fn new(memory: Addr, size: u64, state: ChunkState) -> Chunk {
        Chunk { memory, size_and_state: size & !0xf | state as u64 }
    }

    /// What malloc returned for it.
    pub fn memory(self) -> Addr {
        self.memory
    }

    /// Where its header starts.
    pub fn start(self) -> Addr {
        self.memory - HEADER
    }

    /// Its size in bytes as glibc counts it, header included.
    pub fn size(self) -> u64 {
        self.size_and_state & !0xf
    }

    /// The first address past it.
    pub fn end(self) -> Addr {
        self.start() + self.size()
    }

    /// What malloc thinks of it.
    pub fn state(self) -> ChunkState {
        ChunkState::ALL.get((self.size_and_state & 0xf) as usize).copied().unwrap_or(ChunkState::InUse)
    }

    /// The same chunk in another state.
    pub fn with_state(self, state: ChunkState) -> Chunk {
        Chunk::new(self.memory, self.size(), state)
    }
}

impl std::fmt::Debug for Chunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}+{:#x} {}", self.memory, self.size(), self.state().name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_keeps_its_state_beside_its_size() {
        for state in ChunkState::ALL {
            let chunk = Chunk::new(Addr(0x5010), 0x90, state);
            assert_eq!((chunk.size(), chunk.state(), chunk.end()), (0x90, state, Addr(0x5090)));
        }
        assert_eq!(std::mem::size_of::<Chunk>(), 16);
    }
}
