//! Looks through memory for pointers to what is wanted, on several threads.

use super::marks::{HEAD, Mark, mark_of};
use super::nodes::{Node, Nodes, Source};
use super::roots::RootKind;
use super::targets::Targets;
use super::windows::{Content, Window};
use crate::addr::{Addr, AddrRange};
use crate::attribution::{Attribution, Claim};
use crate::malloc::chunk::{Chunk, ChunkState, HEADER, PREV_INUSE, SIZE_OFFSET, SizeWord};
use crate::malloc::heap::{ChunkId, Heap};
use crate::malloc::read::ReadPagemap;
use crate::nginx::layout::PoolLayout;
use crate::target::memory::{Fault, Memory, word_at};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Edges that a thread keeps, at most: 128 MiB.
const MOST_EDGES: usize = 16 << 20;

/// How good a pointer is for telling who owns what it leads to, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rank {
    /// It is in a variable.
    Variable,
    /// It is in a chunk whose type is known.
    Claimed,
    /// It is in memory that the program has mapped for itself, or in a thread-local variable.
    Anonymous,
    /// It is in a pool with a name.
    NamedPool,
    /// It is not known where it is, but there may be one.
    Possible,
    /// It is on a stack.
    Stack,
    /// It is in a register.
    Register,
}

impl Rank {
    const ALL: [Rank; 7] =
        [Rank::Variable, Rank::Claimed, Rank::Anonymous, Rank::NamedPool, Rank::Possible, Rank::Stack, Rank::Register];

    /// True if it says what keeps something, and not only who is busy with it just now.
    pub fn is_lasting(self) -> bool {
        self < Rank::Stack
    }
}

/// The best pointer to a node: its rank in the upper byte, and its address.
#[derive(Debug)]
pub struct Best(AtomicU64);

impl Best {
    const NONE: u64 = u64::MAX;

    /// No pointer.
    pub fn none() -> Best {
        Best(AtomicU64::new(Best::NONE))
    }

    /// Notes a pointer at `at`.
    pub fn note(&self, rank: Rank, at: u64) {
        self.0.fetch_min((rank as u64) << 56 | at & (u64::MAX >> 8), Ordering::Relaxed);
    }

    /// The best pointer that was noted, and where it stands.
    pub fn get(&self) -> Option<(Rank, Addr)> {
        let word = self.0.load(Ordering::Relaxed);
        let rank = Rank::ALL.get((word >> 56) as usize).filter(|_| word != Best::NONE)?;
        Some((*rank, Addr(word & (u64::MAX >> 8))))
    }

    fn is_settled(&self) -> bool {
        self.0.load(Ordering::Relaxed) >> 56 <= Rank::NamedPool as u64
    }
}

/// What a look has found.
#[derive(Debug, Default)]
pub struct Found {
    /// Pointers from one node to another.
    pub edges: Vec<(u32, u32)>,
    /// What nodes look like from their first bytes.
    pub marks: Vec<(u32, Mark)>,
    /// Where chunks are no longer as they were.
    pub changed: Vec<AddrRange>,
    /// Bytes looked through.
    pub bytes: u64,
    /// True if not all could be read, or kept.
    pub is_partial: bool,
}

impl Found {
    /// Adds what another one has found.
    pub fn add(&mut self, other: Found) {
        self.edges.extend(other.edges);
        self.marks.extend(other.marks);
        self.changed.extend(other.changed);
        self.bytes += other.bytes;
        self.is_partial |= other.is_partial;
    }
}

/// A look through memory.
pub struct Scan<'a> {
    /// The heap as it was.
    pub heap: &'a Heap,
    /// Whose its chunks are.
    pub attribution: &'a Attribution,
    /// All nodes.
    pub nodes: &'a Nodes,
    /// What is looked for.
    pub targets: &'a Targets,
    /// The best pointer to each node so far.
    pub best: &'a [Best],
    /// Memory as it is now.
    pub memory: &'a (dyn Memory + Sync),
    /// Which of its pages hold anything.
    pub pagemap: &'a ReadPagemap<'a>,
    /// Page size in bytes.
    pub page_size: u64,
    /// True if the first bytes of chunks are to be judged.
    pub with_marks: bool,
    /// Layout of pools, if there are any.
    pub pools: Option<&'a PoolLayout>,
    /// True if nodes that are not looked for are known to be held.
    pub others_are_held: bool,
}

impl Scan<'_> {
    /// Looks through all windows.
    pub fn run(&self, windows: &[Window], threads: usize, wanted: &(dyn Fn(ChunkId) -> bool + Sync)) -> Found {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut worker = Worker { scan: self, wanted, found: Found::default(), buffer: Vec::new() };
            while let Some(window) = windows.get(next.fetch_add(1, Ordering::Relaxed)) {
                worker.look(window);
            }
            worker.found
        };
        let mut found = Found::default();
        if threads < 2 || windows.len() < 8 {
            found.add(work());
            return found;
        }
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            for worker in workers {
                match worker.join() {
                    Ok(part) => found.add(part),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
        found
    }
}

struct Worker<'a, 'b> {
    scan: &'a Scan<'a>,
    wanted: &'b (dyn Fn(ChunkId) -> bool + Sync),
    found: Found,
    buffer: Vec<u8>,
}

impl Worker<'_, '_> {
    /// Looks at those pages of a window that hold anything. To read others would make the kernel give the target memory.
    fn look(&mut self, window: &Window) {
        let size = self.scan.page_size;
        let pages = AddrRange::new(window.range.start.align_down(size), window.range.end.align_up(size));
        let pagemap = (self.scan.pagemap)(&[pages]);
        let mut from = pages.start;
        while let Some(at) = pagemap.next_with_data(from, pages.end) {
            let mut end = at;
            while end < pages.end && pagemap.may_hold_data(end) {
                end = end + size;
            }
            let run = AddrRange::new(at.max(window.range.start), end.min(window.range.end));
            self.look_at(run, window.content);
            from = end;
        }
    }

    fn look_at(&mut self, run: AddrRange, content: Content) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(run.len() as usize, 0);
        match self.scan.memory.read(run.start, &mut buffer) {
            Ok(()) => self.search(run, &buffer, content),
            // What is no longer there points to nothing.
            Err(Fault::Unmapped(_)) => self.look_at_pages(run, &mut buffer, content),
            Err(_) => self.found.is_partial = true,
        }
        self.buffer = buffer;
    }

    /// A run of which some pages have gone.
    fn look_at_pages(&mut self, run: AddrRange, buffer: &mut Vec<u8>, content: Content) {
        let mut at = run.start;
        while at < run.end {
            let end = (at.align_down(self.scan.page_size) + self.scan.page_size).min(run.end);
            buffer.resize((end.0 - at.0) as usize, 0);
            match self.scan.memory.read(at, buffer) {
                Ok(()) => self.search(AddrRange::new(at, end), buffer, content),
                Err(_) => self.found.changed.push(AddrRange::new(at, end)),
            }
            at = end;
        }
    }

    fn search(&mut self, run: AddrRange, bytes: &[u8], content: Content) {
        self.found.bytes += run.len();
        let chunk = |id: ChunkId, chunk: Chunk, usable| Place { id, chunk, usable };
        match content {
            Content::Root(kind) => self.search_root(run, bytes, kind),
            Content::Mmapped(index) => {
                if let Some(mapped) = self.scan.heap.mmapped.get(index as usize) {
                    self.search_chunk(run, bytes, chunk(ChunkId::Mmapped(index), mapped.chunk, mapped.usable));
                }
            }
            Content::Chunks(first) => {
                let rest = self.scan.heap.chunks.get(first as usize..).unwrap_or_default();
                // A run of a window's later pages begins at a later chunk.
                let skipped = rest.partition_point(|chunk| chunk.end() <= run.start);
                for (number, found) in rest.iter().enumerate().skip(skipped) {
                    if found.start() >= run.end {
                        break;
                    }
                    let index = first as usize + number;
                    self.check_header(run, bytes, index, *found);
                    let id = ChunkId::Arena(index as u32);
                    self.search_chunk(run, bytes, chunk(id, *found, self.scan.heap.usable(id)));
                }
            }
        }
    }

    fn search_root(&mut self, run: AddrRange, bytes: &[u8], kind: RootKind) {
        let rank = match kind {
            RootKind::Variables => Rank::Variable,
            RootKind::Anonymous | RootKind::ThreadLocal => Rank::Anonymous,
            RootKind::Stack => Rank::Stack,
        };
        // Pages and what is left around malloc's memory begin where words do.
        self.scan.targets.search(bytes, kind == RootKind::Anonymous, |offset, node| {
            note(self.scan.best, node, rank, run.start.0 + offset as u64);
        });
    }

    /// Looks at that part of a chunk that lies in the run.
    fn search_chunk(&mut self, run: AddrRange, bytes: &[u8], place: Place) {
        let Place { id, chunk, usable } = place;
        let from = chunk.memory().max(run.start);
        let end = self.end_of_use(run, bytes, &place).min(run.end);
        if from >= end || !(self.wanted)(id) {
            return;
        }
        let range = (from.0 - run.start.0) as usize..(end.0 - run.start.0) as usize;
        let Some(bytes) = bytes.get(range) else { return };
        let scan = self.scan;
        let (rank, node) = match scan.nodes.source(scan.attribution, id, chunk.state()) {
            Source::Nobody => return,
            Source::NamedPool => (Rank::NamedPool, None),
            Source::Claimed => (Rank::Claimed, None),
            Source::Node(node) => (Rank::Possible, Some(node)),
            Source::Unclaimed => (Rank::Possible, scan.targets.at(chunk.memory().0)),
        };
        let node = node.filter(|node| !scan.others_are_held || is_looked_for(scan, *node));
        if scan.with_marks
            && from == chunk.memory()
            && let Some(number) = node.filter(|node| matches!(scan.nodes.get(*node), Some(Node::Chunk(_))))
        {
            let head = bytes.get(..HEAD.min(bytes.len())).unwrap_or_default();
            self.found.marks.extend(mark_of(head, usable).map(|mark| (number, mark)));
        }
        let edges = &mut self.found.edges;
        let mut latest = None;
        scan.targets.search(bytes, false, |offset, target| match node {
            None => note(scan.best, target, rank, from.0 + offset as u64),
            Some(node) if node != target && latest != Some(target) => {
                let is_settled = scan.best.get(target as usize).is_none_or(Best::is_settled);
                if !is_settled {
                    edges.push((node, target));
                    latest = Some(target);
                }
            }
            Some(_) => {}
        });
        if self.found.edges.len() > MOST_EDGES {
            self.found.edges.sort_unstable();
            self.found.edges.dedup();
            self.found.is_partial |= self.found.edges.len() > MOST_EDGES / 2;
            self.found.edges.truncate(MOST_EDGES / 2);
        }
    }

    /// Where what a chunk is used for ends. In a block of a pool that is where the next allocation would start (nginx
    /// `ngx_pool_data_t`): behind it stands what the memory was used for before.
    fn end_of_use(&self, run: AddrRange, bytes: &[u8], place: &Place) -> Addr {
        let memory = place.chunk.memory();
        let end = memory + place.usable;
        let (Some(Claim::Pool(pool)), Some(layout)) = (self.scan.attribution.claim(place.id), self.scan.pools) else {
            return end;
        };
        let block_size = self.scan.attribution.pools.get(pool as usize).map(|owned| owned.pool.block_size);
        let word = |offset: u64| {
            let is_there = run.contains_bytes(memory + offset, 8);
            is_there.then(|| Addr(word_at(bytes, (memory + offset).0 - run.start.0)))
        };
        // A large allocation has no such header.
        let is_block = word(layout.end).is_some_and(|end| Some(end.0.wrapping_sub(memory.0)) == block_size);
        match word(layout.last).filter(|_| is_block) {
            Some(last) if memory + layout.block_header <= last && last <= end => last,
            _ => end,
        }
    }

    /// Compares a chunk's header with what it was: sizes that are the same, one after the other, are the same chunks.
    fn check_header(&mut self, run: AddrRange, bytes: &[u8], index: usize, chunk: Chunk) {
        let at = chunk.start() + SIZE_OFFSET;
        if !run.contains_bytes(at, 8) {
            return;
        }
        let word = SizeWord(word_at(bytes, at.0 - run.start.0));
        if word.size() != chunk.size() {
            self.found.changed.push(AddrRange::sized(chunk.start(), word.size().max(chunk.size())));
        }
        let before = index.checked_sub(1).and_then(|index| self.scan.heap.chunks.get(index));
        let Some(before) = before.filter(|before| before.end() == chunk.start()) else { return };
        let was_used = matches!(before.state(), ChunkState::InUse | ChunkState::Tcache | ChunkState::Fastbin);
        if was_used && !word.has(PREV_INUSE) {
            self.found.changed.push(AddrRange::sized(before.start(), before.size().max(HEADER)));
        }
    }
}

#[derive(Clone, Copy)]
struct Place {
    id: ChunkId,
    chunk: Chunk,
    usable: u64,
}

fn is_looked_for(scan: &Scan<'_>, node: u32) -> bool {
    match scan.nodes.get(node) {
        Some(Node::Chunk(chunk)) => scan.targets.at(scan.heap.chunk(chunk).memory().0) == Some(node),
        Some(Node::Pool(pool)) => {
            let address = scan.attribution.pools.get(pool as usize).map(|owned| owned.pool.address.0);
            address.is_some_and(|address| scan.targets.at(address) == Some(node))
        }
        None => false,
    }
}

fn note(best: &[Best], node: u32, rank: Rank, at: u64) {
    if let Some(best) = best.get(node as usize) {
        best.note(rank, at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_pointer_is_that_of_the_best_rank_at_the_lowest_address() {
        let best = Best::none();
        assert_eq!(best.get(), None);
        best.note(Rank::Stack, 0x10);
        assert!(!best.is_settled());
        best.note(Rank::NamedPool, 0x5000);
        best.note(Rank::NamedPool, 0x4000);
        best.note(Rank::Register, 1);
        assert_eq!(best.get(), Some((Rank::NamedPool, Addr(0x4000))));
        assert!(best.is_settled());
    }
}
