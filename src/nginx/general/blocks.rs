//! The target's memory in small blocks, each read once; many at a time where it is known beforehand what will be looked at.
//!
//! What an exploration looks at lies all over the heap, a few hundred bytes at each place. Whole pages would be mostly in
//! vain, and a system call for each place costs more than the bytes.

use crate::addr::{Addr, AddrRange};
use crate::target::memory::{Fault, Memory};
use rustc_hash::FxHashMap;
use std::cell::RefCell;

/// Bytes in a block. Divides every page size, so that a block is readable as a whole or not at all.
const BLOCK: u64 = 1 << 10;

/// Most blocks that are read ahead at once. What is beyond them is read when it is looked at.
const MAX_AHEAD: usize = 1 << 12;

/// The slot of a block that nothing is mapped at: asking again would not help.
const ABSENT: u32 = u32::MAX;

/// Memory of a target that stands still, or is taken as if it did: what is known is not read again.
pub(super) struct Blocks<'a> {
    memory: &'a dyn Memory,
    /// Bytes that are kept. When there are more, the cache starts anew.
    limit: usize,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    slots: FxHashMap<Addr, u32>,
    bytes: Vec<u8>,
    /// The block of the latest read, and where its bytes start.
    latest: Option<(Addr, usize)>,
    /// Bytes of blocks that were let go because the cache was full.
    forgotten: u64,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(memory: &'a dyn Memory, limit: usize) -> Blocks<'a> {
        Blocks { memory, limit, state: RefCell::default() }
    }

    /// Bytes of all blocks that were read.
    pub(super) fn bytes(&self) -> u64 {
        let state = self.state.borrow();
        state.bytes.len() as u64 + state.forgotten
    }

    /// Reads what will be looked at, as far as it is not known yet. What cannot be read shows when it is looked at.
    pub(super) fn read_ahead(&self, ranges: impl Iterator<Item = AddrRange>) {
        let state = &mut *self.state.borrow_mut();
        let blocks = ranges.flat_map(blocks_of).filter(|block| !state.slots.contains_key(block));
        let mut wanted: Vec<Addr> = blocks.take(MAX_AHEAD).collect();
        wanted.sort_unstable();
        wanted.dedup();
        if self.fetch(state, &wanted).is_err() {
            for block in wanted {
                // A fault is remembered, or met again by whoever reads there.
                let _ = self.fetch(state, &[block]);
            }
        }
    }

    /// Reads blocks that are not known, which must be in address order.
    fn fetch(&self, state: &mut State, wanted: &[Addr]) -> Result<(), Fault> {
        let length = wanted.len() * BLOCK as usize;
        if state.bytes.len() + length > self.limit {
            state.start_anew();
        }
        let start = state.bytes.len();
        state.bytes.resize(start + length, 0);
        let answer = self.memory.read_ranges(&joined(wanted), &mut state.bytes[start..]);
        match answer {
            Ok(()) => {
                let first = (start / BLOCK as usize) as u32;
                state.slots.extend(wanted.iter().copied().zip(first..));
            }
            Err(fault) => {
                state.bytes.truncate(start);
                if let ([block], Fault::Unmapped(_)) = (wanted, fault) {
                    state.slots.insert(*block, ABSENT);
                }
            }
        }
        answer
    }

    /// Where the bytes of a block start, which is read if need be.
    fn locate(&self, state: &mut State, block: Addr) -> Result<usize, Fault> {
        if let Some((latest, start)) = state.latest
            && latest == block
        {
            return Ok(start);
        }
        if !state.slots.contains_key(&block) {
            self.fetch(state, &[block])?;
        }
        match state.slots.get(&block) {
            None | Some(&ABSENT) => Err(Fault::Unmapped(block)),
            Some(&slot) => {
                let start = slot as usize * BLOCK as usize;
                state.latest = Some((block, start));
                Ok(start)
            }
        }
    }
}

impl State {
    fn start_anew(&mut self) {
        self.forgotten += self.bytes.len() as u64;
        self.slots.clear();
        self.bytes.clear();
        self.latest = None;
    }
}

impl Memory for Blocks<'_> {
    fn read(&self, address: Addr, buffer: &mut [u8]) -> Result<(), Fault> {
        if buffer.len() as u64 > BLOCK {
            self.read_ahead(std::iter::once(AddrRange::sized(address, buffer.len() as u64)));
        }
        let state = &mut *self.state.borrow_mut();
        let mut done = 0;
        while done < buffer.len() {
            let at = address + done as u64;
            let block = at.align_down(BLOCK);
            let within = (at.0 - block.0) as usize;
            let count = (BLOCK as usize - within).min(buffer.len() - done);
            let start = self.locate(state, block)? + within;
            buffer[done..done + count].copy_from_slice(&state.bytes[start..start + count]);
            done += count;
        }
        Ok(())
    }
}

/// The blocks that a range has a part in.
fn blocks_of(range: AddrRange) -> impl Iterator<Item = Addr> {
    (range.start.align_down(BLOCK).0..range.end.0).step_by(BLOCK as usize).map(Addr)
}

/// Ranges that the blocks make up together.
fn joined(blocks: &[Addr]) -> Vec<AddrRange> {
    let mut ranges: Vec<AddrRange> = Vec::with_capacity(blocks.len());
    for block in blocks {
        match ranges.last_mut() {
            Some(range) if range.end == *block => range.end = Addr(block.0.saturating_add(BLOCK)),
            _ => ranges.push(AddrRange::sized(*block, BLOCK)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::image::Image;
    use std::cell::Cell;

    /// Counts how often it is read.
    struct Counting(Image, Cell<usize>);

    impl Memory for Counting {
        fn read(&self, address: Addr, buffer: &mut [u8]) -> Result<(), Fault> {
            self.0.read(address, buffer)
        }

        fn read_ranges(&self, ranges: &[AddrRange], buffer: &mut [u8]) -> Result<(), Fault> {
            self.1.set(self.1.get() + 1);
            self.0.read_ranges(ranges, buffer)
        }
    }

    fn sixteen_blocks() -> Counting {
        let mut image = Image::new();
        image.map(Addr(0x4000), (0..16 * BLOCK as u32).map(|n| (n / 7) as u8).collect());
        Counting(image, Cell::new(0))
    }

    fn assert_same(memory: &Counting, blocks: &Blocks<'_>, address: Addr, length: usize) {
        let (mut plain, mut cached) = (vec![0; length], vec![0; length]);
        memory.0.read(address, &mut plain).unwrap();
        blocks.read(address, &mut cached).unwrap();
        assert_eq!(plain, cached, "{address}");
    }

    #[test]
    fn what_was_read_ahead_is_not_read_again() {
        let memory = sixteen_blocks();
        let blocks = Blocks::new(&memory, 1 << 20);
        let wanted = [(0x5010, 8), (0x4000, 8), (0x53f8, 16), (0x7ff8, 8)];
        blocks.read_ahead(wanted.into_iter().map(|(at, length)| AddrRange::sized(Addr(at), length)));
        for (at, length) in wanted {
            assert_same(&memory, &blocks, Addr(at), length as usize);
        }
        assert_eq!((memory.1.get(), blocks.bytes()), (1, 4 * BLOCK));
    }

    #[test]
    fn a_long_read_is_one_call_and_a_full_cache_still_answers() {
        let memory = sixteen_blocks();
        let blocks = Blocks::new(&memory, 1 << 20);
        assert_same(&memory, &blocks, Addr(0x4008), 5000);
        assert_eq!(memory.1.get(), 1);
        let small = Blocks::new(&memory, 2 * BLOCK as usize);
        for at in [0x4000, 0x5000, 0x43f0, 0x7000, 0x4000] {
            assert_same(&memory, &small, Addr(at), 600);
        }
        assert_same(&memory, &small, Addr(0x4008), 5000);
    }

    #[test]
    fn what_is_absent_faults_every_time_and_hides_nothing_else() {
        let memory = sixteen_blocks();
        let blocks = Blocks::new(&memory, 1 << 20);
        let wanted = [Addr(0x4000), Addr(0x9000), Addr(0x7000)];
        blocks.read_ahead(wanted.into_iter().map(|at| AddrRange::sized(at, 8)));
        let calls = memory.1.get();
        for _ in 0..2 {
            assert!(matches!(blocks.read_u64(Addr(0x9000)), Err(Fault::Unmapped(_))));
        }
        assert_same(&memory, &blocks, Addr(0x4000), 8);
        assert_same(&memory, &blocks, Addr(0x7000), 8);
        assert_eq!(memory.1.get(), calls);
    }
}
