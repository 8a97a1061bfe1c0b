//! The chunks of a region by their number, though they lie in several parts.

use super::chunk::{Chunk, ChunkState};
use crate::addr::{Addr, AddrRange};

/// Chunks that were walked, in address order.
pub(super) struct Walked<'a> {
    parts: Vec<&'a [Chunk]>,
    /// How many chunks lie before each part.
    before: Vec<usize>,
    len: usize,
}

impl<'a> Walked<'a> {
    pub fn of(parts: &'a [Vec<Chunk>]) -> Walked<'a> {
        let parts: Vec<&[Chunk]> = parts.iter().map(Vec::as_slice).filter(|part| !part.is_empty()).collect();
        let mut walked = Walked { before: Vec::with_capacity(parts.len()), parts, len: 0 };
        for part in &walked.parts {
            walked.before.push(walked.len);
            walked.len += part.len();
        }
        walked
    }

    pub fn get(&self, place: usize) -> Option<Chunk> {
        let part = self.before.partition_point(|before| *before <= place).checked_sub(1)?;
        self.parts.get(part)?.get(place - self.before.get(part)?).copied()
    }

    /// The place of the last chunk that starts at or before `address`.
    pub fn place_of(&self, address: Addr) -> Option<usize> {
        let starts_before = |chunk: &Chunk| chunk.start() <= address;
        let part = self.parts.partition_point(|part| part.first().is_some_and(starts_before)).checked_sub(1)?;
        let within = self.parts.get(part)?.partition_point(starts_before).checked_sub(1)?;
        Some(self.before.get(part)? + within)
    }

    /// The last chunk that starts at or before `address`.
    pub fn at(&self, address: Addr) -> Option<Chunk> {
        self.get(self.place_of(address)?)
    }

    /// The place of the last chunk that a walk can end at: of those that close a heap, the first one belongs together with what
    /// comes after it.
    pub fn last_to_end_at(&self) -> usize {
        let mut last = self.len.saturating_sub(1);
        while last > 0 && self.get(last - 1).is_some_and(|chunk| chunk.state() == ChunkState::Fencepost) {
            last -= 1;
        }
        last
    }

    /// The chunks that start in `range`.
    pub fn within(&self, range: AddrRange) -> impl Iterator<Item = Chunk> {
        let first = self.place_of(range.start).unwrap_or_default();
        let chunks = (first..self.len).filter_map(|place| self.get(place));
        chunks.skip_while(move |chunk| chunk.start() < range.start).take_while(move |chunk| chunk.start() < range.end)
    }
}
