//! What a heap is to look like, and random ones.

use proptest::prelude::*;

/// What has happened to a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    InUse,
    /// Freed into the cache of the thread of that number.
    Tcache(usize),
    Fastbin,
    Free,
}

/// A chunk to be laid; a state that malloc would not give it there (two free ones side by side, a large one in a fastbin)
/// becomes `InUse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    pub size: u64,
    pub state: State,
}

/// How a region ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    Top,
    /// Two headers that close a region which could not grow.
    Fenceposts,
    /// The same where the old top had 16 bytes left over.
    FencepostsAndRest,
}

/// A mapped chunk of so many pages; an alignment that was asked for, as a power of two.
#[derive(Debug, Clone, Copy)]
pub struct Mapped {
    pub pages: u64,
    pub alignment: Option<u32>,
}

/// A process.
#[derive(Debug, Clone, Default)]
pub struct Spec {
    /// Where in its first page the brk heap begins.
    pub sbrk_offset: u64,
    /// Pieces of the brk heap, each with the length of the hole behind it.
    pub brk: Vec<(Vec<Cell>, u64)>,
    /// Pieces that the main arena got by mmap after that.
    pub pieces: Vec<Vec<Cell>>,
    /// Heaps of each other arena, oldest first.
    pub arenas: Vec<Vec<Vec<Cell>>>,
    pub mapped: Vec<Mapped>,
    /// Threads with a cache: at most one for each arena.
    pub threads: usize,
    /// How the regions that are not the latest of their arena end.
    pub has_rest: bool,
}

impl Spec {
    /// One piece of brk heap and one thread.
    pub fn plain(cells: &[Cell]) -> Spec {
        Spec { brk: vec![(cells.to_vec(), 0)], threads: 1, ..Spec::default() }
    }
}

pub fn in_use(size: u64) -> Cell {
    Cell { size, state: State::InUse }
}

pub fn free(size: u64) -> Cell {
    Cell { size, state: State::Free }
}

pub fn cached(size: u64) -> Cell {
    Cell { size, state: State::Tcache(0) }
}

pub fn fast(size: u64) -> Cell {
    Cell { size, state: State::Fastbin }
}

/// Sizes as they occur: mostly small, some of a page, few large.
fn size() -> impl Strategy<Value = u64> {
    let units = prop_oneof![8 => 2u64..70, 3 => 70u64..600, 1 => 600u64..20_000];
    units.prop_map(|units| units * 16)
}

fn state() -> impl Strategy<Value = State> {
    prop_oneof![
        5 => Just(State::InUse),
        2 => Just(State::Free),
        1 => (0usize..3).prop_map(State::Tcache),
        1 => Just(State::Fastbin),
    ]
}

pub fn cells(most: usize) -> impl Strategy<Value = Vec<Cell>> {
    prop::collection::vec((size(), state()).prop_map(|(size, state)| Cell { size, state }), 0..most)
}

fn mapped() -> impl Strategy<Value = Mapped> {
    let alignment = prop::option::weighted(0.3, 5u32..13);
    (1u64..40, alignment).prop_map(|(pages, alignment)| {
        let least = alignment.map_or(1, |shift| ((2 << shift) / 4096u64) + 2);
        Mapped { pages: pages + least, alignment }
    })
}

prop_compose! {
    /// Anything that a process can have.
    pub fn spec()(
        sbrk_offset in prop_oneof![Just(0u64), Just(8), (0u64..256).prop_map(|n| n * 16)],
        brk in prop::collection::vec((cells(60), (1u64..300).prop_map(|n| n * 16)), 1..3),
        pieces in prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(cells(20), 1..3)],
        arenas in prop::collection::vec(prop::collection::vec(cells(30), 1..3), 0..3),
        mapped in prop::collection::vec(mapped(), 0..4),
        threads in 1usize..4,
        has_rest in any::<bool>(),
    ) -> Spec {
        let threads = threads.min(arenas.len() + 1);
        Spec { sbrk_offset, brk, pieces, arenas, mapped, threads, has_rest }
    }
}
