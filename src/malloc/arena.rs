//! Arenas (`struct malloc_state`), their ring, and malloc's own books (`struct malloc_par`).

use super::chunk::{BK_OFFSET, FD_OFFSET};
use super::layout::MallocLayout;
use crate::addr::Addr;
use crate::target::memory::{Fault, Memory, word_at};

/// Set in `flags` when the main arena has holes: brk failed at some time, or somebody else moved the break (glibc
/// malloc.c, `NONCONTIGUOUS_BIT`).
const NONCONTIGUOUS: u32 = 2;

/// More arenas than this are not believed: glibc makes at most 8 for each core by default.
const MAX_ARENAS: usize = 65_536;

/// A link pair of a bin: the first and the last free chunk in it, or the bin's own pseudo-chunk if it is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bin {
    /// The address at which the bin, seen as a chunk, would start: what its members' links hold as an end mark.
    pub pseudo_chunk: Addr,
    /// Start of the first free chunk.
    pub forward: Addr,
    /// Start of the last free chunk.
    pub backward: Addr,
}

/// An arena as it stood when it was read.
#[derive(Debug, Clone)]
pub struct Arena {
    /// Where its `struct malloc_state` lies.
    pub address: Addr,
    /// True for `main_arena`, whose chunks are on the brk heap.
    pub is_main: bool,
    /// True if its memory is not one piece, or was not at some time.
    pub is_noncontiguous: bool,
    /// Start of the top chunk.
    pub top: Addr,
    /// Bytes it has got from the kernel, by its own count.
    pub system_mem: u64,
    /// Heads of the fastbins: starts of chunks, null if empty.
    pub fastbins: Vec<Addr>,
    /// The unsorted list first, then small and large bins.
    pub bins: Vec<Bin>,
    /// False if its `struct malloc_state` could not be read: then `system_mem` is what its memory takes, and it says
    /// nothing that could be checked.
    pub has_books: bool,
    next: Addr,
}

impl Arena {
    /// The main arena of a heap of which only the memory is there, so many bytes of it.
    pub fn without_books(address: Addr, bytes: u64) -> Arena {
        Arena {
            address,
            is_main: true,
            is_noncontiguous: false,
            top: Addr::NULL,
            system_mem: bytes,
            fastbins: Vec::new(),
            bins: Vec::new(),
            has_books: false,
            next: Addr::NULL,
        }
    }

    /// Reads the arena at `address`.
    ///
    /// # Errors
    /// A [`Fault`] if it is not wholly readable.
    pub fn read(memory: &impl Memory, layout: &MallocLayout, address: Addr, is_main: bool) -> Result<Arena, Fault> {
        let state = &layout.state;
        let mut bytes = vec![0; state.size as usize];
        memory.read(address, &mut bytes)?;
        let word = |offset: u64| word_at(&bytes, offset);
        let bins = (0..state.bin_count).map(|index| {
            let pair = state.bins + index * 16;
            Bin {
                pseudo_chunk: address + pair - FD_OFFSET,
                forward: Addr(word(pair)),
                backward: Addr(word(pair + BK_OFFSET - FD_OFFSET)),
            }
        });
        let (fastbins, count) = state.fastbins.unwrap_or((0, 0));
        Ok(Arena {
            address,
            is_main,
            is_noncontiguous: word(state.flags) as u32 & NONCONTIGUOUS != 0,
            top: Addr(word(state.top)),
            system_mem: word(state.system_mem),
            fastbins: (0..count).map(|index| Addr(word(fastbins + index * 8))).collect(),
            bins: bins.collect(),
            has_books: true,
            next: Addr(word(state.next)),
        })
    }

    /// True before the first allocation: `top` still points into the arena itself.
    pub fn is_uninitialised(&self) -> bool {
        self.top.is_null() || self.bins.first().is_some_and(|unsorted| unsorted.pseudo_chunk == self.top)
    }
}

/// All arenas, `main_arena` first, by the ring of their `next` pointers. The second value says what was wrong with the
/// ring, if anything was: the arenas up to there are still good.
///
/// # Errors
/// A [`Fault`] if not even `main_arena` can be read.
pub fn read_arenas(
    memory: &impl Memory,
    layout: &MallocLayout,
    main_arena: Addr,
) -> Result<(Vec<Arena>, Option<String>), Fault> {
    let mut arenas = vec![Arena::read(memory, layout, main_arena, true)?];
    let mut next = arenas[0].next;
    while next != main_arena && !next.is_null() {
        if arenas.len() >= MAX_ARENAS || arenas.iter().any(|arena| arena.address == next) {
            return Ok((arenas, Some(format!("the ring of arenas does not close (at {next})"))));
        }
        match Arena::read(memory, layout, next, false) {
            Ok(arena) => {
                next = arena.next;
                arenas.push(arena);
            }
            Err(fault) => return Ok((arenas, Some(format!("the ring of arenas is broken: {fault}")))),
        }
    }
    Ok((arenas, None))
}

/// Locks that are looked at, at most: the process stands still meanwhile, and a ring may not close.
const MOST_LOCKS: usize = 1024;

/// True if a thread holds the lock of an arena. What cannot be read is not locked.
pub fn any_is_locked(memory: &impl Memory, layout: &MallocLayout, main_arena: Addr) -> bool {
    let state = &layout.state;
    let mut arena = main_arena;
    for _ in 0..MOST_LOCKS {
        if memory.read_u32(arena + state.mutex).is_ok_and(|mutex| mutex != 0) {
            return true;
        }
        match memory.read_pointer(arena + state.next) {
            Ok(next) if next != main_arena && !next.is_null() => arena = next,
            _ => return false,
        }
    }
    false
}

/// malloc's parameters and its own count of mmapped chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Par {
    /// How many mmapped chunks there are.
    pub n_mmaps: u64,
    /// Bytes in all their mappings.
    pub mmapped_mem: u64,
    /// Requests from this size on get a mapping of their own.
    pub mmap_threshold: u64,
    /// A top larger than this is given back to the kernel.
    pub trim_threshold: u64,
    /// What is asked for beyond need when the heap grows, and kept when it is trimmed.
    pub top_pad: u64,
    /// Where the brk heap began, as glibc found it.
    pub sbrk_base: Addr,
    /// True if freeing a mapped chunk no longer raises the thresholds.
    pub thresholds_are_fixed: bool,
    /// Size of the huge pages that arenas' heaps are made of; 0 if they are not.
    pub hp_pagesize: u64,
}

impl Par {
    /// Reads `mp_` at `address`.
    ///
    /// # Errors
    /// A [`Fault`] if it is not wholly readable.
    pub fn read(memory: &impl Memory, layout: &MallocLayout, address: Addr) -> Result<Par, Fault> {
        let par = &layout.par;
        let mut bytes = vec![0; par.size as usize];
        memory.read(address, &mut bytes)?;
        let word = |offset: u64| word_at(&bytes, offset);
        let optional = |offset: Option<u64>| offset.map_or(0, word);
        Ok(Par {
            n_mmaps: word(par.n_mmaps) & 0xffff_ffff,
            mmapped_mem: word(par.mmapped_mem),
            mmap_threshold: word(par.mmap_threshold),
            trim_threshold: word(par.trim_threshold),
            top_pad: word(par.top_pad),
            sbrk_base: Addr(word(par.sbrk_base)),
            thresholds_are_fixed: optional(par.no_dyn_threshold) as u32 != 0,
            hp_pagesize: optional(par.hp_pagesize),
        })
    }
}
