//! The heap as a whole, once the target runs again: every chunk with its state, and malloc's books checked against them.

use super::arena::{Arena, Par};
use super::books::Books;
use super::chunk::{Chunk, ChunkState};
use super::lists::{FreedLists, Linking, Tcache};
use super::mmapped::MmappedChunk;
use super::patch::{self, Patch};
use super::read::{HeapReading, RegionReading, end_of};
use super::region::Region;
use super::walk::{FreeLinks, PayloadVisitor};
use crate::addr::{Addr, AddrRange};

/// A region and which of the chunks are its own.
#[derive(Debug, Clone)]
pub struct SettledRegion {
    /// The region as the arena has it.
    pub region: Region,
    /// From its first chunk to the end of its last one.
    pub walked: AddrRange,
    /// Indexes into [`Heap::chunks`].
    pub chunks: std::ops::Range<usize>,
}

/// Every chunk of the process.
#[derive(Debug)]
pub struct Heap {
    /// Arenas, `main_arena` first.
    pub arenas: Vec<Arena>,
    /// malloc's parameters.
    pub par: Par,
    /// Regions in address order.
    pub regions: Vec<SettledRegion>,
    /// Chunks of all regions, in address order.
    pub chunks: Vec<Chunk>,
    /// Chunks with mappings of their own, in address order.
    pub mmapped: Vec<MmappedChunk>,
    /// Thread caches.
    pub tcaches: Vec<Tcache>,
    /// How links of freed chunks are stored, if any list was there to tell.
    pub linking: Option<Linking>,
    /// malloc's own books against what was found.
    pub books: Books,
}

/// A chunk by where it stands in [`Heap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChunkId {
    /// Index into [`Heap::chunks`].
    Arena(u32),
    /// Index into [`Heap::mmapped`].
    Mmapped(u32),
}

/// Tells which chunk an address lies in. Where it looks first fits into the processor's caches, which all chunks do not.
#[derive(Debug)]
pub struct HeapIndex<'h> {
    heap: &'h Heap,
    /// Where the user memory of each so many-th chunk starts.
    marks: Vec<Addr>,
}

impl HeapIndex<'_> {
    /// Chunks between two marks.
    const STEP: usize = 16;

    /// As [`Heap::containing`].
    pub fn containing(&self, address: Addr) -> Option<ChunkId> {
        let after = self.marks.partition_point(|mark| *mark <= address);
        let from = after.saturating_sub(1) * HeapIndex::STEP;
        self.heap.containing_among(address, from..(after * HeapIndex::STEP).min(self.heap.chunks.len()))
    }
}

impl Heap {
    /// Makes a heap of what was read. The visitors go back to their owner.
    pub fn settle<V: PayloadVisitor>(reading: HeapReading<V>) -> (Heap, Vec<V>) {
        let HeapReading {
            arenas, par, mut regions, mut mmapped, freed, mut visitors, mut mended, mut problems, ..
        } = reading;
        regions.sort_by_key(|region| region.region.chunks.start);
        mmapped.sort_by_key(|chunk| chunk.chunk.memory());
        let links_of = |region: &mut RegionReading| (region.region.arena, std::mem::take(&mut region.free_links));
        let mut free_links: Vec<(usize, Vec<Vec<FreeLinks>>)> = regions.iter_mut().map(links_of).collect();
        mended.patches.sort_by_key(|patch| patch.range.start);
        let (regions, chunks) = concatenate(regions, &mended.patches);
        let ranges: Vec<AddrRange> = mended.patches.iter().map(|patch| patch.range).collect();
        visitors.iter_mut().take(mended.visitors_before).for_each(|visitor| visitor.forget_in(&ranges));
        let mut heap = Heap {
            arenas,
            par,
            regions,
            chunks,
            mmapped,
            tcaches: Vec::new(),
            linking: freed.linking,
            books: Books::default(),
        };
        heap.mark_freed(&freed, &mut problems);
        heap.tcaches = freed.tcaches;
        if let Some(bins) = mended.bins {
            free_links = heap.confirmed(&bins);
        }
        heap.books = Books::reconcile(&heap, &free_links, problems);
        (heap, visitors)
    }

    /// What bins hold, by the arenas whose regions it lies in, as far as it is a free chunk.
    fn confirmed(&self, bins: &[FreeLinks]) -> Vec<(usize, Vec<Vec<FreeLinks>>)> {
        let is_free = |links: &&FreeLinks| {
            let place = self.chunks.binary_search_by_key(&links.memory, |chunk| chunk.memory());
            let chunk = place.ok().and_then(|place| self.chunks.get(place));
            chunk.is_some_and(|chunk| chunk.state() == ChunkState::Free && chunk.size() == links.size)
        };
        let of_region = |region: &SettledRegion| {
            let place = |end: Addr| bins.partition_point(|links| links.memory < end);
            let inside = bins.get(place(region.walked.start)..place(region.walked.end)).unwrap_or_default();
            (region.region.arena, vec![inside.iter().filter(is_free).copied().collect()])
        };
        self.regions.iter().map(of_region).collect()
    }

    /// The chunk with that user memory, of the arenas or mapped.
    pub fn find(&self, memory: Addr) -> Option<ChunkId> {
        if let Ok(index) = self.chunks.binary_search_by_key(&memory, |chunk| chunk.memory()) {
            return Some(ChunkId::Arena(index as u32));
        }
        let index = self.mmapped.binary_search_by_key(&memory, |mapped| mapped.chunk.memory()).ok()?;
        Some(ChunkId::Mmapped(index as u32))
    }

    /// The chunk whose user memory `address` lies in.
    pub fn containing(&self, address: Addr) -> Option<ChunkId> {
        self.containing_among(address, 0..self.chunks.len())
    }

    /// An index for many questions of which chunk an address lies in.
    pub fn index(&self) -> HeapIndex<'_> {
        let marks = self.chunks.iter().step_by(HeapIndex::STEP).map(|chunk| chunk.memory()).collect();
        HeapIndex { heap: self, marks }
    }

    /// As [`Heap::containing`], where it is known which chunks of arenas may be the one.
    fn containing_among(&self, address: Addr, among: std::ops::Range<usize>) -> Option<ChunkId> {
        let chunks = self.chunks.get(among.clone()).unwrap_or_default();
        let after = among.start + chunks.partition_point(|chunk| chunk.memory() <= address);
        let after_mapped = self.mmapped.partition_point(|mapped| mapped.chunk.memory() <= address);
        let arena = after.checked_sub(1).map(|index| ChunkId::Arena(index as u32));
        let mapped = after_mapped.checked_sub(1).map(|index| ChunkId::Mmapped(index as u32));
        let covers = |id: &ChunkId| {
            address.checked_offset_from(self.chunk(*id).memory()).is_some_and(|offset| offset < self.usable(*id))
        };
        [arena, mapped].into_iter().flatten().find(covers)
    }

    /// The same as [`Heap::find`], quicker if the chunk lies soon after `hint`: blocks of a pool mostly do.
    pub fn find_after(&self, memory: Addr, hint: ChunkId) -> Option<ChunkId> {
        const NEAR: usize = 4;
        if let ChunkId::Arena(index) = hint {
            let after = self.chunks.iter().enumerate().skip(index as usize + 1).take(NEAR);
            if let Some((index, _)) = after.into_iter().find(|(_, chunk)| chunk.memory() == memory) {
                return Some(ChunkId::Arena(index as u32));
            }
        }
        self.find(memory)
    }

    /// The chunk of that number.
    ///
    /// # Panics
    /// If the number is not one that this heap gave out.
    pub fn chunk(&self, id: ChunkId) -> Chunk {
        match id {
            ChunkId::Arena(index) => self.chunks[index as usize],
            ChunkId::Mmapped(index) => self.mmapped[index as usize].chunk,
        }
    }

    fn chunk_mut(&mut self, id: ChunkId) -> Option<&mut Chunk> {
        match id {
            ChunkId::Arena(index) => self.chunks.get_mut(index as usize),
            ChunkId::Mmapped(index) => self.mmapped.get_mut(index as usize).map(|mapped| &mut mapped.chunk),
        }
    }

    /// Bytes of the chunk that the program may use.
    ///
    /// # Panics
    /// If the number is not one that this heap gave out.
    pub fn usable(&self, id: ChunkId) -> u64 {
        match id {
            ChunkId::Arena(index) => self.chunks[index as usize].size() - super::chunk::IN_USE_OVERHEAD,
            ChunkId::Mmapped(index) => self.mmapped[index as usize].usable,
        }
    }

    /// All chunks that the program holds, in address order within arenas, mapped ones last.
    pub fn in_use(&self) -> impl Iterator<Item = (ChunkId, Chunk)> {
        let of_arenas = self.chunks.iter().enumerate().map(|(index, chunk)| (ChunkId::Arena(index as u32), *chunk));
        let mapped =
            self.mmapped.iter().enumerate().map(|(index, mapped)| (ChunkId::Mmapped(index as u32), mapped.chunk));
        of_arenas.chain(mapped).filter(|(_, chunk)| chunk.state() == ChunkState::InUse)
    }

    /// Chunks in tcaches and fastbins look as if in use; here they get their true state. From glibc 2.43 on a tcache can
    /// hold mapped chunks too.
    fn mark_freed(&mut self, freed: &FreedLists, problems: &mut Vec<String>) {
        let cached = freed.tcaches.iter().flat_map(|cache| cache.chunks.iter().map(|at| (*at, ChunkState::Tcache)));
        let binned = freed.fastbin_chunks.iter().map(|at| (*at, ChunkState::Fastbin));
        for (memory, state) in cached.chain(binned) {
            match self.find(memory).and_then(|id| self.chunk_mut(id)) {
                Some(chunk) if chunk.state() == ChunkState::InUse => *chunk = chunk.with_state(state),
                Some(chunk) => problems.push(format!(
                    "{memory} is in a {} list and is {} by the headers around it",
                    state.name(),
                    chunk.state().name()
                )),
                None => problems.push(format!("{memory} is in a {} list, and no chunk begins there", state.name())),
            }
        }
    }
}

/// Puts the parts of all regions together, in the order of the regions, and patches in address order into them.
fn concatenate(mut regions: Vec<RegionReading>, patches: &[Patch]) -> (Vec<SettledRegion>, Vec<Chunk>) {
    let counts: Vec<usize> = regions.iter().map(|region| region.parts.iter().map(Vec::len).sum()).collect();
    let spans: Vec<AddrRange> =
        regions.iter().map(|region| AddrRange::new(region.region.chunks.start, end_of(region))).collect();
    let mut parts = regions.iter_mut().flat_map(|region| std::mem::take(&mut region.parts));
    // Chunks may be most of our memory. The first part, mostly the brk heap, is made longer where it lies, and each further
    // one is let go as soon as it is copied: at no time is there a second copy of all.
    let mut chunks = parts.next().unwrap_or_default();
    chunks.reserve_exact(counts.iter().sum::<usize>().saturating_sub(chunks.len()));
    parts.for_each(|part| chunks.extend_from_slice(&part));
    let mut first = 0;
    let mut settled = Vec::with_capacity(regions.len());
    for ((region, walked), count) in regions.into_iter().zip(spans).zip(counts) {
        let chunks = first..first + count;
        first = chunks.end;
        settled.push(SettledRegion { region: region.region, walked, chunks });
    }
    if !patches.is_empty() {
        patch::apply(patches, &mut chunks);
        for region in &mut settled {
            let place = |end: Addr| chunks.partition_point(|chunk| chunk.start() < end);
            region.chunks = place(region.walked.start)..place(region.walked.end);
        }
    }
    (settled, chunks)
}
