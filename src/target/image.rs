//! A target's memory held in our own: tests build small processes with it.

use crate::addr::Addr;
use crate::target::memory::{Fault, Memory};
use std::collections::BTreeMap;

/// Segments of bytes at running addresses. Reads may cross segments that touch each other, never a gap.
#[derive(Debug, Default, Clone)]
pub struct Image {
    segments: BTreeMap<Addr, Vec<u8>>,
}

impl Image {
    /// An image with nothing mapped.
    pub fn new() -> Image {
        Image::default()
    }

    /// Maps `bytes` at `address`. Where segments overlap, the one that starts last wins.
    pub fn map(&mut self, address: Addr, bytes: Vec<u8>) {
        self.segments.insert(address, bytes);
    }

    /// Overwrites mapped bytes; false if not all of them are mapped in one segment.
    pub fn write(&mut self, address: Addr, bytes: &[u8]) -> bool {
        let Some((start, segment)) = self.segments.range_mut(..=address).next_back() else { return false };
        let offset = (address.0 - start.0) as usize;
        match offset.checked_add(bytes.len()).and_then(|end| segment.get_mut(offset..end)) {
            Some(place) => {
                place.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }

    /// Overwrites the little-endian word at `address`; false if it is not mapped.
    pub fn write_u64(&mut self, address: Addr, value: u64) -> bool {
        self.write(address, &value.to_le_bytes())
    }
}

impl Memory for Image {
    fn read(&self, address: Addr, buffer: &mut [u8]) -> Result<(), Fault> {
        let mut done = 0;
        while done < buffer.len() {
            let at = address + done as u64;
            let (start, segment) = self.segments.range(..=at).next_back().ok_or(Fault::Unmapped(at))?;
            let available = segment.get((at.0 - start.0) as usize..).unwrap_or_default();
            if available.is_empty() {
                return Err(Fault::Unmapped(at));
            }
            let count = available.len().min(buffer.len() - done);
            buffer[done..done + count].copy_from_slice(&available[..count]);
            done += count;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cross_touching_segments_and_fault_in_gaps() {
        let mut image = Image::new();
        image.map(Addr(0x1000), vec![1; 4]);
        image.map(Addr(0x1004), vec![2; 4]);
        let mut six = [0; 6];
        image.read(Addr(0x1001), &mut six).unwrap();
        assert_eq!(six, [1, 1, 1, 2, 2, 2]);
        assert_eq!(image.read(Addr(0x1004), &mut six), Err(Fault::Unmapped(Addr(0x1008))));
        assert_eq!(image.read_u64(Addr(0xfff)), Err(Fault::Unmapped(Addr(0xfff))));
    }
}
