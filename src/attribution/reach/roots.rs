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
    /// Memory that other processes have as well.
    Shared,
    /// Words in a chunk whose type is known.
    InChunk,
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
    /// Its mappings, in address order.
    pub maps: &'a Maps,
    /// Where its binary, libraries and modules lie, variables without a value in the file included.
    pub modules: &'a [AddrRange],
    /// Stack pointers of those threads that wait in the kernel.
    pub stack_pointers: &'a [Addr],
    /// Thread pointers, as far as they are known.
    pub thread_pointers: &'a [Addr],
    /// True for a core, in which the main thread's stack has no name.
    pub is_core: bool,
    /// malloc's own variables, whose pointers to chunks are lists of free ones.
    pub malloc: AddrRange,
}

/// The roots of a process: all private memory that can be written or was, except glibc's heap and its variables; and of
/// files that are shared, what can be written. Of memory without a file that is shared, [`shared_memory`] tells.
pub fn roots(layout: &Layout<'_>, heap: &Heap) -> Vec<RootRange> {
    let own = malloc_memory(layout, heap);
    let mut roots = Vec::new();
    for (index, mapping) in layout.maps.0.iter().enumerate() {
        let Some(kind) = kind_of(layout, mapping, layout.maps.0.get(index + 1)) else { continue };
        for (part, kind) in parts(layout, index, mapping, kind) {
            roots.extend(without(part, &own).into_iter().map(|range| RootRange { range, kind }));
        }
    }
    roots
}

/// Memory without a file that other processes have as well: nginx's zones. nginx keeps nothing there that leads into the
/// heap of one worker, but a module may. Another worker's address there can by chance be that of a chunk here, which then
/// counts as held: that hides what is lost, and never makes up a loss. Only pages that this process has touched can have its
/// own pointers, and only those are to be read: to read another one would give it to the process.
pub fn shared_memory(maps: &Maps) -> Vec<RootRange> {
    let is_shared = |mapping: &&Mapping| mapping.backing == Backing::SharedMemory && mapping.readable;
    let shared = maps.0.iter().filter(is_shared);
    shared.map(|mapping| RootRange { range: mapping.range, kind: RootKind::Shared }).collect()
}

/// What of a mapping is looked through, and as what.
fn parts(layout: &Layout<'_>, index: usize, mapping: &Mapping, kind: RootKind) -> Vec<(AddrRange, RootKind)> {
    let range = mapping.range;
    let pointers = || layout.stack_pointers.iter().copied().filter(|pointer| range.contains(*pointer));
    let can_be_stack = matches!(mapping.backing, Backing::Stack | Backing::Anonymous);
    let Some(pointer) = pointers().min().filter(|_| can_be_stack) else {
        return vec![(range, kind)];
    };
    let in_use = (pointer - RED_ZONE.min(pointer.0)).max(range.start);
    let thread = layout.thread_pointers.iter().copied().filter(|thread| range.contains(*thread)).min();
    let below = AddrRange::new(range.start, in_use);
    let rest = AddrRange::new(in_use, range.end);
    let mut parts = Vec::new();
    if !is_unused_stack(layout, index, mapping, pointer, thread) {
        parts.push((below, kind));
    }
    // What the kernel has joined with a thread's stack lies behind what is that thread's own.
    let split = thread.map_or(range.end, |thread| thread_local(thread).start.max(rest.start));
    parts.push((AddrRange::new(rest.start, split), RootKind::Stack));
    parts.push((AddrRange::new(split, rest.end), RootKind::ThreadLocal));
    parts
}

/// True if nothing but unused stack lies in a mapping below the lowest stack pointer in it. The kernel joins mappings side by
/// side that have the same rights, so that a stack can lie in one with other data, and with stacks of other threads:
///
/// * The main thread's stack is never joined with anything (Linux `mm/vma.c`: it grows by itself). A core has no name for it;
///   there it lies above all files.
/// * glibc puts a page without rights below the stack of each thread, and the thread pointer at its upper end (glibc
///   `nptl/allocatestack.c`). With both around the stack pointer, and no other thread's between, it is one thread's stack.
///
/// Anything else stays: stacks without such a page, and those that a program has made for itself.
fn is_unused_stack(layout: &Layout<'_>, index: usize, mapping: &Mapping, pointer: Addr, thread: Option<Addr>) -> bool {
    if mapping.backing == Backing::Stack {
        return true;
    }
    if let Some(thread) = thread {
        let before = index.checked_sub(1).and_then(|before| layout.maps.0.get(before));
        let is_guard = |before: &Mapping| {
            before.range.end == mapping.range.start && !before.readable && !before.writable && !before.executable
        };
        return pointer < thread && before.is_some_and(is_guard);
    }
    let above = layout.maps.0.get(index + 1..).unwrap_or_default();
    // The kernel's own code, which has no name there either, can lie above it.
    let is_program = |above: &Mapping| match above.backing {
        Backing::File { .. } => true,
        Backing::Anonymous => above.writable,
        _ => false,
    };
    layout.is_core && !above.iter().any(is_program)
}

fn kind_of(layout: &Layout<'_>, mapping: &Mapping, next: Option<&Mapping>) -> Option<RootKind> {
    let in_module = || layout.modules.iter().any(|module| module.contains(mapping.range.start));
    match &mapping.backing {
        Backing::File { .. } if mapping.writable || was_written(mapping, next) => Some(RootKind::Variables),
        Backing::Anonymous if mapping.readable && in_module() => Some(RootKind::Variables),
        // What cannot be written now may have been: that is how a program keeps others from changing its tables.
        Backing::Anonymous | Backing::Heap if mapping.readable => Some(RootKind::Anonymous),
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
    use crate::malloc::arena::Par;
    use crate::malloc::books::Books;

    fn range(start: u64, end: u64) -> AddrRange {
        AddrRange::new(Addr(start), Addr(end))
    }

    fn mapping(start: u64, end: u64, backing: Backing) -> Mapping {
        Mapping {
            range: range(start, end),
            file_offset: 0,
            inode: 0,
            device: (0, 0),
            readable: true,
            writable: true,
            executable: false,
            backing,
            resident: None,
            swapped: None,
        }
    }

    fn guard(start: u64, end: u64) -> Mapping {
        Mapping { readable: false, writable: false, ..mapping(start, end, Backing::Anonymous) }
    }

    /// The parts of these mappings that are looked through, with `stacks` and `threads` as stack and thread pointers.
    fn parts_of(maps: &[Mapping], stacks: &[u64], threads: &[u64], is_core: bool) -> Vec<(u64, u64, RootKind)> {
        let maps = Maps(maps.to_vec());
        let addresses = |words: &[u64]| words.iter().map(|word| Addr(*word)).collect::<Vec<_>>();
        let (stacks, threads) = (addresses(stacks), addresses(threads));
        let layout = Layout {
            maps: &maps,
            modules: &[],
            stack_pointers: &stacks,
            thread_pointers: &threads,
            is_core,
            malloc: range(0, 0),
        };
        let heap = Heap {
            arenas: Vec::new(),
            par: Par::default(),
            regions: Vec::new(),
            chunks: Vec::new(),
            mmapped: Vec::new(),
            tcaches: Vec::new(),
            linking: None,
            books: Books::default(),
        };
        let roots = roots(&layout, &heap);
        roots.into_iter().map(|root| (root.range.start.0, root.range.end.0, root.kind)).collect()
    }

    #[test]
    fn below_the_stack_pointer_only_what_is_nothing_but_stack_is_left_out() {
        use RootKind::{Anonymous, Stack, ThreadLocal};
        let joined = mapping(0x10_0000, 0x20_0000, Backing::Anonymous);
        let with_guard = [guard(0xf_f000, 0x10_0000), joined.clone()];
        // A thread's stack as glibc makes it, with other data behind it.
        let expected = [(0x13_ff80, 0x14_f000, Stack), (0x14_f000, 0x20_0000, ThreadLocal)];
        assert_eq!(parts_of(&with_guard, &[0x14_0000], &[0x15_0000], false), expected);
        // The same without a guard: what lies below may be anything.
        let whole = [(0x10_0000, 0x13_ff80, Anonymous), expected[0], expected[1]];
        assert_eq!(parts_of(std::slice::from_ref(&joined), &[0x14_0000], &[0x15_0000], false), whole);
        // Another thread, which runs and has no stack pointer, has its stack below.
        let both = parts_of(&with_guard, &[0x14_0000], &[0x12_0000, 0x15_0000], false);
        assert_eq!(both.first(), Some(&(0x10_0000, 0x13_ff80, Anonymous)));
        // A stack that the program has made for itself, in memory that it has mapped.
        let own = [(0x10_0000, 0x13_ff80, Anonymous), (0x13_ff80, 0x20_0000, Stack)];
        assert_eq!(parts_of(&with_guard, &[0x14_0000], &[], false), own);
    }

    #[test]
    fn of_the_main_stack_only_what_is_in_use_counts() {
        let expected = [(0x13_ff80, 0x20_0000, RootKind::Stack)];
        let stack = mapping(0x10_0000, 0x20_0000, Backing::Stack);
        assert_eq!(parts_of(&[stack], &[0x14_0000], &[], false), expected);
        let unnamed = mapping(0x10_0000, 0x20_0000, Backing::Anonymous);
        assert_eq!(parts_of(std::slice::from_ref(&unnamed), &[0x14_0000], &[], true), expected);
        let behind = mapping(0x30_0000, 0x31_0000, Backing::Anonymous);
        assert_eq!(parts_of(&[unnamed, behind], &[0x14_0000], &[], true).len(), 3);
    }

    #[test]
    fn shared_memory_is_told_apart_and_what_was_made_read_only_counts() {
        let zone = mapping(0x10_0000, 0x20_0000, Backing::SharedMemory);
        let sealed = Mapping { writable: false, ..mapping(0x30_0000, 0x31_0000, Backing::Anonymous) };
        let maps = [zone, sealed];
        assert_eq!(parts_of(&maps, &[], &[], false), [(0x30_0000, 0x31_0000, RootKind::Anonymous)]);
        let expected = [RootRange { range: range(0x10_0000, 0x20_0000), kind: RootKind::Shared }];
        assert_eq!(shared_memory(&Maps(maps.to_vec())), expected);
    }

    #[test]
    fn holes_are_cut_out_of_a_range() {
        let holes = [range(0x100, 0x1004), range(0x2000, 0x3000), range(0x2800, 0x3800), range(0x9000, 0xa000)];
        assert_eq!(without(range(0x1000, 0x4000), &holes), [range(0x1008, 0x2000), range(0x3800, 0x4000)]);
        assert_eq!(without(range(0x2000, 0x3000), &holes), []);
        assert_eq!(without(range(0x5000, 0x6000), &holes), [range(0x5000, 0x6000)]);
    }
}
