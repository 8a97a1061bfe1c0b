//! One thread's share of a look: reads windows and searches them.

use super::found::Found;
use super::marks::{HEAD, mark_of};
use super::nodes::{Node, Source};
use super::rank::{Best, Rank};
use super::roots::RootKind;
use super::scan::Scan;
use super::windows::{Content, Window};
use crate::addr::{Addr, AddrRange};
use crate::attribution::Claim;
use crate::malloc::chunk::{Chunk, ChunkState, HEADER, PREV_INUSE, SIZE_OFFSET, SizeWord};
use crate::malloc::heap::ChunkId;
use crate::target::memory::{Fault, word_at};

/// One thread's share of a look.
pub struct Worker<'a, 'b> {
    scan: &'a Scan<'a>,
    wanted: &'b (dyn Fn(ChunkId) -> bool + Sync),
    /// What it has found.
    pub found: Found,
    buffer: Vec<u8>,
}

impl<'a, 'b> Worker<'a, 'b> {
    /// A worker that has found nothing. `wanted` are the chunks that are looked at.
    pub fn new(scan: &'a Scan<'a>, wanted: &'b (dyn Fn(ChunkId) -> bool + Sync)) -> Worker<'a, 'b> {
        Worker { scan, wanted, found: Found::default(), buffer: Vec::new() }
    }
}

impl Worker<'_, '_> {
    /// Looks at those pages of a window that hold anything. To read others would make the kernel give the target memory.
    pub fn look(&mut self, window: &Window) {
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
        let mut kept = std::mem::take(&mut self.buffer);
        let length = run.len() as usize;
        // It only grows: what is there is written over, and zeroes for it would take as long as the search.
        if kept.len() < length {
            kept.resize(length, 0);
        }
        let buffer = kept.get_mut(..length).unwrap_or_default();
        match self.scan.memory.read(run.start, buffer) {
            Ok(()) => self.search(run, buffer, content),
            // What is no longer there points to nothing.
            Err(Fault::Unmapped(_)) => self.look_at_pages(run, buffer, content),
            Err(_) => self.found.is_partial = true,
        }
        self.buffer = kept;
    }

    /// A run of which some pages have gone.
    fn look_at_pages(&mut self, run: AddrRange, buffer: &mut [u8], content: Content) {
        let mut at = run.start;
        while at < run.end {
            let end = (at.align_down(self.scan.page_size) + self.scan.page_size).min(run.end);
            let page = buffer.get_mut(..(end.0 - at.0) as usize).unwrap_or_default();
            match self.scan.memory.read(at, page) {
                Ok(()) => self.search(AddrRange::new(at, end), page, content),
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
            RootKind::InChunk => Rank::Claimed,
            RootKind::Anonymous | RootKind::ThreadLocal | RootKind::Shared => Rank::Anonymous,
            RootKind::Stack => Rank::Stack,
        };
        // Pages and what is left around malloc's memory begin where words do.
        self.scan.targets.search(bytes, |offset, node| self.scan.note(node, rank, run.start.0 + offset as u64));
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
        let node = node.filter(|node| !scan.others_are_held || scan.looks_for(*node));
        if scan.with_marks
            && from == chunk.memory()
            && let Some(number) = node.filter(|node| matches!(scan.nodes.get(*node), Some(Node::Chunk(_))))
        {
            let head = bytes.get(..HEAD.min(bytes.len())).unwrap_or_default();
            self.found.marks.extend(mark_of(head, usable).map(|mark| (number, mark)));
        }
        match node {
            None => self.note_pointers(AddrRange::new(from, end), bytes, rank),
            Some(node) => self.add_edges(node, bytes),
        }
    }

    /// Pointers in what is alive, but for words that are known to be left over.
    fn note_pointers(&self, range: AddrRange, bytes: &[u8], rank: Rank) {
        let scan = self.scan;
        let first = scan.stale.partition_point(|stale| stale.end <= range.start);
        let count = scan.stale.get(first..).unwrap_or_default().partition_point(|stale| stale.start < range.end);
        let stale = scan.stale.get(first..first + count).unwrap_or_default();
        let is_stale = |at: Addr| {
            let next = stale.partition_point(|stale| stale.end <= at);
            stale.get(next).is_some_and(|stale| stale.contains(at))
        };
        scan.targets.search(bytes, |offset, target| {
            let at = range.start + offset as u64;
            if !is_stale(at) {
                scan.note(target, rank, at.0);
            }
        });
    }

    /// Pointers in a node to others.
    fn add_edges(&mut self, node: u32, bytes: &[u8]) {
        let scan = self.scan;
        let edges = &mut self.found.edges;
        let mut latest = None;
        scan.targets.search(bytes, |_, target| {
            let is_new = target != node && latest != Some(target);
            if is_new && !scan.best.get(target as usize).is_none_or(Best::is_settled) {
                edges.push((node, target));
                latest = Some(target);
            }
        });
        self.found.limit_edges();
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
