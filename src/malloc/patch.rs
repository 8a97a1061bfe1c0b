//! Puts what was walked anew in the place of what was there, once the target runs again.

use super::chunk::Chunk;
use crate::addr::AddrRange;
use std::ops::Range;

/// What replaces chunks of a walk.
#[derive(Debug, Clone)]
pub(super) struct Patch {
    /// From the first of the chunks that are replaced to the end of the last one.
    pub range: AddrRange,
    /// Those that lie there now, in address order, without a gap.
    pub chunks: Vec<Chunk>,
}

/// Puts patches in address order into chunks in address order; one that overlaps the one before is left out. Chunks may be most
/// of our memory: it is done where they lie.
pub(super) fn apply(patches: &[Patch], chunks: &mut Vec<Chunk>) {
    let mut patches: Vec<(&Patch, Range<usize>)> = patches.iter().map(|patch| (patch, place(patch, chunks))).collect();
    // Regions of a damaged heap can overlap.
    let mut end = 0;
    patches.retain(|(_, place)| {
        let is_behind = place.start >= end;
        if is_behind {
            end = place.end;
        }
        is_behind
    });
    let room: usize = patches.iter().map(|(patch, place)| patch.chunks.len().saturating_sub(place.len())).sum();
    let Some(last) = chunks.last().copied() else { return };
    // First all are moved back, as far as the patches can make them more; then each goes forward to its place.
    let before = chunks.len();
    chunks.reserve_exact(room);
    chunks.resize(before + room, last);
    chunks.copy_within(..before, room);
    let (mut written, mut read) = (0, room);
    for (patch, place) in patches {
        let kept = read..room + place.start;
        chunks.copy_within(kept.clone(), written);
        written += kept.len();
        let into = chunks.iter_mut().skip(written);
        into.zip(&patch.chunks).for_each(|(into, chunk)| *into = *chunk);
        written += patch.chunks.len();
        read = room + place.end;
    }
    let kept = read..chunks.len();
    chunks.copy_within(kept.clone(), written);
    chunks.truncate(written + kept.len());
}

/// Which chunks a patch replaces.
fn place(patch: &Patch, chunks: &[Chunk]) -> Range<usize> {
    let first = chunks.partition_point(|chunk| chunk.start() < patch.range.start);
    let count = chunks.get(first..).unwrap_or_default().partition_point(|chunk| chunk.start() < patch.range.end);
    first..first + count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Addr;
    use crate::malloc::chunk::ChunkState;
    use proptest::prelude::*;

    /// Chunks of these sizes, by units of 16 bytes, side by side from an address on.
    fn chunks(start: u64, units: &[u64]) -> Vec<Chunk> {
        let mut at = Addr(start);
        let mut chunk = |units: &u64| {
            let chunk = Chunk::new(at + 16, units * 16, ChunkState::InUse);
            at = chunk.end();
            chunk
        };
        units.iter().map(&mut chunk).collect()
    }

    #[test]
    fn what_overlaps_is_left_out() {
        let patch = |start, units: &[u64]| {
            let chunks = chunks(start, units);
            Patch { range: AddrRange::new(Addr(start), chunks.last().unwrap().end()), chunks }
        };
        let mut before = chunks(0x1000, &[10; 4]);
        apply(&[patch(0x1000, &[5, 15]), patch(0x10a0, &[20]), patch(0x1140, &[20])], &mut before);
        assert_eq!(before, chunks(0x1000, &[5, 15, 20]));
    }

    proptest! {
        /// Pieces of ten units each: what lies in them before, and what shall, or nothing if they are to stay.
        #[test]
        fn each_piece_is_what_it_shall_be(pieces in prop::collection::vec((0usize..4, prop::option::of(0usize..4)), 0..20)) {
            let cuts: [&[u64]; 4] = [&[10], &[5, 5], &[2, 3, 2, 3], &[1; 10]];
            let (mut before, mut after, mut patches) = (Vec::new(), Vec::new(), Vec::new());
            for (number, (old, new)) in pieces.into_iter().enumerate() {
                let start = 0x1000 + number as u64 * 160;
                before.extend(chunks(start, cuts[old]));
                let now = chunks(start, cuts[new.unwrap_or(old)]);
                if new.is_some() {
                    patches.push(Patch { range: AddrRange::sized(Addr(start), 160), chunks: now.clone() });
                }
                after.extend(now);
            }
            apply(&patches, &mut before);
            prop_assert_eq!(before, after);
        }
    }
}
