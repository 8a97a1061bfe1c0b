//! Lays a heap out in memory the way glibc would, and keeps its own account of it.

use super::glibcs::Glibc;
use super::lists::Lists;
use super::process::{BRK, HEAP_MAX, HeapImage, PAGE, mapping};
use super::spec::{Cell, Mapped, Spec, State, Tail};
use poolscope::addr::{Addr, AddrRange};
use poolscope::malloc::books::Mallinfo;
use poolscope::malloc::chunk::{Chunk, ChunkState};
use poolscope::malloc::mmapped::MmappedChunk;
use poolscope::malloc::read::MallocRoots;
use poolscope::target::image::Image;
use poolscope::target::maps::{Backing, Maps};

const ANONYMOUS: Addr = Addr(0x7d00_0000_0000);
const ARENAS: Addr = Addr(0x7e00_0000_0000);
const THREADS: Addr = Addr(0x7c00_0000_0000);
const LIBC: Addr = Addr(0x7f00_0000_0000);
const MAIN_ARENA: Addr = Addr(0x7f00_0000_0100);
const PAR: Addr = Addr(0x7f00_0000_2000);
/// Offset of `tcache` in glibc's thread-local block, and glibc's number among the modules that have one.
const TCACHE_OFFSET: u64 = 0x48;
const MODULE: u64 = 2;
/// What the program has written into its memory: no header, no address.
const USER_BYTE: u8 = 0xa5;

impl HeapImage {
    pub fn build(glibc: &Glibc, spec: &Spec) -> HeapImage {
        let mut builder = Builder::new(glibc.clone(), spec);
        builder.lay_main();
        builder.lay_arenas();
        builder.write_books();
        builder.write_threads();
        builder.out.chunks.sort_by_key(|chunk| chunk.memory());
        builder.out.maps.0.sort_by_key(|mapping| mapping.range.start);
        builder.out
    }
}

struct Builder<'a> {
    spec: &'a Spec,
    lists: Lists,
    out: HeapImage,
    tops: Vec<Addr>,
    system_mem: Vec<u64>,
    sbrk_base: Addr,
}

impl<'a> Builder<'a> {
    fn new(glibc: Glibc, spec: &'a Spec) -> Builder<'a> {
        let roots = MallocRoots { main_arena: MAIN_ARENA, par: PAR, tcache_offset: Some(TCACHE_OFFSET) };
        let arenas = spec.arenas.len() + 1;
        let out = HeapImage {
            image: Image::new(),
            maps: Maps::default(),
            roots,
            threads: Vec::new(),
            chunks: Vec::new(),
            mapped: Vec::new(),
            mallinfo: Mallinfo::default(),
            arenas: vec![MAIN_ARENA],
            tcaches: vec![Addr::NULL; spec.threads],
            foreign: 0,
            segments: Vec::new(),
            glibc,
        };
        let mut builder = Builder {
            spec,
            lists: Lists::new(arenas),
            out,
            tops: vec![Addr::NULL; arenas],
            system_mem: vec![0; arenas],
            sbrk_base: BRK + spec.sbrk_offset,
        };
        builder.segment(LIBC, 0x4000, None, 0);
        builder.out.image.write(LIBC, &[0; 0x4000]);
        builder
    }

    fn put(&mut self, address: Addr, value: u64) {
        self.out.poke(address, value);
    }

    fn segment(&mut self, start: Addr, length: u64, backing: Option<Backing>, fill: u8) {
        let range = AddrRange::sized(start, length);
        self.out.image.map(start, vec![fill; length as usize]);
        self.out.segments.push(range);
        self.out.maps.0.extend(backing.map(|backing| mapping(range, backing)));
    }

    fn lay_main(&mut self) {
        let spec = self.spec;
        let mut pieces = Vec::new();
        let mut start = self.sbrk_base.align_up(16);
        for (index, (cells, hole)) in spec.brk.iter().enumerate() {
            let is_last = index + 1 == spec.brk.len() && spec.pieces.is_empty();
            let tail = self.tail(is_last);
            let cells = self.with_tcache(0, index == 0, cells);
            let (cells, end) = fit(start, &cells, tail, 0);
            pieces.push((start, cells, tail, end));
            let hole = if index + 1 == spec.brk.len() { 0 } else { *hole };
            self.out.foreign += hole;
            start = end + hole;
        }
        self.system_mem[0] = start.0 - self.sbrk_base.0;
        // The kernel may show the brk heap as several mappings.
        let (first, all) = (PAGE, start.0 - BRK.0);
        self.segment(BRK, all, None, USER_BYTE);
        self.out.maps.0.push(mapping(AddrRange::sized(BRK, first), Backing::Heap));
        if all > first {
            self.out.maps.0.push(mapping(AddrRange::sized(BRK + first, all - first), Backing::Heap));
        }
        let mapped_pieces = self.plan_anonymous();
        for (start, cells, tail, end) in pieces.into_iter().chain(mapped_pieces) {
            self.lay(0, start, &cells, tail, end);
        }
    }

    fn tail(&self, is_last: bool) -> Tail {
        match (is_last, self.spec.has_rest) {
            (true, _) => Tail::Top,
            (false, true) => Tail::FencepostsAndRest,
            (false, false) => Tail::Fenceposts,
        }
    }

    /// Mapped chunks and mapped pieces of the main arena, side by side in one mapping.
    fn plan_anonymous(&mut self) -> Vec<(Addr, Vec<Cell>, Tail, Addr)> {
        let spec = self.spec;
        let mut at = ANONYMOUS + PAGE;
        let mut chunks = Vec::new();
        let mut pieces = Vec::new();
        for index in 0..spec.mapped.len().max(spec.pieces.len()) {
            if let Some(mapped) = spec.mapped.get(index) {
                chunks.push((at, *mapped));
                at = at + mapped.pages * PAGE;
            }
            if let Some(cells) = spec.pieces.get(index) {
                let tail = self.tail(index + 1 == spec.pieces.len());
                let (cells, end) = fit(at, cells, tail, 1 << 20);
                pieces.push((at, cells, tail, end));
                self.system_mem[0] += end.0 - at.0;
                at = end;
            }
        }
        self.segment(ANONYMOUS, at.0 - ANONYMOUS.0 + PAGE, Some(Backing::Anonymous), USER_BYTE);
        for (start, mapped) in chunks {
            self.lay_mapped(start, mapped);
        }
        pieces
    }

    fn lay_mapped(&mut self, start: Addr, mapped: Mapped) {
        let total = mapped.pages * PAGE;
        let whole = total - self.out.glibc.extra_in_mapping();
        self.put(start, 0);
        self.put(start + 8, whole | 2);
        let mut header = start;
        if let Some(shift) = mapped.alignment {
            let mut memory = (start + 16).align_up(1 << shift);
            if memory.0 - 16 < start.0 + 32 {
                memory = memory + (1 << shift);
            }
            header = memory - 16;
            self.put(header, header.0 - start.0);
            self.put(header + 8, (whole - (header.0 - start.0)) | 2);
        }
        let size = whole - (header.0 - start.0);
        let mapping = AddrRange::sized(start, total);
        let usable = mapping.end.0 - header.0 - 16;
        self.out.mapped.push(MmappedChunk { chunk: Chunk::new(header + 16, size, ChunkState::InUse), mapping, usable });
        self.out.mallinfo.hblks += 1;
        self.out.mallinfo.hblkhd += total;
    }

    fn lay_arenas(&mut self) {
        let spec = self.spec;
        let layout = self.out.glibc.layout.clone();
        for (index, heaps) in spec.arenas.iter().enumerate() {
            let arena = index + 1;
            let mut previous = Addr::NULL;
            for (number, cells) in heaps.iter().enumerate() {
                let base = ARENAS + (index as u64 * 8 + number as u64) * HEAP_MAX;
                let state = if number == 0 { layout.state.size } else { 0 };
                let start = (base + layout.heap_info.size + state).align_up(16);
                let tail = self.tail(number + 1 == heaps.len());
                let cells = self.with_tcache(arena, number == 0, cells);
                let (cells, end) = fit(start, &cells, tail, 0);
                let used = end.0 - base.0;
                self.segment(base, used, Some(Backing::Anonymous), USER_BYTE);
                if number == 0 {
                    self.out.arenas.push(base + layout.heap_info.size);
                    self.out.image.write(base, &vec![0; (start.0 - base.0) as usize]);
                }
                let owner = self.out.arenas[arena];
                self.put(base + layout.heap_info.arena, owner.0);
                self.put(base + layout.heap_info.previous, previous.0);
                self.put(base + layout.heap_info.used, used);
                self.system_mem[arena] += used;
                self.lay(arena, start, &cells, tail, end);
                previous = base;
            }
        }
    }

    /// The cache of the thread that has its memory from this arena comes first.
    fn with_tcache(&self, arena: usize, is_first: bool, cells: &[Cell]) -> Vec<Cell> {
        let mut all = Vec::new();
        if is_first && arena < self.spec.threads {
            all.push(Cell { size: self.out.glibc.tcache_chunk(), state: State::InUse });
        }
        all.extend_from_slice(cells);
        all
    }

    fn lay(&mut self, arena: usize, start: Addr, cells: &[Cell], tail: Tail, end: Addr) {
        if self.out.tcaches.get(arena).is_some_and(|cache| cache.is_null()) {
            self.out.tcaches[arena] = start + 16;
        }
        let foreign = if arena == 0 { 0 } else { 4 };
        let mut at = start;
        let mut freed_before = None;
        for (index, cell) in cells.iter().enumerate() {
            let may_be_free = freed_before.is_none() && !(tail == Tail::Top && index + 1 == cells.len());
            let state = self.lists.admit(&self.out.glibc, self.spec.threads, *cell, may_be_free);
            self.write_header(at, freed_before, cell.size | if state == State::Free { 0 } else { foreign });
            self.lists.add(arena, at, cell.size, state);
            self.account(at, cell.size, state);
            freed_before = (state == State::Free).then_some(cell.size);
            at = at + cell.size;
        }
        match tail {
            Tail::Top => {
                self.tops[arena] = at;
                self.write_header(at, None, end.0 - at.0);
                self.found(at, end.0 - at.0, ChunkState::Top);
                self.out.mallinfo.fordblks += end.0 - at.0;
                if arena == 0 {
                    self.out.mallinfo.keepcost = end.0 - at.0;
                }
            }
            _ => self.close(arena, at, freed_before, end),
        }
    }

    /// The end of a region that could not grow: what is left of its old top is 16 bytes or nothing (`sysmalloc`).
    fn close(&mut self, arena: usize, at: Addr, freed_before: Option<u64>, end: Addr) {
        let mut sizes = Vec::new();
        match (arena, end.0 - at.0) {
            (0, room) => sizes.extend((0..room / 16).map(|_| 16)),
            (_, 32) => sizes.extend([16, 0]),
            // The old rest and the first fencepost are one chunk.
            (_, _) => sizes.extend([32, 0]),
        }
        let mut header = at;
        for (index, size) in sizes.iter().enumerate() {
            self.write_header(header, freed_before.filter(|_| index == 0), *size);
            header = header + *size;
        }
        match sizes.as_slice() {
            [32, 0] => {
                self.found(at, 32, ChunkState::Fencepost);
                self.found(at + 32, 16, ChunkState::Fencepost);
            }
            _ => self.found(at, end.0 - at.0, ChunkState::Fencepost),
        }
    }

    fn write_header(&mut self, at: Addr, freed_before: Option<u64>, size_and_arena: u64) {
        match freed_before {
            Some(size) => {
                self.put(at, size);
                self.put(at + 8, size_and_arena);
            }
            None => self.put(at + 8, size_and_arena | 1),
        }
    }

    fn found(&mut self, at: Addr, size: u64, state: ChunkState) {
        self.out.chunks.push(Chunk::new(at + 16, size, state));
    }

    fn account(&mut self, at: Addr, size: u64, state: State) {
        let info = &mut self.out.mallinfo;
        let state = match state {
            State::InUse => ChunkState::InUse,
            State::Tcache(_) => ChunkState::Tcache,
            State::Fastbin => {
                info.smblks += 1;
                info.fsmblks += size;
                info.fordblks += size;
                ChunkState::Fastbin
            }
            State::Free => {
                info.ordblks += 1;
                info.fordblks += size;
                ChunkState::Free
            }
        };
        self.found(at, size, state);
    }

    fn write_books(&mut self) {
        let layout = self.out.glibc.layout.clone();
        for arena in 0..self.tops.len() {
            let address = self.out.arenas[arena];
            let next = self.out.arenas[(arena + 1) % self.tops.len()];
            self.put(address + layout.state.top, self.tops[arena].0);
            self.put(address + layout.state.next, next.0);
            self.put(address + layout.state.system_mem, self.system_mem[arena]);
        }
        let noncontiguous = if self.spec.pieces.is_empty() { 0u32 } else { 2 };
        self.out.image.write(MAIN_ARENA + layout.state.flags, &noncontiguous.to_le_bytes());
        let info = &mut self.out.mallinfo;
        info.arena = self.system_mem.iter().sum();
        info.ordblks += self.tops.len() as u64;
        info.uordblks = info.arena - info.fordblks;
        let (count, bytes) = (info.hblks as u32, info.hblkhd);
        self.out.image.write(PAR + layout.par.n_mmaps, &count.to_le_bytes());
        self.put(PAR + layout.par.mmapped_mem, bytes);
        self.put(PAR + layout.par.sbrk_base, self.sbrk_base.0);
        self.lists.write(&mut self.out);
    }

    /// Thread control blocks with their vectors; the first module's block leads nowhere.
    fn write_threads(&mut self) {
        self.segment(THREADS, self.spec.threads as u64 * PAGE, None, USER_BYTE);
        for thread in 0..self.spec.threads {
            let pointer = THREADS + thread as u64 * PAGE;
            let (vector, block) = (pointer + 0x200, pointer + 0x800);
            let slot = if cfg!(target_arch = "x86_64") { 8 } else { 0 };
            self.put(pointer + slot, vector.0);
            self.put(vector + 16, u64::MAX);
            self.put(vector + MODULE * 16, block.0);
            self.put(block + TCACHE_OFFSET, self.out.tcaches[thread].0);
            self.out.threads.push((100 + thread as i32, pointer));
        }
    }
}

/// Makes the cells fill whole pages: with a chunk in use in front of fenceposts, with a larger top otherwise.
fn fit(start: Addr, cells: &[Cell], tail: Tail, least: u64) -> (Vec<Cell>, Addr) {
    let mut cells = cells.to_vec();
    let total: u64 = cells.iter().map(|cell| cell.size).sum();
    let closing = if tail == Tail::FencepostsAndRest { 48 } else { 32 };
    let end = (start + (total + 32 + closing).max(least)).align_up(PAGE);
    if tail != Tail::Top {
        cells.push(Cell { size: end.0 - start.0 - total - closing, state: State::InUse });
    }
    (cells, end)
}
