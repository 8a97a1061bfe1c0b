//! Mmapped chunks: large requests that malloc passed on to the kernel. glibc keeps no list of them, only their number and
//! total size; they are found by looking at the private anonymous mappings, and proven by these two figures.
//!
//! The same look finds the pieces that a main arena got by mmap after brk had failed, of which there is no list either.

use super::arena::Par;
use super::chunk::{ALIGNMENT, Chunk, ChunkState, HEADER, IS_MMAPPED, MIN_SIZE, PREV_INUSE, SIZE_OFFSET, SizeWord};
use crate::addr::{Addr, AddrRange};
use crate::target::live::MAX_RANGES;
use crate::target::memory::{Fault, Memory, word_at};

/// How the size of the mapping follows from a chunk's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MappingRule {
    /// `prev_size + size` (up to glibc 2.42).
    SizeIncludesHeader,
    /// `prev_size + size + 16`, and bit 0 of `prev_size` marks huge pages (from glibc 2.43 on).
    HeaderIsExtra,
}

/// A chunk with a mapping of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MmappedChunk {
    /// User memory and size as glibc counts it.
    pub chunk: Chunk,
    /// The mapping that was made for it.
    pub mapping: AddrRange,
    /// Bytes the program may use.
    pub usable: u64,
}

/// Recognises mapped chunks by their header.
#[derive(Debug, Clone, Copy)]
pub struct MmappedFormat {
    /// How header and mapping go together in this glibc.
    pub rule: MappingRule,
    /// Page size in bytes.
    pub page_size: u64,
}

impl MmappedFormat {
    /// The mapped chunk whose header of two words is at `start`, if it is one that lies wholly in `within`.
    pub fn parse(&self, start: Addr, header: &[u8], within: AddrRange) -> Option<MmappedChunk> {
        let word = SizeWord(word_at(header, SIZE_OFFSET));
        // A mapped chunk carries no other flag: there is no chunk before it, and it belongs to no arena.
        if word.0 & 0xf != IS_MMAPPED || word.size() < MIN_SIZE {
            return None;
        }
        let mut before = word_at(header, 0);
        let mut total = word.size();
        if self.rule == MappingRule::HeaderIsExtra {
            before &= !1;
            total = total.checked_add(HEADER)?;
        }
        let total = total.checked_add(before)?;
        let base = Addr(start.0.checked_sub(before)?);
        let mapping = AddrRange::sized(base, total);
        let is_whole = base.is_aligned(self.page_size) && total.is_multiple_of(self.page_size) && total > 0;
        if !is_whole || base < within.start || mapping.end > within.end {
            return None;
        }
        let usable = mapping.end.0 - start.0 - HEADER;
        Some(MmappedChunk { chunk: Chunk::new(start + HEADER, word.size(), ChunkState::InUse), mapping, usable })
    }
}

impl MmappedFormat {
    /// True if a chunk that was there before still is. One that fills its mapping leaves the same header behind as one
    /// whose mapping was unmapped and mapped again for an aligned request: whether another header follows on the first
    /// page is looked at too. Alignments above the page size are not, for the sake of a single read.
    pub fn is_still_there(&self, memory: &impl Memory, known: &MmappedChunk) -> bool {
        let start = known.chunk.start();
        let length = match start == known.mapping.start {
            true => self.page_size.min(known.mapping.len()),
            false => HEADER,
        };
        let mut bytes = vec![0; length as usize];
        if memory.read(start, &mut bytes).is_err() || self.parse(start, &bytes, known.mapping) != Some(*known) {
            return false;
        }
        let page = Page { start, bytes: &bytes };
        start != known.mapping.start || aligned_chunk(&page, *self, known.mapping).is_none()
    }
}

/// A page that was read already; nothing beyond it is.
struct Page<'a> {
    start: Addr,
    bytes: &'a [u8],
}

impl Memory for Page<'_> {
    fn read(&self, address: Addr, buffer: &mut [u8]) -> Result<(), Fault> {
        let from = address.checked_offset_from(self.start).ok_or(Fault::Unmapped(address))? as usize;
        let found = self.bytes.get(from..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(found.ok_or(Fault::Unmapped(address))?);
        Ok(())
    }
}

/// What a look at anonymous memory found.
#[derive(Debug, Clone, Default)]
pub struct AnonymousScan {
    /// Mapped chunks, in address order.
    pub mmapped: Vec<MmappedChunk>,
    /// Page-aligned addresses where a piece of the main arena may start: to be proven by a walk.
    pub piece_candidates: Vec<Addr>,
}

impl AnonymousScan {
    /// Bytes in all mappings found.
    pub fn mapped_bytes(&self) -> u64 {
        self.mmapped.iter().map(|chunk| chunk.mapping.len()).sum()
    }

    /// True if number and bytes are those in malloc's own books.
    pub fn agrees_with(&self, par: &Par) -> bool {
        self.mmapped.len() as u64 == par.n_mmaps && self.mapped_bytes() == par.mmapped_mem
    }
}

/// Looks through `ranges` (private anonymous memory, in address order). `next_present` gives the first page
/// from the one on and before an end that may hold anything: malloc has written a header to what is searched for, so that
/// untouched pages need not be read, which would grow the target's page tables.
pub fn scan(
    memory: &impl Memory,
    format: MmappedFormat,
    ranges: &[AddrRange],
    next_present: &impl Fn(Addr, Addr) -> Option<Addr>,
    piece_size: Option<u64>,
) -> AnonymousScan {
    let mut scan = AnonymousScan::default();
    for range in ranges {
        scan_range(memory, format, *range, next_present, piece_size, &mut scan);
    }
    scan
}

fn scan_range(
    memory: &impl Memory,
    format: MmappedFormat,
    range: AddrRange,
    next_present: &impl Fn(Addr, Addr) -> Option<Addr>,
    piece_size: Option<u64>,
    scan: &mut AnonymousScan,
) {
    let mut page = range.start;
    while page < range.end {
        let probes = probe_pages(memory, format.page_size, AddrRange::new(page, range.end), next_present);
        // No probe at all: everything up to the end is absent.
        page = probes.last().map_or(range.end, |last| last.page + format.page_size);
        for probe in probes {
            if let Some(found) = chunk_in_mapping(memory, format, &probe, range.end) {
                page = found.mapping.end;
                scan.mmapped.push(found);
                break;
            }
            if piece_size.is_some_and(|size| could_start_piece(&probe, range.end, size)) {
                scan.piece_candidates.push(probe.page);
            }
        }
    }
}

/// The first two words of a page.
struct Probe {
    page: Addr,
    header: [u8; HEADER as usize],
}

/// Probes of the present pages of `range`, as many as one read takes.
fn probe_pages(
    memory: &impl Memory,
    page_size: u64,
    range: AddrRange,
    next_present: &impl Fn(Addr, Addr) -> Option<Addr>,
) -> Vec<Probe> {
    let first = next_present(range.start, range.end);
    let pages = std::iter::successors(first, |page| next_present(*page + page_size, range.end));
    let pages: Vec<Addr> = pages.take(MAX_RANGES).collect();
    let ranges: Vec<AddrRange> = pages.iter().map(|page| AddrRange::sized(*page, HEADER)).collect();
    let mut bytes = vec![0; ranges.len() * HEADER as usize];
    let all_read = memory.read_ranges(&ranges, &mut bytes).is_ok();
    let mut probes = Vec::with_capacity(pages.len());
    for (page, bytes) in pages.into_iter().zip(bytes.chunks_exact(HEADER as usize)) {
        let mut header = [0; HEADER as usize];
        header.copy_from_slice(bytes);
        // One unreadable page makes the vectored read worthless: then each page is asked for on its own, and one that
        // cannot be read holds nothing of malloc's.
        if !all_read && memory.read(page, &mut header).is_err() {
            header.fill(0);
        }
        probes.push(Probe { page, header });
    }
    probes
}

/// The mapped chunk whose mapping begins at the probed page.
///
/// malloc writes a header to the mapping's start in any case. For an aligned request it then writes another one further
/// on, in front of the aligned address, and leaves the first as it was; from then on only the second is kept up to date
/// (`mremap` changes its size). So the second, if there is one, is what counts.
fn chunk_in_mapping(memory: &impl Memory, format: MmappedFormat, probe: &Probe, end: Addr) -> Option<MmappedChunk> {
    let word = SizeWord(word_at(&probe.header, SIZE_OFFSET));
    if word.0 & 0xf != IS_MMAPPED || word_at(&probe.header, 0) & !1 != 0 {
        return None;
    }
    let within = AddrRange::new(probe.page, end);
    aligned_chunk(memory, format, within).or_else(|| format.parse(probe.page, &probe.header, within))
}

/// The chunk of an aligned request whose mapping begins at the start of `within` (glibc malloc.c, `_int_memalign`: at
/// least a smallest chunk lies before it).
fn aligned_chunk(memory: &impl Memory, format: MmappedFormat, within: AddrRange) -> Option<MmappedChunk> {
    let mut tried = Addr::NULL;
    for shift in SMALLEST_ALIGNMENT..=LARGEST_ALIGNMENT {
        let alignment = 1 << shift;
        let mut aligned = (within.start + HEADER).align_up(alignment);
        if aligned.0.wrapping_sub(HEADER) < (within.start + MIN_SIZE).0 {
            aligned = aligned + alignment;
        }
        let start = aligned - HEADER;
        if start == tried {
            continue;
        }
        tried = start;
        if !within.contains_bytes(start, MIN_SIZE) {
            return None;
        }
        let mut header = [0; HEADER as usize];
        if memory.read(start, &mut header).is_ok()
            && let Some(found) = format.parse(start, &header, within)
            && found.mapping.start == within.start
        {
            return Some(found);
        }
    }
    None
}

/// Alignments that plain malloc does not give anyway, as powers of two: from 32 bytes on.
const SMALLEST_ALIGNMENT: u32 = 5;
/// Up to 1 GiB, the largest huge page.
const LARGEST_ALIGNMENT: u32 = 30;

/// glibc malloc.c, `sysmalloc`: nothing lies before the first chunk of such a piece.
fn could_start_piece(probe: &Probe, end: Addr, smallest: u64) -> bool {
    let word = SizeWord(word_at(&probe.header, SIZE_OFFSET));
    let room = end.0 - probe.page.0;
    room >= smallest
        && word.0 & 0xf == PREV_INUSE
        && word.size() >= MIN_SIZE
        && word.size().is_multiple_of(ALIGNMENT)
        && word.size() <= room
}

/// The least that a main arena gets by mmap when brk fails (glibc malloc.c, `MMAP_AS_MORECORE_SIZE`).
pub const MIN_PIECE: u64 = 1 << 20;
