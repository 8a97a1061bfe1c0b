//! Where the memory of a process is: its mappings, and within glibc's share what is in use and what is free.

use crate::addr::AddrRange;
use crate::malloc::chunk::ChunkState;
use crate::malloc::heap::Heap;
use crate::malloc::read::ReadPagemap;
use crate::snapshot::model::MemoryRow;
use crate::target::maps::{Backing, Mapping, Maps};
use crate::target::pagemap::PageState;

/// Bytes of address space with what of it is in memory and what is swapped out.
/// What is not known of one mapping is not known of their sum.
#[derive(Debug, Clone, Copy)]
struct Amount {
    size: u64,
    resident: Option<u64>,
    swapped: Option<u64>,
}

impl Default for Amount {
    fn default() -> Amount {
        Amount { size: 0, resident: Some(0), swapped: Some(0) }
    }
}

/// Combines two figures, if both are known.
fn both(a: Option<u64>, b: Option<u64>, of: impl Fn(u64, u64) -> u64) -> Option<u64> {
    Some(of(a?, b?))
}

impl Amount {
    fn add(&mut self, mapping: &Mapping) {
        self.size += mapping.range.len();
        self.resident = both(self.resident, mapping.resident, u64::saturating_add);
        self.swapped = both(self.swapped, mapping.swapped, u64::saturating_add);
    }

    fn row(self, kind: &str, label: &str) -> MemoryRow {
        MemoryRow {
            kind: kind.to_owned(),
            label: label.to_owned(),
            nested: false,
            size: self.size,
            resident: self.resident,
            swapped: self.swapped,
        }
    }
}

/// What is in memory of glibc's share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeapResidency {
    /// On pages that hold at least one byte in use.
    pub in_use: u64,
    /// On all other pages.
    pub free: u64,
}

impl HeapResidency {
    /// Reads which pages of the heap are in memory, and to what they belong: a page with one byte in use is in use.
    /// `None` if the kernel does not tell.
    pub fn read(pagemap: &ReadPagemap<'_>, page_size: u64, heap: &Heap) -> Option<HeapResidency> {
        let ranges = ranges_of(heap, page_size);
        let pagemap = pagemap(&ranges);
        let total: u64 = ranges.iter().map(|range| pagemap.resident_bytes(*range)).sum::<Option<u64>>()?;
        let mut in_use = 0;
        let mut counted_to = 0;
        for (_, chunk) in heap.in_use() {
            let mut page = chunk.start().align_down(page_size).0;
            // The chunks of arenas are in address order; mapped ones share no page with anything.
            page = if page < counted_to && counted_to - page <= page_size { counted_to } else { page };
            while page < chunk.end().0 {
                if pagemap.state(crate::addr::Addr(page)) == Some(PageState::Resident) {
                    in_use += page_size;
                }
                page += page_size;
            }
            counted_to = page;
        }
        Some(HeapResidency { in_use: in_use.min(total), free: total.saturating_sub(in_use) })
    }
}

/// Page-aligned ranges of all regions and mapped chunks, in address order.
fn ranges_of(heap: &Heap, page_size: u64) -> Vec<AddrRange> {
    let regions = heap.regions.iter().map(|region| region.walked);
    let mut ranges: Vec<AddrRange> = regions
        .chain(heap.mmapped.iter().map(|chunk| chunk.mapping))
        .map(|range| AddrRange::new(range.start.align_down(page_size), range.end.align_up(page_size)))
        .collect();
    ranges.sort_unstable();
    ranges.dedup();
    ranges
}

/// The rows that need no heap: everything that is mapped, by what backs it. `glibc` is taken out of the anonymous part.
fn mapped_rows(maps: &Maps, glibc: Amount) -> Vec<MemoryRow> {
    let [mut anonymous, mut shared, mut files, mut stacks] = [Amount::default(); 4];
    for mapping in &maps.0 {
        match mapping.backing {
            Backing::Heap => anonymous.add(mapping),
            // Guard pages and reserves that nobody may read are no memory.
            Backing::Anonymous if mapping.readable || mapping.resident.is_some_and(|bytes| bytes > 0) => {
                anonymous.add(mapping)
            }
            Backing::SharedMemory => shared.add(mapping),
            Backing::File { .. } => files.add(mapping),
            Backing::Stack => stacks.add(mapping),
            Backing::Anonymous | Backing::Kernel => {}
        }
    }
    anonymous.size = anonymous.size.saturating_sub(glibc.size);
    anonymous.resident = both(anonymous.resident, glibc.resident, u64::saturating_sub);
    anonymous.swapped = both(anonymous.swapped, glibc.swapped, u64::saturating_sub);
    vec![
        shared.row("shared_memory", "shared memory zones"),
        anonymous.row("other_anonymous", "other anonymous (thread stacks, LuaJIT)"),
        files.row("files", "files (binary, libraries)"),
        stacks.row("stacks", "stack"),
    ]
}

/// All rows of a process whose heap is not known: malloc's memory is somewhere in the first two.
pub fn without_heap(maps: &Maps) -> Vec<MemoryRow> {
    let mut heap = Amount::default();
    maps.0.iter().filter(|mapping| mapping.backing == Backing::Heap).for_each(|mapping| heap.add(mapping));
    let mut rows = vec![heap.row("brk_heap", "[heap], not walked")];
    rows.extend(mapped_rows(maps, heap));
    for row in rows.iter_mut().filter(|row| row.kind == "other_anonymous") {
        row.label = "other anonymous (malloc's own may be here)".to_owned();
    }
    rows
}

/// All rows. `in_pools` is how many bytes of what is in use belong to pools; `None` if the target has no pools.
pub fn with_heap(maps: &Maps, heap: &Heap, residency: Option<HeapResidency>, in_pools: Option<u64>) -> Vec<MemoryRow> {
    let in_use: u64 = heap.in_use().map(|(_, chunk)| chunk.size()).sum();
    let free = free_bytes(heap);
    let from_kernel = heap.books.from_kernel();
    let own = from_kernel.saturating_sub(in_use + free);
    let row = |kind: &str, label: &str, nested, size, resident| MemoryRow {
        kind: kind.to_owned(),
        label: label.to_owned(),
        nested,
        size,
        resident,
        swapped: None,
    };
    let mut rows = vec![row("glibc_in_use", "glibc, in use", false, in_use, residency.map(|bytes| bytes.in_use))];
    if let Some(in_pools) = in_pools {
        rows.push(row("glibc_in_use_pools", "nginx pools", true, in_pools, None));
        rows.push(row("glibc_in_use_other", "outside any pool", true, in_use - in_pools.min(in_use), None));
    }
    rows.push(row("glibc_free", "glibc, free but kept", false, free, residency.map(|bytes| bytes.free)));
    if own > 0 {
        rows.push(row("glibc_own", "glibc, its own headers and gaps", false, own, None));
    }
    let resident = residency.map_or(0, |bytes| bytes.in_use + bytes.free);
    rows.extend(mapped_rows(maps, Amount { size: from_kernel, resident: Some(resident), swapped: Some(0) }));
    rows
}

/// Bytes of free chunks of all kinds: what the program has given back and glibc has kept.
pub fn free_bytes(heap: &Heap) -> u64 {
    let is_free = |state| !matches!(state, ChunkState::InUse | ChunkState::Fencepost);
    heap.chunks.iter().filter(|chunk| is_free(chunk.state())).map(|chunk| chunk.size()).sum()
}
