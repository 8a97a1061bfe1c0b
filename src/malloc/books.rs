//! Reconciliation: what the walk found against what malloc itself has written down.
//!
//! malloc counts what it got from the kernel (`system_mem` of each arena; `n_mmaps` and `mmapped_mem`), and keeps free
//! chunks in bins. Both must come out the same as the sum of what was found, else a chunk is missing or counted twice.

use super::arena::Arena;
use super::chunk::{Chunk, ChunkState, HEADER};
use super::heap::{Heap, SettledRegion};
use super::walk::FreeLinks;
use crate::addr::Addr;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

/// A number of chunks and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// How many.
    pub chunks: u64,
    /// Their sizes together, headers included.
    pub bytes: u64,
}

impl Tally {
    /// Counts one chunk more.
    pub fn add(&mut self, bytes: u64) {
        self.chunks += 1;
        self.bytes += bytes;
    }
}

/// One arena's books.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ArenaBooks {
    /// The arena.
    #[serde(with = "crate::addr::hex")]
    pub address: u64,
    /// True for `main_arena`.
    pub is_main: bool,
    /// Bytes it has got from the kernel, by its own count.
    pub system_mem: u64,
    /// Handed out to the program.
    pub in_use: Tally,
    /// Freed, in thread caches.
    pub tcache: Tally,
    /// Freed, in fastbins.
    pub fastbin: Tally,
    /// Free, in the unsorted list and in small and large bins.
    pub free: Tally,
    /// The top chunk.
    pub top: u64,
    /// malloc's own: heap headers, the arena itself, alignment, fenceposts.
    pub overhead: u64,
    /// Holes that somebody else's `sbrk` made in the brk heap, which malloc counts among its own.
    pub foreign: u64,
    /// Free chunks that the bins hold, by following their links.
    pub in_bins: Tally,
}

impl ArenaBooks {
    /// All bytes that were accounted for.
    pub fn accounted(&self) -> u64 {
        self.in_use.bytes
            + self.tcache.bytes
            + self.fastbin.bytes
            + self.free.bytes
            + self.top
            + self.overhead
            + self.foreign
    }

    /// Free by malloc's own view, as `mallinfo2` counts it: chunks in tcaches are not.
    fn free_by_mallinfo(&self) -> u64 {
        self.fastbin.bytes + self.free.bytes + self.top
    }
}

/// What `mallinfo2(3)` would have said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Mallinfo {
    /// Bytes from the kernel, without mapped chunks.
    pub arena: u64,
    /// Free chunks, with one top for each arena.
    pub ordblks: u64,
    /// Chunks in fastbins.
    pub smblks: u64,
    /// Mapped chunks.
    pub hblks: u64,
    /// Bytes in their mappings.
    pub hblkhd: u64,
    /// Bytes in fastbins.
    pub fsmblks: u64,
    /// Bytes in use, those in thread caches and malloc's own among them.
    pub uordblks: u64,
    /// Bytes free.
    pub fordblks: u64,
    /// Size of the main arena's top.
    pub keepcost: u64,
}

/// All books of a heap.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Books {
    /// One entry for each arena.
    pub arenas: Vec<ArenaBooks>,
    /// Mapped chunks that were found, with the bytes of their mappings.
    pub mmapped: Tally,
    /// Mapped chunks by malloc's count.
    pub n_mmaps: u64,
    /// Bytes of their mappings by malloc's count.
    pub mmapped_mem: u64,
    /// One sentence for each disagreement and each thing that was not as it must be.
    pub problems: Vec<String>,
}

impl Books {
    /// Bytes that malloc has got from the kernel, by its own count.
    pub fn from_kernel(&self) -> u64 {
        let arenas = self.arenas.iter().map(|arena| arena.system_mem);
        // What the target says can be anything.
        arenas.fold(self.mmapped_mem, u64::saturating_add)
    }

    /// How much of that was accounted for, from 0 to 1. Never above: finding more than there is is a problem of its own.
    pub fn coverage(&self) -> f64 {
        let accounted: u64 = self.arenas.iter().map(|arena| arena.accounted().min(arena.system_mem)).sum();
        match self.from_kernel() {
            0 => 1.0,
            total => (accounted + self.mmapped.bytes.min(self.mmapped_mem)) as f64 / total as f64,
        }
    }

    /// True if everything comes out the same.
    pub fn reconcile_exactly(&self) -> bool {
        self.problems.is_empty()
    }

    /// What `mallinfo2` would have returned in the target, from what was found.
    pub fn mallinfo(&self) -> Mallinfo {
        let mut info = Mallinfo { hblks: self.mmapped.chunks, hblkhd: self.mmapped.bytes, ..Mallinfo::default() };
        for arena in &self.arenas {
            info.arena = info.arena.saturating_add(arena.system_mem);
            info.ordblks += arena.free.chunks + 1;
            info.smblks += arena.fastbin.chunks;
            info.fsmblks += arena.fastbin.bytes;
            info.fordblks += arena.free_by_mallinfo();
            info.uordblks += arena.accounted() - arena.free_by_mallinfo();
            if arena.is_main {
                info.keepcost = arena.top;
            }
        }
        info
    }

    /// Sums up and compares. `free_links` are those of each region, with the index of its arena; `problems` are those
    /// found so far.
    pub(super) fn reconcile(heap: &Heap, free_links: &[(usize, Vec<Vec<FreeLinks>>)], problems: Vec<String>) -> Books {
        let mut books = Books {
            arenas: heap.arenas.iter().map(arena_books).collect(),
            mmapped: Tally::default(),
            n_mmaps: heap.par.n_mmaps,
            mmapped_mem: heap.par.mmapped_mem,
            problems,
        };
        for chunk in &heap.mmapped {
            books.mmapped.add(chunk.mapping.len());
        }
        for region in &heap.regions {
            if let Some(arena) = books.arenas.get_mut(region.region.arena) {
                add_region(arena, region, heap.chunks.get(region.chunks.clone()).unwrap_or_default());
            }
        }
        add_holes(&mut books, heap);
        for (index, arena) in heap.arenas.iter().enumerate() {
            let links =
                free_links.iter().filter(|(owner, _)| *owner == index).flat_map(|(_, parts)| parts.iter().flatten());
            let links: FxHashMap<Addr, &FreeLinks> = links.map(|link| (link.memory - HEADER, link)).collect();
            let in_bins = count_bins(arena, &links, &mut books.problems);
            if let Some(arena) = books.arenas.get_mut(index) {
                arena.in_bins = in_bins;
            }
        }
        books.compare(heap);
        books
    }

    fn compare(&mut self, heap: &Heap) {
        let with_books = self.arenas.iter().zip(&heap.arenas).filter(|(_, read)| read.has_books);
        for (arena, _) in with_books {
            let name = if arena.is_main { "main_arena".to_owned() } else { format!("arena {:#x}", arena.address) };
            if arena.accounted() != arena.system_mem {
                let difference = i128::from(arena.accounted()) - i128::from(arena.system_mem);
                self.problems.push(format!(
                    "{name}: {} bytes were found and it says {} (system_mem), {difference:+}",
                    arena.accounted(),
                    arena.system_mem
                ));
            }
            if arena.free != arena.in_bins {
                self.problems.push(format!(
                    "{name}: {} free chunks ({} bytes) were found and its bins hold {} ({} bytes)",
                    arena.free.chunks, arena.free.bytes, arena.in_bins.chunks, arena.in_bins.bytes
                ));
            }
        }
        if (self.mmapped.chunks, self.mmapped.bytes) != (self.n_mmaps, self.mmapped_mem) {
            self.problems.push(format!(
                "{} mmapped chunks ({} bytes) were found and malloc counts {} ({} bytes)",
                self.mmapped.chunks, self.mmapped.bytes, self.n_mmaps, self.mmapped_mem
            ));
        }
    }
}

fn arena_books(arena: &Arena) -> ArenaBooks {
    ArenaBooks {
        address: arena.address.0,
        is_main: arena.is_main,
        system_mem: arena.system_mem,
        ..ArenaBooks::default()
    }
}

fn add_region(books: &mut ArenaBooks, region: &SettledRegion, chunks: &[Chunk]) {
    books.overhead += region.region.overhead;
    for chunk in chunks {
        match chunk.state() {
            ChunkState::InUse => books.in_use.add(chunk.size()),
            ChunkState::Tcache => books.tcache.add(chunk.size()),
            ChunkState::Fastbin => books.fastbin.add(chunk.size()),
            ChunkState::Free => books.free.add(chunk.size()),
            ChunkState::Top => books.top += chunk.size(),
            ChunkState::Fencepost => books.overhead += chunk.size(),
        }
    }
}

/// Holes between pieces of the brk heap, which malloc counts among its own. Between pieces that were mapped it knows of no
/// holes: mapped chunks may lie there.
fn add_holes(books: &mut Books, heap: &Heap) {
    let pieces: Vec<&SettledRegion> = heap.regions.iter().filter(|region| region.region.is_brk).collect();
    for pair in pieces.windows(2) {
        let [before, after] = pair else { continue };
        // Both pieces' mappings end at the same place unless somebody has unmapped a part of the brk heap.
        if before.region.chunks.end == after.region.chunks.end
            && let Some(main) = books.arenas.first_mut()
        {
            main.foreign += after.walked.start.0.saturating_sub(before.walked.end.0 + after.region.overhead);
        }
    }
}

/// Follows every bin of an arena forwards and counts; each member must be a free chunk of this arena, and its backward
/// link must lead to where we came from.
fn count_bins(arena: &Arena, links: &FxHashMap<Addr, &FreeLinks>, problems: &mut Vec<String>) -> Tally {
    let mut tally = Tally::default();
    for (index, bin) in arena.bins.iter().enumerate() {
        if arena.is_uninitialised() && bin.forward.is_null() {
            continue;
        }
        let mut before = bin.pseudo_chunk;
        let mut at = bin.forward;
        while at != bin.pseudo_chunk {
            let Some(link) = links.get(&at) else {
                problems.push(format!(
                    "bin {} of arena {} holds {at}, which is no free chunk",
                    index + 1,
                    arena.address
                ));
                break;
            };
            if link.backward != before || tally.chunks > links.len() as u64 {
                problems.push(format!(
                    "bin {} of arena {}: the backward link at {at} leads to {} and not to {before}",
                    index + 1,
                    arena.address,
                    link.backward
                ));
                break;
            }
            tally.add(link.size);
            before = at;
            at = link.forward;
        }
        if at == bin.pseudo_chunk && bin.backward != before {
            problems.push(format!(
                "bin {} of arena {}: its last chunk is {before} and it says {}",
                index + 1,
                arena.address,
                bin.backward
            ));
        }
    }
    tally
}
