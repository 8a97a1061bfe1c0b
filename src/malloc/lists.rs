//! Chunks that the program has freed but that look as if in use: those in fastbins and thread caches.
//!
//! Their links are mangled since glibc 2.32 ("safe-linking": the address of the link, shifted right by 12, is xored into
//! it; malloc.c, `PROTECT_PTR` and `REVEAL_PTR`). DWARF does not tell, so it is measured: a list makes sense one way only.

use super::arena::Arena;
use super::chunk::{ALIGNMENT, HEADER};
use super::layout::{TcacheCounts, TcacheLayout};
use crate::addr::Addr;
use crate::target::caught::LINE;
use crate::target::memory::{Fault, Memory, word_at};
use rustc_hash::FxHashSet;
use thiserror::Error;

/// How the links of these lists are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linking {
    /// As they are (up to glibc 2.31).
    Plain,
    /// Xored with their own address shifted right by 12 (from glibc 2.32 on).
    Safe,
}

impl Linking {
    fn reveal(self, link_address: Addr, stored: u64) -> Addr {
        match self {
            Linking::Plain => Addr(stored),
            Linking::Safe => Addr(stored ^ (link_address.0 >> 12)),
        }
    }
}

/// A singly linked list of freed chunks.
#[derive(Debug, Clone, Copy)]
struct List {
    /// User memory of the first chunk, where the link to the next one lies; null if empty.
    first: Addr,
    /// What is added to a link to get to user memory: tcache links hold that, fastbin links hold the chunk's start.
    to_memory: u64,
    /// How many chunks it should hold, if that is known.
    expected: Option<u64>,
}

/// Why a list could not be followed to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
enum ListProblem {
    #[error("{0} is not a chunk")]
    NotAChunk(Addr),
    #[error("it leads in a circle, back to {0}")]
    Circle(Addr),
    #[error("it does not end after {0} chunks")]
    TooLong(usize),
    #[error("{0}")]
    Fault(#[from] Fault),
}

/// More chunks than this in one list are not believed. A fastbin can be long: a program that frees a million small blocks
/// in a row has them all in one.
const MAX_MEMBERS: usize = 16 << 20;

/// How far a list is followed to tell how its links are stored: the wrong way fails at the first or second link.
const ENOUGH_TO_TELL: usize = 16;

/// A list as far as it has been followed.
struct Trail {
    list: List,
    /// User memory of its chunks.
    members: Vec<Addr>,
    /// The chunk to go on with.
    at: Addr,
    /// A chunk, and how many lead to it. A circle comes by the same chunk again before twice as many steps are taken (Brent).
    mark: (Addr, usize),
    /// What stopped the walk if it was not the list's end.
    problem: Option<ListProblem>,
}

impl Trail {
    fn of(list: List) -> Trail {
        Trail { list, members: Vec::new(), at: list.first, mark: (Addr::NULL, 1), problem: None }
    }

    /// Takes a chunk, up to `limit` of them; false if there was none to take.
    fn step(&mut self, memory: &impl Memory, linking: Linking, limit: usize) -> bool {
        if self.at.is_null() || self.problem.is_some() {
            return false;
        }
        match self.next(memory, linking, limit) {
            Ok(next) => self.at = next,
            Err(problem) => self.problem = Some(problem),
        }
        self.problem.is_none()
    }

    fn next(&mut self, memory: &impl Memory, linking: Linking, limit: usize) -> Result<Addr, ListProblem> {
        let at = self.at;
        if at == self.mark.0 {
            return Err(ListProblem::Circle(cut_at_first_repeat(&mut self.members).unwrap_or(at)));
        }
        if self.members.len() == self.mark.1 {
            self.mark = (at, self.members.len() * 2);
        }
        if !at.is_aligned(ALIGNMENT) {
            return Err(ListProblem::NotAChunk(at));
        }
        if self.members.len() >= limit {
            return Err(ListProblem::TooLong(limit));
        }
        let stored = memory.read_u64(at)?;
        self.members.push(at);
        Ok(match linking.reveal(at, stored) {
            Addr::NULL => Addr::NULL,
            next => next + self.list.to_memory,
        })
    }

    /// Its chunks. What is wrong with it is added to the problems.
    fn finish(self, name: impl Fn() -> String, problems: &mut Vec<String>) -> Vec<Addr> {
        let problem = self.problem.map(|problem| problem.to_string());
        let problem = problem.or_else(|| self.list.disagreement(self.members.len()));
        problems.extend(problem.map(|problem| format!("{}: {problem}", name())));
        self.members
    }
}

/// Follows lists to their ends, each a step at a time: while the next chunk of one comes from memory, those of the others are on
/// their way, too. Fastbins can hold a hundred thousand chunks, and one list after the other took 20 ms of a stop.
fn follow_all(memory: &impl Memory, lists: impl Iterator<Item = List>, linking: Linking) -> Vec<Trail> {
    let mut trails: Vec<Trail> = lists.map(Trail::of).collect();
    let mut open: Vec<&mut Trail> = trails.iter_mut().collect();
    while !open.is_empty() {
        open.retain_mut(|trail| trail.step(memory, linking, MAX_MEMBERS));
    }
    trails
}

impl List {
    fn makes_sense(&self, memory: &impl Memory, linking: Linking) -> bool {
        let mut trail = Trail::of(*self);
        while trail.step(memory, linking, ENOUGH_TO_TELL) {}
        matches!(trail.problem, None | Some(ListProblem::TooLong(_) | ListProblem::Circle(_)))
    }

    /// The one way in which the links make sense; `None` if the list is empty or damaged.
    fn linking(&self, memory: &impl Memory) -> Option<Linking> {
        match (self.makes_sense(memory, Linking::Plain), self.makes_sense(memory, Linking::Safe)) {
            _ if self.first.is_null() => None,
            (true, false) => Some(Linking::Plain),
            (false, true) => Some(Linking::Safe),
            _ => None,
        }
    }

    /// The list's length where the owner's count says another.
    fn disagreement(&self, found: usize) -> Option<String> {
        let expected = self.expected.filter(|expected| *expected != found as u64)?;
        Some(format!("it holds {found} chunks and its count says {expected}"))
    }
}

/// Drops everything from the first address on that has come before, and returns that.
fn cut_at_first_repeat(members: &mut Vec<Addr>) -> Option<Addr> {
    let mut seen = FxHashSet::default();
    let repeat = members.iter().position(|member| !seen.insert(*member))?;
    let back_to = members.get(repeat).copied();
    members.truncate(repeat);
    back_to
}

fn fastbin_lists(arena: &Arena) -> impl Iterator<Item = List> {
    arena.fastbins.iter().map(|start| List {
        first: if start.is_null() { Addr::NULL } else { *start + HEADER },
        to_memory: HEADER,
        expected: None,
    })
}

fn tcache_lists(memory: &impl Memory, layout: &TcacheLayout, address: Addr) -> Result<Vec<List>, Fault> {
    let mut bytes = vec![0; layout.size as usize];
    memory.read(address, &mut bytes)?;
    let lists = (0..layout.lists).map(|index| List {
        first: Addr(word_at(&bytes, layout.entries + index * 8)),
        to_memory: 0,
        expected: match layout.counts {
            TcacheCounts::Bytes(offset) => Some(word_at(&bytes, offset + index) & 0xff),
            TcacheCounts::Words(offset) => Some(word_at(&bytes, offset + index * 2) & 0xffff),
            TcacheCounts::FreeSlots => None,
        },
    });
    Ok(lists.collect())
}

/// True if what lies at `address` can be a `struct tcache_perthread_struct`: each list is empty exactly if its count is
/// zero.
pub fn looks_like_tcache(memory: &impl Memory, layout: &TcacheLayout, address: Addr) -> bool {
    tcache_lists(memory, layout, address).is_ok_and(|lists| {
        lists.iter().all(|list| {
            list.first.is_aligned(ALIGNMENT) && list.expected.is_none_or(|count| (count == 0) == list.first.is_null())
        })
    })
}

/// A thread's cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tcache {
    /// The thread.
    pub thread: i32,
    /// Where its `struct tcache_perthread_struct` lies, which is a chunk itself.
    pub address: Addr,
    /// User memory of the chunks it holds.
    pub chunks: Vec<Addr>,
}

/// All freed chunks in lists of this kind.
#[derive(Debug, Clone, Default)]
pub struct FreedLists {
    /// How the links are stored; `None` if every list is empty.
    pub linking: Option<Linking>,
    /// One for each thread that has one.
    pub tcaches: Vec<Tcache>,
    /// User memory of the chunks in fastbins of all arenas.
    pub fastbin_chunks: Vec<Addr>,
    /// One sentence for each list that could not be followed to its end or contradicts its count.
    pub problems: Vec<String>,
}

impl FreedLists {
    /// The lines that the links lie in, by their start addresses in address order.
    pub fn lines(&self) -> Vec<Addr> {
        let cached = self.tcaches.iter().flat_map(|cache| &cache.chunks);
        let mut lines: Vec<Addr> = cached.chain(&self.fastbin_chunks).map(|chunk| chunk.align_down(LINE)).collect();
        lines.sort_unstable();
        lines.dedup();
        lines
    }
}

/// Reads all fastbins, and the thread caches at the given addresses.
pub fn read_freed_lists(
    memory: &impl Memory,
    arenas: &[Arena],
    tcaches: Option<&TcacheLayout>,
    threads: &[(i32, Addr)],
) -> FreedLists {
    let mut freed = FreedLists::default();
    let mut caches = Vec::new();
    for (thread, address) in threads {
        match tcaches.map(|layout| tcache_lists(memory, layout, *address)) {
            Some(Ok(lists)) => caches.push((*thread, *address, lists)),
            Some(Err(fault)) => freed.problems.push(format!("the tcache of thread {thread}: {fault}")),
            None => {}
        }
    }
    let cached = caches.iter().flat_map(|(_, _, lists)| lists.iter().copied());
    freed.linking = cached.chain(arenas.iter().flat_map(fastbin_lists)).find_map(|list| list.linking(memory));
    // Without any list that decides, either all are empty or all are damaged, which following them will tell.
    let linking = freed.linking.unwrap_or(Linking::Safe);
    let cached = caches.iter().flat_map(|(_, _, lists)| lists.iter().copied());
    let mut trails = follow_all(memory, cached.chain(arenas.iter().flat_map(fastbin_lists)), linking).into_iter();
    for (thread, address, lists) in caches {
        let mut chunks = Vec::new();
        for (list, trail) in lists.iter().zip(trails.by_ref()) {
            let name = || format!("a tcache list of thread {thread} (at {})", list.first);
            chunks.extend(trail.finish(name, &mut freed.problems));
        }
        freed.tcaches.push(Tcache { thread, address, chunks });
    }
    for arena in arenas {
        for (list, trail) in fastbin_lists(arena).zip(trails.by_ref()) {
            let name = || format!("a fastbin of arena {} (at {})", arena.address, list.first);
            freed.fastbin_chunks.extend(trail.finish(name, &mut freed.problems));
        }
    }
    freed
}
