//! Regions: the pieces of address space in which an arena's chunks lie side by side.
//!
//! `main_arena` has the brk heap, and more pieces if brk failed or somebody else moved the break. Other arenas have heaps
//! that start at multiples of their largest size, chained by `struct _heap_info`.

use super::arena::{Arena, Par};
use super::chunk::ALIGNMENT;
use super::layout::MallocLayout;
use crate::addr::{Addr, AddrRange};
use crate::target::maps::Maps;
use crate::target::memory::Memory;
use rustc_hash::FxHashSet;

/// glibc arena.c, `HEAP_MAX_SIZE`: twice the largest mmap threshold, which is 4 MiB times the size of a long.
const HEAP_MAX_SIZE: u64 = 64 << 20;

/// No machine has larger pages.
const LARGEST_HUGE_PAGE: u64 = 1 << 36;

/// More heaps in one arena than this are not believed.
const MAX_HEAPS: usize = 1 << 16;

/// A piece of an arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Index of the arena in the list of arenas.
    pub arena: usize,
    /// Where its chunks lie. For a piece of the main arena the end is where its mapping ends; chunks may end before.
    pub chunks: AddrRange,
    /// Bytes before the first chunk that the arena counts as its own: `heap_info`, the arena itself, alignment.
    pub overhead: u64,
    /// True for a piece of the brk heap.
    pub is_brk: bool,
}

/// The readable range that holds `address`, with the ranges that touch it, and whether it is the brk heap: otherwise it is
/// anonymous memory.
fn enclosing(maps: &Maps, address: Addr) -> Option<(AddrRange, bool)> {
    let brk = maps.heap_ranges().into_iter().map(|range| (range, true));
    let mut ranges = brk.chain(maps.anonymous_ranges().into_iter().map(|range| (range, false)));
    ranges.find(|(range, _)| range.contains(address))
}

/// The piece of the main arena that starts at `start`, as long as its mapping.
pub fn main_piece(maps: &Maps, start: Addr) -> Option<Region> {
    let first = start.align_up(ALIGNMENT);
    let (range, is_brk) = enclosing(maps, first)?;
    let overhead = first.checked_offset_from(start)?;
    Some(Region { arena: 0, chunks: AddrRange::new(first, range.end), overhead, is_brk })
}

/// The largest size of a heap, which is also what heaps are aligned to (glibc arena.c, `heap_max_size`).
pub fn heap_max_size(par: &Par) -> u64 {
    match par.hp_pagesize {
        0 => HEAP_MAX_SIZE,
        bytes if bytes.is_power_of_two() && bytes <= LARGEST_HUGE_PAGE => bytes * 4,
        _ => HEAP_MAX_SIZE,
    }
}

/// The heaps of an arena other than `main_arena`, oldest first. The second value says what was wrong with their chain, if
/// anything was.
pub fn heaps(
    memory: &impl Memory,
    layout: &MallocLayout,
    par: &Par,
    index: usize,
    arena: &Arena,
) -> (Vec<Region>, Option<String>) {
    let info = &layout.heap_info;
    let largest = heap_max_size(par);
    let mut regions = Vec::new();
    let mut seen = FxHashSet::default();
    let mut heap = arena.top.align_down(largest);
    let problem = loop {
        let words = [info.arena, info.previous, info.used].map(|offset| memory.read_u64(heap + offset));
        let [Ok(owner), Ok(previous), Ok(used)] = words else {
            break Some(format!("the heap at {heap} of arena {} cannot be read", arena.address));
        };
        if owner != arena.address.0 || used > largest || regions.len() >= MAX_HEAPS {
            break Some(format!(
                "the heap at {heap} does not belong to arena {}, whose chain leads there",
                arena.address
            ));
        }
        let arena_size = if previous == 0 { layout.state.size } else { 0 };
        let first = (heap + info.size + arena_size).align_up(ALIGNMENT);
        let chunks = AddrRange::new(first, heap + used);
        if !seen.insert(heap) {
            break Some(format!("the heaps of arena {} lead in a circle, back to the one at {heap}", arena.address));
        }
        regions.push(Region { arena: index, chunks, overhead: first.0.saturating_sub(heap.0), is_brk: false });
        if previous == 0 {
            break None;
        }
        heap = Addr(previous);
    };
    regions.reverse();
    (regions, problem)
}
