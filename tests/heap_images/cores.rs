//! The same heaps in a core: read through it, they must be what was laid. Some of these cores are kept as seeds for fuzzing
//! (`tests/fuzz/corpus/core`), whose walk has the same layouts and roots; they are cores of x86_64.

use super::core_support::{CoreBuilder, Packing, RW, linked_core};
use super::glibcs::{Glibc, glibc_2_27, glibc_2_36, glibc_2_43};
use super::pool_image::{LAYOUT, PoolImage, PoolPlan};
use super::process::{HeapImage, PAGE};
use super::spec::{Mapped, Spec, State, cached, fast, free, in_use};
use poolscope::addr::AddrRange;
use poolscope::malloc::heap::Heap;
use poolscope::malloc::read::{Source, read_heap};
use poolscope::malloc::rehearsal::{Rehearsal, Workspace};
use poolscope::nginx::scan::PoolScanner;
use poolscope::target::core::Core;
use poolscope::target::memory::Memory;
use std::path::{Path, PathBuf};

/// Which of the layouts the fuzz target is to walk a core with: byte 9 of the file.
const CHOICE: usize = 9;

/// A core of the process. Of glibc and of the threads it has no more than is read, so that it is small.
fn core_of(target: &HeapImage, choice: u8) -> Vec<u8> {
    let mut builder = CoreBuilder::new().process(100, 1, "nginx", "nginx: worker process").auxiliary(&[(6, PAGE)]);
    for (tid, pointer) in &target.threads {
        builder = builder.thread(*tid as u32, 0x40_1000, pointer.0 + 0x100, pointer.0);
    }
    let layout = &target.glibc.layout;
    let libc = [(target.roots.main_arena, layout.state.size), (target.roots.par, layout.par.size)];
    let libc = libc.map(|(start, size)| AddrRange::sized(start, size));
    let threads = target.threads.iter().map(|(_, pointer)| AddrRange::sized(*pointer, 0x900));
    let is_heap = |range: &&AddrRange| target.maps.at(range.start).is_some();
    for range in libc.into_iter().chain(threads).chain(target.segments.iter().filter(is_heap).copied()) {
        let mut bytes = vec![0; range.len() as usize];
        target.image.read(range.start, &mut bytes).unwrap();
        builder = builder.segment(range.start.0, RW, bytes, range.len());
    }
    let mut bytes = builder.build();
    bytes[CHOICE] = choice;
    bytes
}

/// All kinds of chunks, two arenas, mapped chunks.
fn heaps(glibc: &Glibc) -> HeapImage {
    let cells =
        [in_use(0x20), free(0x90), in_use(0x410), cached(0x30), in_use(0x20), fast(0x40), in_use(0x80), free(0x400)];
    let spec = Spec {
        sbrk_offset: 16,
        brk: vec![(cells.to_vec(), 0x100), (vec![in_use(0x200), free(0x50), in_use(0x20)], 0)],
        arenas: vec![vec![vec![in_use(0x20), free(0x80), in_use(0x50)]]],
        mapped: vec![Mapped { pages: 1, alignment: None }],
        threads: 2,
        ..Spec::default()
    };
    HeapImage::build(glibc, &spec)
}

fn pools(glibc: &Glibc) -> HeapImage {
    let plans = [
        PoolPlan { fill: vec![16, 3], large: vec![(64, false), (32, true)], cleanups: 2, ..PoolPlan::simple(512, 1) },
        PoolPlan { current: 1, ..PoolPlan::simple(256, 3) },
        PoolPlan { state: State::Free, ..PoolPlan::simple(512, 1) },
    ];
    PoolImage::build(glibc, &plans, &[3, 1, 2]).target
}

/// Reads the heap through the core.
fn assert_read(path: &Path, target: &HeapImage) {
    let core = Core::open(path).unwrap();
    let mut maps = core.maps();
    let start = target.maps.heap_ranges()[0].start;
    maps.mark_brk_heap(start);
    let threads: Vec<_> = core.threads().iter().map(|thread| (thread.tid, thread.thread_pointer.unwrap())).collect();
    assert_eq!(threads, target.threads);
    let pagemap = |ranges: &[AddrRange]| core.pagemap(ranges);
    let source = Source {
        bulk: &core,
        chase: &core,
        layout: &target.glibc.layout,
        roots: target.roots,
        maps: &maps,
        page_size: core.page_size(),
        threads: &threads,
        wanted: &[],
        pagemap: &pagemap,
        maps_now: &|| None,
        threads_now: &|| None,
    };
    let plan = Rehearsal::default();
    let scanner = || PoolScanner::new(&LAYOUT, PAGE);
    let reading = read_heap(&source, &plan, Workspace::for_plan(&plan, 1, &scanner), &scanner, drop).unwrap();
    let (heap, _) = Heap::settle(reading);
    assert_eq!(heap.books.problems, Vec::<String>::new());
    assert_eq!((&heap.chunks, &heap.mmapped), (&target.chunks, &target.mapped));
    assert_eq!(heap.books.mallinfo(), target.mallinfo);
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/core")
}

/// The kept seed of that name, which is written first if `POOLSCOPE_WRITE_SEEDS` is set.
fn kept(name: &str, bytes: &[u8]) -> PathBuf {
    let path = corpus().join(name);
    if std::env::var_os("POOLSCOPE_WRITE_SEEDS").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    path
}

#[test]
fn seeds_for_fuzzing_hold_heaps_that_are_read_to_the_end() {
    let releases = [(0, "2.36", glibc_2_36()), (1, "2.43", glibc_2_43()), (2, "2.27", glibc_2_27())];
    for (choice, name, glibc) in releases {
        for (what, target) in [("heaps", heaps(&glibc)), ("pools", pools(&glibc))] {
            let bytes = core_of(&target, choice);
            let path = kept(&format!("seed-{what}-{name}"), &bytes);
            assert!(std::fs::read(&path).unwrap() == bytes, "{} is not what the tests lay", path.display());
            assert_read(&path, &target);
        }
    }
}

#[test]
fn seeds_for_fuzzing_are_packed_in_every_way() {
    let plain = linked_core();
    let path = kept("seed-linked", &plain);
    let whole = Core::open(&path).unwrap();
    assert_eq!(whole.modules().len(), 2);
    for (packing, name) in Packing::ALL.into_iter().zip(["zst", "lz4", "xz", "gz"]) {
        let path = kept(&format!("seed-linked.{name}"), &packing.pack_in_frames(&plain, 2000));
        let core = Core::open(&path).unwrap();
        assert_eq!((core.modules(), core.completeness()), (whole.modules(), whole.completeness()), "{name}");
    }
}

#[test]
fn a_seed_for_fuzzing_has_its_count_of_program_headers_elsewhere() {
    let builder = CoreBuilder::new().thread(7, 1, 2, 3).process(7, 1, "nginx", "nginx").extended();
    let bytes =
        (0..40).fold(builder, |builder, n| builder.segment(0x10_0000 + n * 0x2000, RW, vec![n as u8; 16], 0x1000));
    let core = Core::open(&kept("seed-extended", &bytes.build())).unwrap();
    assert_eq!(core.maps().0.len(), 40);
}
