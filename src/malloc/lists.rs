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

impl List {
    /// User memory of the chunks up to `limit`, and what stopped the walk if it was not the list's end.
    fn follow(&self, memory: &impl Memory, linking: Linking, limit: usize) -> (Vec<Addr>, Option<ListProblem>) {
        let mut members = Vec::new();
        let mut at = self.first;
        // A circle comes by the same chunk again before twice as many steps are taken as led to it (Brent).
        let mut mark = (Addr::NULL, 1);
        while !at.is_null() {
            if at == mark.0 {
                let back_to = cut_at_first_repeat(&mut members).unwrap_or(at);
                return (members, Some(ListProblem::Circle(back_to)));
            }
            if members.len() == mark.1 {
                mark = (at, members.len() * 2);
            }
            if !at.is_aligned(ALIGNMENT) {
                return (members, Some(ListProblem::NotAChunk(at)));
            }
            if members.len() >= limit {
                return (members, Some(ListProblem::TooLong(limit)));
            }
            let stored = match memory.read_u64(at) {
                Ok(stored) => stored,
                Err(fault) => return (members, Some(fault.into())),
            };
            members.push(at);
            at = match linking.reveal(at, stored) {
                Addr::NULL => Addr::NULL,
                next => next + self.to_memory,
            };
        }
        (members, None)
    }

    fn makes_sense(&self, memory: &impl Memory, linking: Linking) -> bool {
        let (_, problem) = self.follow(memory, linking, ENOUGH_TO_TELL);
        matches!(problem, None | Some(ListProblem::TooLong(_) | ListProblem::Circle(_)))
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
    for (thread, address, lists) in caches {
        let mut chunks = Vec::new();
        for list in lists {
            let name = || format!("a tcache list of thread {thread} (at {})", list.first);
            chunks.extend(collect(memory, &list, linking, name, &mut freed.problems));
        }
        freed.tcaches.push(Tcache { thread, address, chunks });
    }
    for arena in arenas {
        for list in fastbin_lists(arena) {
            let name = || format!("a fastbin of arena {} (at {})", arena.address, list.first);
            let chunks = collect(memory, &list, linking, name, &mut freed.problems);
            freed.fastbin_chunks.extend(chunks);
        }
    }
    freed
}

fn collect(
    memory: &impl Memory,
    list: &List,
    linking: Linking,
    name: impl Fn() -> String,
    problems: &mut Vec<String>,
) -> Vec<Addr> {
    let (members, problem) = list.follow(memory, linking, MAX_MEMBERS);
    let problem = problem.map(|problem| problem.to_string()).or_else(|| list.disagreement(members.len()));
    problems.extend(problem.map(|problem| format!("{}: {problem}", name())));
    members
}
