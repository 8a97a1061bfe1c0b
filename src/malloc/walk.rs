//! The walk: from one chunk header to the next, front to back through a region.

use super::chunk::{Chunk, ChunkState, HEADER, IN_USE_OVERHEAD, MIN_SIZE, PREV_INUSE, SizeWord};
use super::header::{Header, fetch_ahead, links_at};
use super::reader::{Counts, PlannedReader, ReadError};
use super::seam::{SeamKeeper, Seams, TOO_SHORT};
use crate::addr::{Addr, AddrRange};
use crate::target::memory::Memory;

/// Looks at the first bytes of every chunk while they are at hand.
///
/// Whether a chunk is in use is not known yet when it is visited (the header after it and the free lists tell), so a
/// visitor notes what could matter, and sorts it out afterwards.
pub trait PayloadVisitor: Send {
    /// How many bytes from the start of user memory it wants to see, at most.
    fn wanted(&self) -> u64;

    /// Called for each chunk in address order. `payload` holds the first bytes of its user memory: fewer than wanted only
    /// if the chunk or its region is shorter.
    fn visit(&mut self, memory: Addr, usable: u64, payload: &[u8]);

    /// Called when the walk comes back to this address because what lies from there on may have changed: what was noted of
    /// it is to be forgotten.
    fn forget_from(&mut self, memory: Addr);

    /// Called after the stop with ranges, in address order and apart from each other, of which another visitor has seen more
    /// lately: what was noted of them is to be forgotten.
    fn forget_in(&mut self, ranges: &[AddrRange]);

    /// How many chunks it has noted something of.
    fn noted(&self) -> usize {
        0
    }

    /// Makes room for notes of so many chunks, and touches it, so that no page fault falls into the stop.
    fn reserve(&mut self, _noted: usize) {}
}

/// A visitor that looks at nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoVisitor;

impl PayloadVisitor for NoVisitor {
    fn wanted(&self) -> u64 {
        0
    }

    fn visit(&mut self, _memory: Addr, _usable: u64, _payload: &[u8]) {}

    fn forget_from(&mut self, _memory: Addr) {}

    fn forget_in(&mut self, _ranges: &[AddrRange]) {}
}

/// The links of a free chunk, to be compared with the bins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeLinks {
    /// User memory of the chunk.
    pub memory: Addr,
    /// Size of the chunk in bytes, header included: to find it again among ten million would take longer than to note it.
    pub size: u64,
    /// Start of the next free chunk in its bin.
    pub forward: Addr,
    /// Start of the one before.
    pub backward: Addr,
}

/// Where a walk ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalkEnd {
    /// At or past the address where it was told to stop: this chunk starts there.
    Limit(Addr),
    /// At the arena's top chunk, which it includes.
    Top,
    /// At the fenceposts that close a heap which could not grow; the address is the first one past them.
    Fenceposts(Addr),
    /// At a header that cannot be one, or could not be read.
    Broken {
        /// Where the header is, or should be.
        at: Addr,
        /// What is wrong with it.
        reason: String,
    },
}

impl WalkEnd {
    /// True if the walk came to an end that a heap can have.
    pub fn is_whole(&self) -> bool {
        matches!(self, WalkEnd::Top | WalkEnd::Fenceposts(_))
    }
}

/// What a walk has found.
#[derive(Debug, Clone)]
pub struct Walk {
    /// Chunks in address order; `InUse`, `Free`, `Top` or `Fencepost`.
    pub chunks: Vec<Chunk>,
    /// Links of the free ones, in the same order.
    pub free_links: Vec<FreeLinks>,
    /// Where it ended.
    pub end: WalkEnd,
    /// What became of it because the target ran in between.
    pub seams: Seams,
}

/// Chunks that may come on top of those that are expected, as a part of these.
const SPARE: usize = 16;

/// What to walk.
#[derive(Debug, Clone, Copy)]
pub struct Stretch {
    /// The region; no chunk reaches beyond it.
    pub region: AddrRange,
    /// The chunk to begin with.
    pub from: Addr,
    /// No chunk from here on is walked.
    pub to: Addr,
    /// Start of the arena's top chunk, wherever that is.
    pub top: Addr,
}

impl Walk {
    /// A walk that has found nothing, with room for so many chunks and links that is touched already.
    pub fn with_room_for(Counts { chunks, free }: Counts) -> Walk {
        let mut walk = Walk { chunks: Vec::new(), free_links: Vec::new(), end: WalkEnd::Top, seams: Seams::default() };
        // Some may come on top of those that are expected: that room is set aside, and not touched.
        walk.chunks.reserve_exact(chunks + chunks / SPARE);
        walk.chunks.resize(chunks, Chunk::new(Addr(HEADER), MIN_SIZE, ChunkState::InUse));
        walk.chunks.clear();
        let nothing = FreeLinks { memory: Addr::NULL, size: 0, forward: Addr::NULL, backward: Addr::NULL };
        walk.free_links.reserve_exact(free + free / SPARE);
        walk.free_links.resize(free, nothing);
        walk.free_links.clear();
        walk
    }
}

/// Walks a stretch of a region; `room` is an empty walk that takes what is found.
pub fn walk<M: Memory>(
    reader: &mut PlannedReader<'_, M>,
    stretch: Stretch,
    visitor: &mut impl PayloadVisitor,
    room: Walk,
) -> Walk {
    let mut walker = Walker { walk: room, links: None };
    let mut seams = SeamKeeper::default();
    let mut from = stretch.from;
    walker.walk.end = loop {
        let earlier = match walker.run(reader, Stretch { from, ..stretch }, visitor) {
            Ok(end) => break end,
            Err(Interruption::Moved) => match seams.go_back(&mut walker.walk, stretch.from) {
                Some(earlier) => earlier,
                None => break WalkEnd::Broken { at: from, reason: TOO_SHORT.to_owned() },
            },
            Err(Interruption::Broken(at, reason)) => match seams.go_further_back(&mut walker.walk, stretch.from) {
                Some(earlier) => earlier,
                None => break WalkEnd::Broken { at, reason },
            },
        };
        visitor.forget_from(earlier + HEADER);
        walker.links = None;
        from = earlier;
    };
    seams.finish(&mut walker.walk);
    walker.walk
}

struct Walker {
    walk: Walk,
    /// Links of the latest chunk, kept until the header after it tells whether it is free.
    links: Option<(Addr, Addr)>,
}

/// Why the walk through some bytes has ended.
enum Step {
    /// The next chunk is not among them.
    Further,
    /// The walk has ended, too.
    End(WalkEnd),
    /// A header that is too small for a chunk.
    Fencepost(SizeWord),
}

enum Interruption {
    /// The target has run since the latest read.
    Moved,
    /// What is at an address cannot be a chunk, and why.
    Broken(Addr, String),
}

impl From<(Addr, ReadError)> for Interruption {
    fn from((at, error): (Addr, ReadError)) -> Interruption {
        match error {
            ReadError::Moved => Interruption::Moved,
            ReadError::Fault(fault) => Interruption::Broken(at, fault.to_string()),
        }
    }
}

impl Walker {
    fn run<M: Memory>(
        &mut self,
        reader: &mut PlannedReader<'_, M>,
        stretch: Stretch,
        visitor: &mut impl PayloadVisitor,
    ) -> Result<WalkEnd, Interruption> {
        let wanted = (HEADER + visitor.wanted().max(HEADER)) as usize;
        let mut at = stretch.from;
        loop {
            let bytes = reader.bytes_from(at, wanted as u64).map_err(|error| (at, error))?;
            match self.run_through(bytes, wanted, &mut at, stretch, visitor)? {
                Step::Further => {}
                Step::End(end) => return Ok(end),
                Step::Fencepost(word) => return self.fencepost(reader, at, word, stretch.region.end),
            }
        }
    }

    /// Walks the chunks whose headers, and the bytes that are wanted behind them, are among the bytes at `at`: of small ones
    /// there are hundreds, and to ask the reader for each would take as long as all else. `at` is the next one afterwards.
    fn run_through(
        &mut self,
        mut bytes: &[u8],
        wanted: usize,
        at: &mut Addr,
        stretch: Stretch,
        visitor: &mut impl PayloadVisitor,
    ) -> Result<Step, Interruption> {
        let mut links = self.links.take();
        let mut before: Option<&[u8]> = None;
        loop {
            let header = Header::at(bytes);
            if !header.word.has(PREV_INUSE) {
                self.settle_previous(*at, &header, before.map(links_at).or(links.take()))?;
            }
            if *at >= stretch.to {
                return Ok(Step::End(WalkEnd::Limit(*at)));
            }
            let size = header.word.size();
            if size < MIN_SIZE {
                return Ok(Step::Fencepost(header.word));
            }
            let end = stretch.region.end;
            let room = end.0 - at.0;
            if !header.word.is_sound(room) {
                return Err(Interruption::Broken(*at, header.word.fault(room, end)));
            }
            fetch_ahead(bytes);
            let memory = *at + HEADER;
            if *at == stretch.top {
                self.walk.chunks.push(Chunk::new(memory, size, ChunkState::Top));
                return Ok(Step::End(WalkEnd::Top));
            }
            let usable = size - IN_USE_OVERHEAD;
            let payload = bytes.get(HEADER as usize..bytes.len().min(wanted)).unwrap_or_default();
            visitor.visit(memory, usable, &payload[..payload.len().min(usable as usize)]);
            self.walk.chunks.push(Chunk::new(memory, size, ChunkState::InUse));
            *at = *at + size;
            match bytes.get(size as usize..) {
                Some(next) if next.len() >= wanted => (before, bytes) = (Some(bytes), next),
                _ => {
                    self.links = Some(links_at(bytes));
                    return Ok(Step::Further);
                }
            }
        }
    }

    /// Marks the chunk before the one at `at`, which is free by the latter's header; its links are `None` if there is no such.
    fn settle_previous(&mut self, at: Addr, header: &Header, links: Option<(Addr, Addr)>) -> Result<(), Interruption> {
        let (Some(last), Some((forward, backward))) = (self.walk.chunks.last_mut(), links) else {
            return Ok(());
        };
        if header.prev_size != last.size() {
            let reason = format!(
                "the chunk before it is {:#x} bytes long by its own header and {:#x} by this one's",
                last.size(),
                header.prev_size
            );
            return Err(Interruption::Broken(at, reason));
        }
        *last = last.with_state(ChunkState::Free);
        self.walk.free_links.push(FreeLinks { memory: last.memory(), size: last.size(), forward, backward });
        Ok(())
    }

    /// The end of a heap that could not grow: headers too small for a chunk (glibc malloc.c, `sysmalloc`).
    ///
    /// The main arena writes two of 16 bytes, after a third where the old top was as small as that. Other arenas' heaps
    /// end with one of 16 bytes and one of zero. Where their old top was 16 bytes longer, it is joined with the former to
    /// 32 bytes, which looks like the smallest chunk in use: a zero header that does not follow one of 16 tells.
    fn fencepost<M: Memory>(
        &mut self,
        reader: &mut PlannedReader<'_, M>,
        at: Addr,
        word: SizeWord,
        end: Addr,
    ) -> Result<WalkEnd, Interruption> {
        let mut after = at;
        let mut word = word;
        while word.size() == HEADER && after.0 - at.0 < 3 * HEADER {
            after = after + HEADER;
            if after == end {
                break;
            }
            let next = reader.bytes(after, HEADER).map_err(|error| (after, error))?;
            word = Header::at(next).word;
        }
        match (word.size(), after.0 - at.0) {
            // The zero header, which is the last thing in a heap of another arena.
            (0, before) if after + HEADER == end => {
                after = end;
                if before == 0 && !self.join_last_with_fencepost() {
                    let reason =
                        "size 0x0 is smaller than any chunk, and no header of 16 bytes before it closes the heap";
                    return Err(Interruption::Broken(at, reason.to_owned()));
                }
            }
            (_, before) if before >= 2 * HEADER => {}
            (size, _) => {
                return Err(Interruption::Broken(at, format!("size {size:#x} is smaller than any chunk")));
            }
        }
        self.walk.chunks.push(Chunk::new(at + HEADER, after.0 - at.0, ChunkState::Fencepost));
        Ok(WalkEnd::Fenceposts(after))
    }

    /// False if what comes before the zero header is no fencepost: its size is wrong, and it reaches over the header of 16.
    fn join_last_with_fencepost(&mut self) -> bool {
        // It is of another stretch, which took it for a chunk in use. The rehearsal cuts where chunks begin that it knows, and none
        // begins here unless the heap has changed since.
        let Some(last) = self.walk.chunks.last_mut() else { return true };
        let is_joined = last.size() == MIN_SIZE && last.state() == ChunkState::InUse;
        if is_joined {
            *last = last.with_state(ChunkState::Fencepost);
        }
        is_joined
    }
}
