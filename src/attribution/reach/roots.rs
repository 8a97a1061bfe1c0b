//! Roots: memory outside the heap in which a program keeps pointers.

use crate::addr::{Addr, AddrRange};
use crate::malloc::heap::Heap;
use crate::target::maps::{Backing, Mapping, Maps};

/// Below the stack pointer a function may still keep something (System V ABI of x86_64, the red zone).
const RED_ZONE: u64 = 128;

/// Thread-local variables lie below the thread pointer (ELF handling for thread-local storage, variant II), glibc's own
/// data of the thread above it; where they begin is not known, but what lies between is in use as long as the thread is.
const THREAD_LOCAL_BELOW: u64 = 4096;
/// glibc's `struct pthread` is smaller than this.
const THREAD_LOCAL_ABOVE: u64 = 4096;

/// Where a thread keeps what is its own, by its thread pointer.
pub fn thread_local(pointer: Addr) -> AddrRange {
    AddrRange::new(pointer - THREAD_LOCAL_BELOW.min(pointer.0), pointer + THREAD_LOCAL_ABOVE)
}

/// What a root is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RootKind {
    /// Variables of the binary, a library or a module.
    Variables,
    /// Private memory without a file: LuaJIT's, the main thread's thread-local storage, what the program has mapped for
    /// itself.
    Anonymous,
    /// Thread-local storage at the upper end of a thread's stack.
    ThreadLocal,
    /// A thread's stack.
    Stack,
}

/// Memory to be looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootRange {
    /// Where it lies.
    pub range: AddrRange,
    /// What it is.
    pub kind: RootKind,
}

/// What the roots of a process are told from.
#[derive(Debug)]
pub struct Layout<'a> {
    /// Its mappings.
    pub maps: &'a Maps,
    /// Where its binary, libraries and modules lie, variables without a value in the file included.
    pub modules: &'a [AddrRange],
    /// Stack pointers of those threads that wait in the kernel.
    pub stack_pointers: &'a [Addr],
    /// Thread pointers, as far as they are known.
    pub thread_pointers: &'a [Addr],
    /// malloc's own variables, whose pointers to chunks are lists of free ones.
    pub malloc: AddrRange,
}

/// The roots of a process: all private memory that can be written or was, except glibc's heap and its variables. Shared
/// memory is none: pointers into one process's heap have no meaning there.
pub fn roots(layout: &Layout<'_>, heap: &Heap) -> Vec<RootRange> {
    let own = malloc_memory(layout, heap);
    let mut roots = Vec::new();
    for (index, mapping) in layout.maps.0.iter().enumerate() {
        let Some(kind) = kind_of(layout, mapping, layout.maps.0.get(index + 1)) else { continue };
        let range = match stack_pointer(layout, mapping) {
            Some(pointer) => AddrRange::new((pointer - RED_ZONE).max(mapping.range.start), mapping.range.end),
            None => mapping.range,
        };
        let kind = if range == mapping.range { kind } else { RootKind::Stack };
        let own_of_thread =
            layout.thread_pointers.iter().find(|pointer| kind == RootKind::Stack && range.contains(**pointer));
        let split = own_of_thread.map_or(range.end, |pointer| thread_local(*pointer).start.max(range.start));
        let parts =
            [(AddrRange::new(range.start, split), kind), (AddrRange::new(split, range.end), RootKind::ThreadLocal)];
        for (part, kind) in parts {
            roots.extend(without(part, &own).into_iter().map(|range| RootRange { range, kind }));
        }
    }
    roots
}

fn kind_of(layout: &Layout<'_>, mapping: &Mapping, next: Option<&Mapping>) -> Option<RootKind> {
    let in_module = || layout.modules.iter().any(|module| module.contains(mapping.range.start));
    match &mapping.backing {
        Backing::File { .. } if mapping.writable || was_written(mapping, next) => Some(RootKind::Variables),
        Backing::Anonymous if mapping.readable && mapping.writable && in_module() => Some(RootKind::Variables),
        Backing::Anonymous | Backing::Heap if mapping.readable && mapping.writable => Some(RootKind::Anonymous),
        Backing::Stack => Some(RootKind::Stack),
        _ => None,
    }
}

/// True for variables that the loader has made read-only after it had set them (`PT_GNU_RELRO`): they lie right before
/// those of the same file that can be written.
fn was_written(mapping: &Mapping, next: Option<&Mapping>) -> bool {
    let is_followed = |next: &Mapping| {
        next.writable && next.range.start == mapping.range.end && next.inode == mapping.inode && mapping.inode != 0
    };
    mapping.readable && !mapping.executable && next.is_some_and(is_followed)
}

fn stack_pointer(layout: &Layout<'_>, mapping: &Mapping) -> Option<Addr> {
    let is_stack = matches!(mapping.backing, Backing::Stack | Backing::Anonymous);
    layout.stack_pointers.iter().copied().filter(|pointer| is_stack && mapping.range.contains(*pointer)).min()
}

/// Memory of malloc: chunks in address order, what an arena keeps before its first one, and `main_arena`.
fn malloc_memory(layout: &Layout<'_>, heap: &Heap) -> Vec<AddrRange> {
    let regions = heap.regions.iter().map(|region| {
        let start = region.region.chunks.start - region.region.overhead;
        AddrRange::new(start, region.walked.end.max(region.region.chunks.start))
    });
    let mapped = heap.mmapped.iter().map(|mapped| mapped.mapping);
    let mut own: Vec<AddrRange> = regions.chain(mapped).chain([layout.malloc]).collect();
    own.sort_unstable();
    own
}

/// What is left of `range` without `holes`, which are in address order.
fn without(range: AddrRange, holes: &[AddrRange]) -> Vec<AddrRange> {
    let mut left = Vec::new();
    let mut from = range.start;
    let first = holes.partition_point(|hole| hole.end <= range.start);
    for hole in holes.iter().skip(first).take_while(|hole| hole.start < range.end) {
        left.push(AddrRange::new(from, hole.start));
        from = from.max(hole.end);
    }
    left.push(AddrRange::new(from, range.end));
    // Words are looked at where they are aligned.
    let aligned = left.into_iter().map(|range| AddrRange::new(range.start.align_up(8), range.end));
    aligned.filter(|range| range.len() >= 8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> AddrRange {
        AddrRange::new(Addr(start), Addr(end))
    }

    #[test]
    fn holes_are_cut_out_of_a_range() {
        let holes = [range(0x100, 0x1004), range(0x2000, 0x3000), range(0x2800, 0x3800), range(0x9000, 0xa000)];
        assert_eq!(without(range(0x1000, 0x4000), &holes), [range(0x1008, 0x2000), range(0x3800, 0x4000)]);
        assert_eq!(without(range(0x2000, 0x3000), &holes), []);
        assert_eq!(without(range(0x5000, 0x6000), &holes), [range(0x5000, 0x6000)]);
    }
}
