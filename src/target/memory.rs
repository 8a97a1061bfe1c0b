//! The one way to read a target's memory, whether it is alive, an image in a test, or a recording.

use crate::addr::{Addr, AddrRange};
use thiserror::Error;

/// A read that could not be answered. Nothing is ever filled in for it: what cannot be read is unknown, not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fault {
    /// Nothing is mapped there, or it was not captured.
    #[error("no readable memory at {0}")]
    Unmapped(Addr),
    /// It was mapped there, but its bytes are not in the core: its writer left them out, or the file was cut off before them.
    #[error("the core does not hold the memory at {0}")]
    NotSaved(Addr),
    /// The process is gone; no later read can succeed either.
    #[error("the process exited while it was being read")]
    Gone,
    /// The kernel refused, with this `errno`.
    #[error("the kernel refused to read {0} (errno {1})")]
    Refused(Addr, i32),
}

/// Which of the moments that a memory is read at. All that is read at one moment belongs together: nothing has changed
/// in between. A memory that cannot change has only the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(pub u32);

/// Read access to the running address space of a target. The target is little-endian and 64-bit: others are refused
/// before a `Memory` is made.
pub trait Memory {
    /// Fills `buffer` from `address`, wholly or not at all (its content is unspecified after a fault).
    fn read(&self, address: Addr, buffer: &mut [u8]) -> Result<(), Fault>;

    /// Fills `buffer` with the bytes of the ranges, one after the other. `buffer` must be as long as they are together.
    /// Implementations that reach into another process do this with as few system calls as they can.
    fn read_ranges(&self, ranges: &[AddrRange], buffer: &mut [u8]) -> Result<(), Fault> {
        let mut rest = buffer;
        for range in ranges {
            let (head, tail) = rest.split_at_mut(range.len() as usize);
            self.read(range.start, head)?;
            rest = tail;
        }
        Ok(())
    }

    /// As [`read_ranges`](Memory::read_ranges), and tells at which moment.
    fn read_ranges_at(&self, ranges: &[AddrRange], buffer: &mut [u8]) -> Result<Moment, Fault> {
        self.read_ranges(ranges, buffer).map(|()| Moment::default())
    }

    /// The moment that the next read belongs to, as far as can be told.
    fn moment(&self) -> Moment {
        Moment::default()
    }

    /// The moment that the latest read belonged to; that of the next one if there was none.
    fn latest_moment(&self) -> Moment {
        self.moment()
    }

    /// Begins the next moment, if there will be one: for who needs as much time in one as there is.
    fn next_moment(&self) {}

    /// The little-endian 64-bit word at `address`.
    fn read_u64(&self, address: Addr) -> Result<u64, Fault> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// The little-endian 32-bit word at `address`.
    fn read_u32(&self, address: Addr) -> Result<u32, Fault> {
        let mut bytes = [0; 4];
        self.read(address, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// The pointer at `address`.
    fn read_pointer(&self, address: Addr) -> Result<Addr, Fault> {
        self.read_u64(address).map(Addr)
    }
}

impl<M: Memory + ?Sized> Memory for &M {
    fn read(&self, address: Addr, buffer: &mut [u8]) -> Result<(), Fault> {
        (**self).read(address, buffer)
    }

    fn read_ranges(&self, ranges: &[AddrRange], buffer: &mut [u8]) -> Result<(), Fault> {
        (**self).read_ranges(ranges, buffer)
    }

    fn read_ranges_at(&self, ranges: &[AddrRange], buffer: &mut [u8]) -> Result<Moment, Fault> {
        (**self).read_ranges_at(ranges, buffer)
    }

    fn moment(&self) -> Moment {
        (**self).moment()
    }

    fn latest_moment(&self) -> Moment {
        (**self).latest_moment()
    }

    fn next_moment(&self) {
        (**self).next_moment();
    }
}

/// The little-endian word at `offset`; what lies past the end counts as zero, so that a field at a structure's end that
/// is narrower than a word can be read as one.
#[inline]
pub fn word_at(bytes: &[u8], offset: u64) -> u64 {
    let tail = bytes.get(offset as usize..).unwrap_or_default();
    match tail.first_chunk() {
        Some(word) => u64::from_le_bytes(*word),
        None => tail.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::word_at;

    #[test]
    fn a_word_that_is_cut_off_is_filled_up_with_zeroes() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(word_at(&bytes, 1), 0x0908_0706_0504_0302);
        assert_eq!(word_at(&bytes, 7), 0x0908);
        assert_eq!(word_at(&bytes, 9), 0);
        assert_eq!(word_at(&bytes, u64::MAX), 0);
    }
}
