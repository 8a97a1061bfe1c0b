//! Memory that somebody has written over: the reading ends, takes no more than a whole heap does, and does not call a heap
//! whole that it has misread.

use super::glibcs::all;
use super::process::{HeapImage, PAGE};
use super::reading::{Counting, read_with, rehearse};
use super::spec::{Spec, in_use, spec};
use poolscope::addr::Addr;
use poolscope::malloc::chunk::{Chunk, ChunkState, NON_MAIN_ARENA};
use poolscope::malloc::heap::Heap;
use poolscope::malloc::rehearsal::Rehearsal;
use poolscope::malloc::walk::NoVisitor;
use poolscope::target::memory::Memory;
use proptest::prelude::*;
use proptest::sample::Index;
use std::sync::atomic::Ordering;

/// What is written, in terms of what is there.
#[derive(Debug, Clone)]
enum Value {
    Any(u64),
    Flip(u32),
    /// A size with flags.
    Header(u64),
    /// Somewhere in the memory of the process.
    Pointer(Index, Index, u64),
    /// The end of the address space.
    Huge(u64),
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u64>().prop_map(Value::Any),
        (0u32..64).prop_map(Value::Flip),
        (0u64..0x4000).prop_map(Value::Header),
        (any::<Index>(), any::<Index>(), 0u64..2).prop_map(|(segment, at, odd)| Value::Pointer(segment, at, odd)),
        (0u64..64).prop_map(Value::Huge),
    ]
}

fn word_in(target: &HeapImage, segment: Index, at: Index) -> Addr {
    let range = segment.get(&target.segments);
    range.start + at.index((range.len() / 8) as usize) as u64 * 8
}

fn damage(target: &mut HeapImage, address: Addr, value: &Value) {
    let old = target.image.read_u64(address).unwrap();
    let new = match value {
        Value::Any(value) => *value,
        Value::Flip(bit) => old ^ (1 << bit),
        Value::Header(size) => *size,
        Value::Pointer(segment, at, odd) => word_in(target, *segment, *at).0 | odd,
        Value::Huge(less) => u64::MAX - less,
    };
    target.poke(address, new);
}

/// Reads it, and holds the reading to a few times the work that the process has memory.
fn read_bounded(target: &HeapImage, rehearsal: &Rehearsal) -> Option<Heap> {
    let memory = Counting::new(&target.image);
    let reading = read_with(target, &memory, rehearsal, 2, &|| NoVisitor);
    let whole: u64 = target.segments.iter().map(|segment| segment.len()).sum();
    let (reads, bytes) = (memory.reads.load(Ordering::Relaxed), memory.bytes.load(Ordering::Relaxed));
    assert!(bytes < 16 * whole + (48 << 20), "{bytes} bytes of {whole} were read");
    assert!(reads < whole / 8 + 4096, "{reads} reads for {whole} bytes");
    reading.ok().map(|reading| Heap::settle(reading).0)
}

/// All figures of the report are computed without a panic, and are what they are said to be.
fn assert_sane(heap: &Heap) {
    let coverage = heap.books.coverage();
    assert!((0.0..=1.0).contains(&coverage), "{coverage}");
    let _ = (heap.books.mallinfo(), heap.books.from_kernel(), format!("{:?}", heap.books));
    for (id, chunk) in heap.in_use() {
        assert!(heap.usable(id) < chunk.size() + 2 * PAGE);
        assert_eq!(heap.find(chunk.memory()).map(|found| heap.chunk(found).memory()), Some(chunk.memory()));
    }
}

/// The same chunks, but that some neighbours in use may be taken for one: malloc itself would not notice that before one of
/// them is freed.
fn is_same_but_for_joined_neighbours(found: &[Chunk], laid: &[Chunk]) -> bool {
    let mut laid = laid.iter();
    found.iter().all(|chunk| {
        let Some(first) = laid.next().filter(|first| first.memory() == chunk.memory()) else { return false };
        let mut end = first.end();
        let mut all_in_use = first.state() == ChunkState::InUse;
        while end < chunk.end() {
            let Some(next) = laid.next() else { return false };
            all_in_use &= next.state() == ChunkState::InUse;
            end = next.end();
        }
        end == chunk.end() && first.state() == chunk.state() && (all_in_use || first.size() == chunk.size())
    }) && laid.next().is_none()
}

/// Of three fenceposts the first is what was left of the old top, which looks like the end of the chunk before it if that
/// has lost its size.
fn with_rests(chunks: &[Chunk]) -> Vec<Chunk> {
    let split = |chunk: &Chunk| match (chunk.state(), chunk.size()) {
        (ChunkState::Fencepost, 48) => vec![
            Chunk::new(chunk.memory(), 16, ChunkState::InUse),
            Chunk::new(chunk.memory() + 16, 32, ChunkState::Fencepost),
        ],
        _ => vec![*chunk],
    };
    chunks.iter().flat_map(split).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn words_written_over_anywhere_end_the_reading_early_at_worst(
        spec in spec(),
        release in 0usize..4,
        words in prop::collection::vec((any::<Index>(), any::<Index>(), value()), 1..8),
        is_rehearsed in any::<bool>(),
    ) {
        let mut target = HeapImage::build(&all()[release], &spec);
        let rehearsal = if is_rehearsed { rehearse(&target, 2) } else { Rehearsal::default() };
        for (segment, at, value) in &words {
            let address = word_in(&target, *segment, *at);
            damage(&mut target, address, value);
        }
        if let Some(heap) = read_bounded(&target, &rehearsal) {
            assert_sane(&heap);
        }
    }

    /// Most words of a process are the program's own; here only malloc's are hit.
    #[test]
    fn malloc_s_own_words_written_over_end_the_reading_early_at_worst(
        spec in spec(),
        release in 0usize..4,
        words in prop::collection::vec((any::<Index>(), any::<Index>(), value()), 1..4),
    ) {
        let mut target = HeapImage::build(&all()[release], &spec);
        let places = malloc_words(&target);
        for (kind, at, value) in &words {
            let address = at.get(kind.get(&places).as_slice());
            damage(&mut target, *address, value);
        }
        if let Some(heap) = read_bounded(&target, &Rehearsal::default()) {
            assert_sane(&heap);
        }
    }

    #[test]
    fn a_heap_with_a_damaged_header_is_not_called_whole(
        spec in spec(),
        release in 0usize..4,
        chunk in any::<Index>(),
        value in value(),
        is_rehearsed in any::<bool>(),
    ) {
        let mut target = HeapImage::build(&all()[release], &spec);
        let rehearsal = if is_rehearsed { rehearse(&target, 2) } else { Rehearsal::default() };
        let header = chunk.get(&target.chunks).start() + 8;
        damage(&mut target, header, &value);
        let heap = read_bounded(&target, &rehearsal).unwrap();
        assert_sane(&heap);
        // A damaged first chunk behind a hole is taken for a part of the hole, which nobody can tell how long it was.
        let is_hole_as_laid = heap.books.arenas[0].foreign == target.foreign;
        if heap.books.reconcile_exactly() && is_hole_as_laid {
            let (found, laid) = (with_rests(&heap.chunks), with_rests(&target.chunks));
            prop_assert!(is_same_but_for_joined_neighbours(&found, &laid), "{:#?}", heap.chunks);
            prop_assert_eq!(&heap.mmapped, &target.mapped);
        }
    }
}

/// Words of arenas, of `mp_`, of thread caches and thread blocks, of chunk headers with their links, of mapped headers.
fn malloc_words(target: &HeapImage) -> Vec<Vec<Addr>> {
    let words = |start: Addr, length: u64| (0..length / 8).map(move |word| start + word * 8);
    let layout = &target.glibc.layout;
    let arenas = target.arenas.iter().flat_map(|arena| words(*arena, layout.state.size));
    let heap_infos = target.arenas.iter().skip(1).flat_map(|arena| words(*arena - layout.heap_info.size, 32));
    let caches = target.tcaches.iter().flat_map(|cache| words(*cache, target.glibc.tcache().size));
    let threads = target.threads.iter().flat_map(|(_, pointer)| words(*pointer, PAGE));
    let chunks = target.chunks.iter().flat_map(|chunk| words(chunk.start(), chunk.size().min(48)));
    let mapped = target.mapped.iter().flat_map(|mapped| words(mapped.chunk.start(), 16));
    let parameters = words(target.roots.par, layout.par.size);
    let kinds = [arenas.collect(), heap_infos.collect(), caches.collect(), threads.collect(), chunks.collect()];
    let kinds = kinds.into_iter().chain([mapped.collect::<Vec<Addr>>(), parameters.collect()]);
    kinds.filter(|kind| !kind.is_empty()).collect()
}

#[test]
fn a_flag_that_says_nothing_about_size_or_state_does_no_harm() {
    let mut target = HeapImage::build(&all()[2], &Spec::plain(&[in_use(0x40), in_use(0x60)]));
    let header = target.chunks[1].start() + 8;
    let word = target.image.read_u64(header).unwrap();
    target.poke(header, word ^ NON_MAIN_ARENA);
    let heap = read_bounded(&target, &Rehearsal::default()).unwrap();
    assert_eq!(heap.chunks, target.chunks);
}

/// One bit more in its size, and the last chunk of a heap reaches over the first of the two headers that close it.
#[test]
fn a_chunk_that_reaches_into_the_end_of_its_heap_is_noticed() {
    for release in all() {
        let heap = |size| vec![in_use(size)];
        let spec = Spec { arenas: vec![vec![heap(0x60), heap(0x40)]], ..Spec::plain(&[in_use(0x40)]) };
        let mut target = HeapImage::build(&release, &spec);
        let is_last = |pair: &&[Chunk]| pair[1].state() == ChunkState::Fencepost;
        let header = target.chunks.windows(2).find(is_last).unwrap()[0].start() + 8;
        let word = target.image.read_u64(header).unwrap();
        target.poke(header, word + 0x10);
        let heap = read_bounded(&target, &Rehearsal::default()).unwrap();
        assert!(!heap.books.reconcile_exactly(), "{:#?}", heap.chunks);
    }
}

/// The hole behind the first piece is full of what looks like headers, each of which leads on for long and to no end.
#[test]
fn a_hole_full_of_false_headers_is_searched_in_bounded_time() {
    let hole = 1 << 20;
    let spec = Spec { brk: vec![(vec![in_use(0x40)], hole), (vec![in_use(0x60)], 0)], threads: 1, ..Spec::default() };
    let mut target = HeapImage::build(&all()[2], &spec);
    let fencepost = target.chunks.iter().find(|chunk| chunk.state() == ChunkState::Fencepost).unwrap().end();
    for at in (0..hole).step_by(16) {
        target.poke(fencepost + at + 8, 0x21);
    }
    // One more that is none: without it, each would be a good way to the second piece.
    target.poke(fencepost + hole - 8, 0x5);
    target.poke(fencepost + hole - 24, 0x5);
    let heap = read_bounded(&target, &Rehearsal::default()).unwrap();
    assert_sane(&heap);
}
