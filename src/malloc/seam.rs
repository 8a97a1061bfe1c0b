//! Where a walk goes on after the target has run: it finds its place again by walking its latest chunks a second time.
//!
//! A chunk that was freed, or merged with its neighbours and cut anew, leaves a header behind that looks as good as before.
//! So the place where the walk stopped proves nothing; a walk that comes there from chunks further back does, unless these
//! are all gone too.

use super::chunk::Chunk;
use super::walk::Walk;
use crate::addr::Addr;
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Where walks went on after the target had run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Seams {
    /// How many such places there are.
    pub places: u64,
    /// Chunks that were walked a second time there, or where something was mended.
    pub chunks: u64,
    /// Those of them that were no longer what they had been just before.
    pub changed: u64,
    /// Pieces of the heap that were walked anew at the end, because malloc's lists of free chunks contradicted what was
    /// found there.
    pub mended: u64,
}

impl std::ops::AddAssign for Seams {
    fn add_assign(&mut self, other: Seams) {
        self.places += other.places;
        self.chunks += other.chunks;
        self.changed += other.changed;
        self.mended += other.mended;
    }
}

/// How many chunks a walk goes back, at least and at most; in between as many as lie in so many bytes.
const STEPS_BACK: std::ops::RangeInclusive<usize> = 16..=256;
const BYTES_BACK: u64 = 256 * 1024;

/// How often it goes back further if it then loses its way, because it began at a header that was left behind: by one chunk,
/// by two more, by four more.
const FURTHER: u32 = 10;

/// The seams of a walk while it goes on.
#[derive(Default)]
pub(super) struct SeamKeeper {
    open: Option<Seam>,
    /// How far the walk has come at most.
    furthest: Addr,
    /// How often it had to go back since, and since when.
    stuck: u32,
    stuck_since: Option<Instant>,
}

impl SeamKeeper {
    /// Where a walk that began at `start` goes on after the target has run. `None` if it does not get any further.
    pub(super) fn go_back(&mut self, walk: &mut Walk, start: Addr) -> Option<Addr> {
        let reached = walk.chunks.last().map_or(start, |chunk| chunk.end());
        if reached > self.furthest {
            (self.stuck, self.stuck_since, self.furthest) = (0, None, reached);
        }
        self.stuck += 1;
        let since = *self.stuck_since.get_or_insert_with(Instant::now);
        if self.stuck > STUCK && (since.elapsed() > STUCK_FOR || self.stuck > MOST_STUCK) {
            return None;
        }
        if let Some(open) = self.open.as_mut().filter(|open| !open.is_passed(walk)) {
            return Some(open.reopen(walk, start));
        }
        self.finish(walk);
        let (open, from) = Seam::open(walk, start);
        self.open = Some(open);
        Some(from)
    }

    /// The same for a walk that lost its way; `None` if that was not where it had gone back to.
    pub(super) fn go_further_back(&mut self, walk: &mut Walk, start: Addr) -> Option<Addr> {
        self.open.as_mut()?.open_further(walk, start)
    }

    /// Counts what was different the second time.
    pub(super) fn finish(&mut self, walk: &mut Walk) {
        self.open.take().into_iter().for_each(|open| open.close(walk));
    }
}

/// Chunks that are being walked a second time.
struct Seam {
    /// The first one's place among the walk's chunks.
    first: usize,
    /// What they were, in address order.
    before: Vec<Chunk>,
    /// How often the walk has gone back further since.
    further: u32,
}

/// How often in a row the target may run before a walk has come further than ever before, and for how long: one that gets to
/// read hardly anything at a time would never end. Stops of a millisecond on a machine whose processors are all busy were
/// seen to pass twenty times in a row before a reader got its turn twice in one.
const STUCK: u32 = 16;
const STUCK_FOR: Duration = Duration::from_secs(5);

/// More often than this it cannot run in that time: it rests for 10 ms after each stop.
const MOST_STUCK: u32 = 600;

/// Why a walk cannot be gone on with.
pub(super) const TOO_SHORT: &str = "the stops are too short to read two pieces in one; give a longer --max-pause";

impl Seam {
    /// Takes the latest chunks off a walk that began at `start`. Returns where to go on: at the first one taken, or at
    /// `start` if there is none.
    fn open(walk: &mut Walk, start: Addr) -> (Seam, Addr) {
        walk.seams.places += 1;
        let mut seam = Seam { first: walk.chunks.len(), before: Vec::new(), further: 0 };
        let end = walk.chunks.last().map_or(start, |chunk| chunk.end());
        let near = walk.chunks.iter().rev().take(*STEPS_BACK.end());
        let near = near.take_while(|chunk| end.0 - chunk.start().0 <= BYTES_BACK).count();
        let from = seam.unwind(walk, start, near.max(*STEPS_BACK.start()));
        (seam, from)
    }

    /// Takes the chunks off again for a walk that has not come past them yet.
    fn reopen(&mut self, walk: &mut Walk, start: Addr) -> Addr {
        walk.seams.places += 1;
        walk.chunks.truncate(self.first);
        let from = self.before.first().map_or(start, |chunk| chunk.start());
        drop_links(walk, from);
        from
    }

    /// True if the walk has come past the chunks that it walks a second time.
    fn is_passed(&self, walk: &Walk) -> bool {
        let end = self.before.last().map_or(Addr::NULL, |chunk| chunk.end());
        let again = walk.chunks.get(self.first..).unwrap_or_default();
        again.last().is_some_and(|last| last.end() >= end)
    }

    /// The same with more chunks for a walk that lost its way among them; `None` if it lost it elsewhere, or if that was
    /// tried often enough.
    fn open_further(&mut self, walk: &mut Walk, start: Addr) -> Option<Addr> {
        if self.is_passed(walk) || self.further == FURTHER {
            return None;
        }
        let steps = 1 << self.further;
        self.further += 1;
        walk.chunks.truncate(self.first);
        Some(self.unwind(walk, start, steps))
    }

    fn unwind(&mut self, walk: &mut Walk, start: Addr, steps: usize) -> Addr {
        self.first = walk.chunks.len().saturating_sub(steps);
        let mut before = walk.chunks.split_off(self.first);
        before.append(&mut self.before);
        self.before = before;
        let from = self.before.first().map_or(start, |chunk| chunk.start());
        drop_links(walk, from);
        from
    }

    /// Counts what was different the second time.
    fn close(self, walk: &mut Walk) {
        let now = walk.chunks.get(self.first..).unwrap_or_default();
        let end = self.before.last().map_or(Addr::NULL, |chunk| chunk.end());
        let now = now.iter().take_while(|chunk| chunk.start() < end);
        let now: FxHashSet<(Addr, u64)> = now.map(|chunk| (chunk.start(), chunk.size())).collect();
        let changed = self.before.iter().filter(|chunk| !now.contains(&(chunk.start(), chunk.size())));
        walk.seams.changed += changed.count() as u64;
        walk.seams.chunks += self.before.len() as u64;
    }
}

fn drop_links(walk: &mut Walk, from: Addr) {
    while walk.free_links.pop_if(|links| links.memory > from).is_some() {}
}
