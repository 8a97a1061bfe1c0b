//! Small processes, whole: a heap of ten chunks and a page of variables.

use super::*;
use crate::addr::AddrRange;
use crate::attribution::claims::Claim;
use crate::attribution::groups::TypedChunk;
use crate::attribution::{Held, OwnedPool};
use crate::malloc::arena::Par;
use crate::malloc::books::Books;
use crate::malloc::chunk::{Chunk, ChunkState, PREV_INUSE};
use crate::malloc::heap::{ChunkId, SettledRegion};
use crate::malloc::region::Region;
use crate::nginx::owner::{NO_KNOWN_OWNER, NamedPool};
use crate::nginx::pool::Pool;
use crate::target::image::Image;
use crate::target::memory::Fault;
use crate::target::pagemap::Pagemap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const HEAP: u64 = 0x5555_0000_0000;
const VARIABLES: u64 = 0x5554_0000_0000;
const SIZE: u64 = 0x100;
const COUNT: u64 = 10;
/// The only free one.
const FREE: u64 = 6;
/// The pool with a name, and two without.
const NAMED: u64 = 7;
const POOLS: [u64; 2] = [4, 5];

fn memory_of(chunk: u64) -> Addr {
    Addr(HEAP + chunk * SIZE + 16)
}

fn heap() -> Heap {
    heap_of(SIZE, COUNT)
}

fn heap_of(size: u64, count: u64) -> Heap {
    let state = |chunk| if chunk == FREE { ChunkState::Free } else { ChunkState::InUse };
    let range = AddrRange::sized(Addr(HEAP), count * size);
    Heap {
        arenas: Vec::new(),
        par: Par::default(),
        regions: vec![SettledRegion {
            region: Region { arena: 0, chunks: range, overhead: 0, is_brk: true },
            walked: range,
            chunks: 0..count as usize,
        }],
        chunks: (0..count).map(|chunk| Chunk::new(Addr(HEAP + chunk * size + 16), size, state(chunk))).collect(),
        mmapped: Vec::new(),
        tcaches: Vec::new(),
        linking: None,
        books: Books::default(),
    }
}

fn attribution(heap: &Heap) -> Attribution {
    let pool = |chunk: u64| Pool {
        address: memory_of(chunk),
        block_size: 200,
        blocks: vec![ChunkId::Arena(chunk as u32)],
        block_bytes: SIZE,
        ..Pool::default()
    };
    let named = NamedPool::plain(memory_of(NAMED), &NO_KNOWN_OWNER, "ngx_cycle->pool".to_owned());
    Attribution::new(heap, POOLS.into_iter().chain([NAMED]).map(pool).collect(), vec![named])
}

/// A chunk whose type is known.
const TYPED: u64 = 3;

fn claim_typed(heap: &Heap, attribution: &mut Attribution) {
    let (path, type_name) = ("ngx_cycle->connections".to_owned(), "ngx_connection_t".to_owned());
    let typed = TypedChunk { memory: memory_of(TYPED), path, inferred: false, type_name, module: None };
    attribution.claim_typed(heap, &[typed]);
}

/// A process, and what happens to it while we wait.
struct Process {
    image: Mutex<Image>,
    meanwhile: fn(&mut Image),
    is_live: bool,
    /// `None` if that cannot be told.
    freed: Option<Vec<Addr>>,
    /// What lies at the page of variables.
    kind: RootKind,
    has_all_roots: bool,
    /// Words that are left over, by how often that was asked.
    stale: fn(usize) -> Vec<AddrRange>,
    asked: AtomicUsize,
}

impl Memory for Process {
    fn read(&self, address: Addr, buffer: &mut [u8]) -> Result<(), Fault> {
        self.image.lock().unwrap().read(address, buffer)
    }
}

fn pagemap(_: &[AddrRange]) -> Pagemap {
    Pagemap::of_presence(4096, &[], &[])
}

impl Surroundings for Process {
    fn memory(&self) -> &(dyn Memory + Sync) {
        self
    }

    fn pagemap(&self) -> &ReadPagemap<'_> {
        &pagemap
    }

    fn roots(&self, _: &Heap) -> Roots {
        let range = AddrRange::sized(Addr(VARIABLES), 4096);
        Roots { ranges: vec![RootRange { range, kind: self.kind }], is_whole: self.has_all_roots }
    }

    fn registers(&self) -> &[u64] {
        &[]
    }

    fn freed_now(&self, _: &Heap) -> Option<Vec<Addr>> {
        self.freed.clone()
    }

    fn stale(&self) -> Vec<AddrRange> {
        (self.stale)(self.asked.fetch_add(1, Ordering::Relaxed))
    }

    fn wait(&self) -> bool {
        (self.meanwhile)(&mut self.image.lock().unwrap());
        self.is_live
    }

    fn page_size(&self) -> u64 {
        4096
    }

    fn threads(&self) -> usize {
        2
    }

    fn has_openssl(&self) -> bool {
        true
    }
}

/// A process in which `pointers` (from chunk, to chunk; `None` is a variable) stand.
fn process(pointers: &[(Option<u64>, u64)]) -> Process {
    let mut image = Image::new();
    image.map(Addr(VARIABLES), vec![0; 4096]);
    image.map(Addr(HEAP), vec![0; 4096]);
    for chunk in 0..COUNT {
        let flag = if chunk == FREE + 1 { 0 } else { PREV_INUSE };
        image.write_u64(Addr(HEAP + chunk * SIZE + 8), SIZE | flag);
    }
    for (number, (from, to)) in pointers.iter().enumerate() {
        let at = from.map_or(Addr(VARIABLES), |chunk| memory_of(chunk) + 16) + number as u64 * 8;
        image.write_u64(at, memory_of(*to).0 + 0x20);
    }
    Process {
        image: Mutex::new(image),
        meanwhile: |_| (),
        is_live: false,
        freed: Some(Vec::new()),
        kind: RootKind::Variables,
        has_all_roots: true,
        stale: |_| Vec::new(),
        asked: AtomicUsize::new(0),
    }
}

/// Chunks and pools that nothing holds, by their chunks.
fn lost_in(process: &Process) -> Vec<u64> {
    let heap = heap();
    let mut attribution = attribution(&heap);
    claim_typed(&heap, &mut attribution);
    let reached = reach(&heap, &attribution, process, None, true).unwrap();
    let lost =
        (0..reached.holders.len() as u32).filter(|node| reached.holders[*node as usize] == Some(Holder::Nothing));
    let chunk = |node| match reached.nodes.get(node) {
        Some(Node::Chunk(ChunkId::Arena(chunk))) => u64::from(chunk),
        Some(Node::Pool(pool)) => (attribution.pools[pool as usize].pool.address.0 - HEAP) / SIZE,
        other => panic!("{other:?}"),
    };
    let mut lost: Vec<u64> = lost.map(chunk).collect();
    lost.sort_unstable();
    lost
}

#[test]
fn what_a_chain_from_a_root_leads_to_is_held_and_a_circle_is_not() {
    let held = [(None, 0), (Some(0), 1), (Some(1), 4), (Some(4), 8)];
    let lost = [(Some(2), 9), (Some(9), 2), (Some(5), 5), (Some(FREE), 5)];
    let process = process(&[held.as_slice(), &lost].concat());
    assert_eq!(lost_in(&process), [2, 5, 9]);
}

#[test]
fn a_pool_with_a_name_holds_what_it_points_to() {
    assert_eq!(lost_in(&process(&[(Some(NAMED), 5), (Some(5), 9), (Some(NAMED), 0)])), [1, 2, 4, 8]);
}

const MOST_HELD: [(Option<u64>, u64); 5] = [(None, 0), (None, 1), (None, 2), (None, 4), (None, 8)];

fn live(meanwhile: fn(&mut Image)) -> Process {
    Process { meanwhile, is_live: true, ..process(&MOST_HELD) }
}

#[test]
fn what_stays_as_it_is_through_two_looks_is_lost() {
    assert_eq!(lost_in(&live(|_| ())), [5, 9]);
}

#[test]
fn a_pointer_that_comes_back_proves_that_it_was_only_on_its_way() {
    let process = live(|image| {
        image.write_u64(Addr(VARIABLES + 0x800), memory_of(5).0);
    });
    assert_eq!(lost_in(&process), [9]);
}

#[test]
fn what_changes_is_not_lost_and_neither_is_what_it_points_to() {
    let process = live(|image| {
        image.write_u64(memory_of(5) + 0x40, memory_of(9).0);
    });
    assert_eq!(lost_in(&process), Vec::<u64>::new());
}

#[test]
fn a_chunk_that_malloc_has_joined_with_another_is_not_lost() {
    let process = live(|image| {
        image.write_u64(Addr(HEAP + 8 * SIZE + 8), (2 * SIZE) | PREV_INUSE);
    });
    assert_eq!(lost_in(&process), [5]);
}

#[test]
fn a_chunk_that_was_freed_since_is_not_lost() {
    let process = Process { freed: Some(vec![memory_of(9)]), ..live(|_| ()) };
    assert_eq!(lost_in(&process), [5]);
}

#[test]
fn nothing_is_lost_where_freed_chunks_or_roots_are_not_all_known() {
    assert_eq!(lost_in(&Process { freed: None, ..live(|_| ()) }), Vec::<u64>::new());
    assert_eq!(lost_in(&Process { has_all_roots: false, ..live(|_| ()) }), Vec::<u64>::new());
    assert_eq!(lost_in(&Process { has_all_roots: false, ..process(&MOST_HELD) }), Vec::<u64>::new());
}

/// The typed chunk points to the pool of chunk 5 by its third word, and to chunk 9 by its eighth.
fn with_typed_words(stale: fn(usize) -> Vec<AddrRange>) -> Process {
    let process = live(|_| ());
    let mut image = process.image.lock().unwrap();
    image.write_u64(memory_of(TYPED) + 16, memory_of(5).0);
    image.write_u64(memory_of(TYPED) + 56, memory_of(9).0);
    drop(image);
    Process { stale, ..process }
}

fn third_word() -> AddrRange {
    AddrRange::sized(memory_of(TYPED) + 16, 8)
}

#[test]
fn words_that_are_left_over_hold_nothing() {
    assert_eq!(lost_in(&with_typed_words(|_| Vec::new())), Vec::<u64>::new());
    assert_eq!(lost_in(&with_typed_words(|_| vec![third_word()])), [5]);
    let others = |_| vec![AddrRange::sized(memory_of(TYPED), 16), AddrRange::sized(memory_of(TYPED) + 24, 40)];
    assert_eq!(lost_in(&with_typed_words(others)), [9]);
}

#[test]
fn words_that_are_taken_into_use_meanwhile_count() {
    // Asked before the first look, before the second one and after it.
    let until_then = |asked| if asked < 2 { vec![third_word()] } else { Vec::new() };
    assert_eq!(lost_in(&with_typed_words(until_then)), Vec::<u64>::new());
    let before = |asked| if asked < 1 { vec![third_word()] } else { Vec::new() };
    assert_eq!(lost_in(&with_typed_words(before)), Vec::<u64>::new());
}

/// A word as LuaJIT keeps it: a reference of the garbage collector, or light userdata, to a node.
fn lua_words(chunk: u64) -> [u64; 2] {
    let address = memory_of(chunk).0;
    [0xfffa_8000_0000_0000 | address, 0xfffe_0000_0000_0000 | 1 << 39 | (address & 0x7f_ffff_ffff)]
}

#[test]
fn what_luajit_refers_to_is_held_wherever_its_memory_lies() {
    for kind in [RootKind::Anonymous, RootKind::Stack, RootKind::ThreadLocal, RootKind::Variables] {
        let process = Process { kind, ..live(|_| ()) };
        let words = [lua_words(5)[0], lua_words(9)[1]];
        let write = |at: Addr| {
            for (index, word) in (0u64..).zip(words) {
                process.image.lock().unwrap().write_u64(at + index * 8, word);
            }
        };
        write(Addr(VARIABLES + 0x400));
        assert_eq!(lost_in(&process), Vec::<u64>::new(), "{kind:?}");
    }
    // In a chunk that is held, one whose type is known, and a pool with a name.
    for chunk in [0, TYPED, NAMED] {
        let process = live(|_| ());
        let words = [lua_words(5)[1], lua_words(9)[0]];
        for (index, word) in (0u64..).zip(words) {
            process.image.lock().unwrap().write_u64(memory_of(chunk) + 0x40 + index * 8, word);
        }
        assert_eq!(lost_in(&process), Vec::<u64>::new(), "{chunk}");
    }
}

#[test]
fn of_a_heap_that_is_not_whole_nothing_is_said_to_be_lost() {
    let heap = heap();
    let attribution = attribution(&heap);
    let reached = reach(&heap, &attribution, &process(&[]), None, false).unwrap();
    assert!(reached.holders.iter().all(|holder| *holder != Some(Holder::Nothing)));
    let OwnedPool { held, .. } = &attribution.pools[0];
    assert_eq!((held, attribution.claim(ChunkId::Arena(4))), (&Held::Unknown, Some(Claim::Pool(0))));
}

#[test]
fn only_the_start_of_a_session_holds_it() {
    const LARGE: u64 = 0x3b0;
    let heap = heap_of(LARGE, 3);
    let attribution = Attribution::new(&heap, Vec::new(), Vec::new());
    let mut process = process(&[]);
    let image = process.image.get_mut().unwrap();
    for (number, chunk) in heap.chunks.iter().enumerate() {
        let memory = chunk.memory();
        image.write_u64(Addr(memory.0 - 8), LARGE | PREV_INUSE);
        // The last one is no session: there is no such version.
        image.write_u64(memory, if number == 2 { 0x700 } else { 0x303 });
        image.write_u64(memory + 8, 48);
        image.write_u64(memory + 592, 32);
        image.write_u64(Addr(VARIABLES + 0x400 + number as u64 * 8), memory.0 + if number == 0 { 0 } else { 0x20 });
    }
    let reached = reach(&heap, &attribution, &process, None, true).unwrap();
    assert_eq!(reached.nodes.by_start, [0, 1]);
    let is_lost = |holder: &Option<Holder>| *holder == Some(Holder::Nothing);
    assert_eq!(reached.holders.iter().map(is_lost).collect::<Vec<_>>(), [false, true, false]);
}
