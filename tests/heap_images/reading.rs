//! Reads an image the way a stopped process is read, and counts what that takes.

use super::process::{HeapImage, PAGE};
use poolscope::addr::{Addr, AddrRange};
use poolscope::malloc::heap::Heap;
use poolscope::malloc::read::{HeapReading, Source, read_heap};
use poolscope::malloc::rehearsal::{Rehearsal, Workspace};
use poolscope::malloc::walk::{NoVisitor, PayloadVisitor};
use poolscope::target::image::Image;
use poolscope::target::memory::{Fault, Memory};
use poolscope::target::pagemap::Pagemap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts reads and the bytes that they asked for.
pub struct Counting<'a> {
    image: &'a Image,
    pub reads: AtomicU64,
    pub bytes: AtomicU64,
}

impl<'a> Counting<'a> {
    pub fn new(image: &'a Image) -> Counting<'a> {
        Counting { image, reads: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }
}

impl Memory for Counting<'_> {
    fn read(&self, address: Addr, buffer: &mut [u8]) -> Result<(), Fault> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.image.read(address, buffer)
    }
}

/// One reading of the heap, with so many reading threads.
pub fn read_with<M: Memory + Sync, V: PayloadVisitor>(
    target: &HeapImage,
    memory: &M,
    rehearsal: &Rehearsal,
    threads: u64,
    make_visitor: &impl Fn() -> V,
) -> Result<HeapReading<V>, Fault> {
    let pagemap = |_: &[AddrRange]| Pagemap::default();
    let source = Source {
        bulk: memory,
        chase: memory,
        layout: &target.glibc.layout,
        roots: target.roots,
        maps: &target.maps,
        page_size: PAGE,
        threads: &target.threads,
        wanted: &[],
        pagemap: &pagemap,
        maps_now: &|| None,
        threads_now: &|| None,
    };
    let workspace = Workspace::for_plan(rehearsal, threads, make_visitor);
    read_heap(&source, rehearsal, workspace, make_visitor, |_| {})
}

/// The heap as it is found without visitors.
pub fn settle(target: &HeapImage, rehearsal: &Rehearsal, threads: u64) -> Heap {
    let memory = Counting::new(&target.image);
    Heap::settle(read_with(target, &memory, rehearsal, threads, &|| NoVisitor).unwrap()).0
}

/// What a reading without knowledge leaves for the next one.
pub fn rehearse(target: &HeapImage, threads: u64) -> Rehearsal {
    let memory = Counting::new(&target.image);
    let reading = read_with(target, &memory, &Rehearsal::default(), 1, &|| NoVisitor).unwrap();
    Rehearsal::of(&reading, 80, &[], reading.freed.lines(), threads)
}

/// The heap is what was laid, and malloc's books say the same.
pub fn assert_found(target: &HeapImage, heap: &Heap) {
    assert_eq!(heap.books.problems, Vec::<String>::new());
    assert_eq!(heap.chunks, target.chunks);
    assert_eq!(heap.mmapped, target.mapped);
    assert_eq!(heap.books.coverage(), 1.0);
    assert_eq!(heap.books.mallinfo(), target.mallinfo);
    assert!(heap.linking.is_none_or(|linking| linking == target.glibc.linking));
}
