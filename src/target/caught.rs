//! Lines that come by while the heap is read, kept for who will ask for them.

use crate::addr::{Addr, AddrRange};

/// Bytes in a line.
pub const LINE: u64 = 64;

/// Lines that were caught, each with its place among those that are wanted.
#[derive(Debug, Default)]
pub struct CaughtLines {
    pub(super) places: Vec<u32>,
    pub(super) lines: Vec<Bytes>,
}

impl CaughtLines {
    /// None yet, and room for so many that is touched already, so that no page fault of ours falls into the stop.
    pub fn with_room_for(lines: usize) -> CaughtLines {
        // Not zeroes: those would be memory that the kernel hands out at the first write.
        let mut caught = CaughtLines { places: vec![1; lines], lines: vec![Bytes([1; LINE as usize]); lines] };
        caught.places.clear();
        caught.lines.clear();
        caught
    }

    pub(super) fn add(&mut self, place: usize, bytes: [u8; LINE as usize]) {
        // Four thousand million of them would be 256 GiB.
        let Ok(place) = u32::try_from(place) else { return };
        self.places.push(place);
        self.lines.push(Bytes(bytes));
    }
}

/// Bytes of a line, where the processor has them in a line of its own.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Bytes(pub(super) [u8; LINE as usize]);

/// Of `wanted` (start addresses in address order, the first of which has the place `first` among all), the lines that lie wholly
/// in `range`, whose bytes are `bytes`.
pub fn catch(wanted: &[Addr], first: usize, range: AddrRange, bytes: &[u8], caught: &mut CaughtLines) {
    let before = wanted.partition_point(|line| *line < range.start);
    for (index, line) in wanted.iter().enumerate().skip(before).take_while(|(_, line)| **line < range.end) {
        let from = (line.0 - range.start.0) as usize;
        if let Some(bytes) = bytes.get(from..).and_then(|rest| rest.first_chunk()) {
            caught.add(first + index, *bytes);
        }
    }
}
