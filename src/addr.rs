//! Addresses, with their address space in the type.
//!
//! Two spaces exist. [`Addr`] is what the running process uses (what `/proc/PID/maps` and pointers in its memory hold).
//! [`FileAddr`] is what an ELF file and its DWARF use before the loader has moved the module. [`LoadBias`] turns one into
//! the other. Mixing them up is the classic mistake of tools that work on position-independent executables: it goes
//! unnoticed on a binary linked at a fixed address, where the bias is zero.

use std::fmt;
use std::ops::{Add, Sub};

/// An address in the running process. Arithmetic wraps, because target memory is untrusted and an address read from it
/// can be anything; what is read at a wrapped address faults.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Addr(pub u64);

impl Addr {
    /// The null pointer.
    pub const NULL: Addr = Addr(0);

    /// True for the null pointer.
    pub fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The distance in bytes from `earlier` to `self`, or `None` if `earlier` lies above.
    pub fn checked_offset_from(self, earlier: Addr) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }

    /// True if the address is a multiple of `alignment` bytes (a power of two).
    pub fn is_aligned(self, alignment: u64) -> bool {
        self.0 & (alignment - 1) == 0
    }

    /// The largest multiple of `alignment` (a power of two) not above the address.
    pub fn align_down(self, alignment: u64) -> Addr {
        Addr(self.0 & !(alignment - 1))
    }

    /// The smallest multiple of `alignment` (a power of two) not below the address; wraps at the top.
    pub fn align_up(self, alignment: u64) -> Addr {
        Addr(self.0.wrapping_add(alignment - 1)).align_down(alignment)
    }
}

impl Add<u64> for Addr {
    type Output = Addr;

    fn add(self, bytes: u64) -> Addr {
        Addr(self.0.wrapping_add(bytes))
    }
}

impl Sub<u64> for Addr {
    type Output = Addr;

    fn sub(self, bytes: u64) -> Addr {
        Addr(self.0.wrapping_sub(bytes))
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// An address as an ELF file and its DWARF state it, before the load bias is applied.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileAddr(pub u64);

/// What the loader added to every address of a module: running address minus address in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LoadBias(pub u64);

impl LoadBias {
    /// Where something of the file lies in the running process.
    pub fn to_running(self, address: FileAddr) -> Addr {
        Addr(address.0.wrapping_add(self.0))
    }

    /// Where in the file a running address comes from.
    pub fn to_file(self, address: Addr) -> FileAddr {
        FileAddr(address.0.wrapping_sub(self.0))
    }
}

/// Half-open range of running addresses: `start` belongs to it, `end` does not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct AddrRange {
    /// First address.
    pub start: Addr,
    /// First address past the range; never below `start` in a range built by [`AddrRange::new`].
    pub end: Addr,
}

impl AddrRange {
    /// The range from `start` up to `end`; empty if `end` lies below `start`.
    pub fn new(start: Addr, end: Addr) -> AddrRange {
        AddrRange { start, end: end.max(start) }
    }

    /// The range of `length` bytes at `start`, cut off at the top of the address space.
    pub fn sized(start: Addr, length: u64) -> AddrRange {
        AddrRange { start, end: Addr(start.0.saturating_add(length)) }
    }

    /// Size in bytes.
    pub fn len(self) -> u64 {
        self.end.0 - self.start.0
    }

    /// True if it holds no byte.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// True if the byte at `address` belongs to it.
    pub fn contains(self, address: Addr) -> bool {
        self.start <= address && address < self.end
    }

    /// True if all `length` bytes at `address` belong to it.
    pub fn contains_bytes(self, address: Addr, length: u64) -> bool {
        self.start <= address && address <= self.end && self.end.0 - address.0 >= length
    }

    /// True if the two share a byte.
    pub fn overlaps(self, other: AddrRange) -> bool {
        self.start < other.end && other.start < self.end
    }
}

impl fmt::Display for AddrRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

/// Addresses as hex strings in serialised data: JSON readers keep only 53 bits of a number.
pub mod hex {
    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    /// Writes `0x55d0c8a3f2b0`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(address: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{address:#x}"))
    }

    /// Reads what [`serialize`] writes.
    ///
    /// # Errors
    /// Those of the deserializer, and one if the text is no such address.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        struct Hex;
        impl Visitor<'_> for Hex {
            type Value = u64;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an address such as \"0x55d0c8a3f2b0\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
                parse(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Hex)
    }

    /// The address that `0x55d0c8a3f2b0` stands for.
    pub fn parse(text: &str) -> Option<u64> {
        let digits = text.strip_prefix("0x").filter(|digits| !digits.starts_with('+'))?;
        u64::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alignment_of_the_highest_addresses_wraps_instead_of_panicking() {
        assert_eq!(Addr(u64::MAX).align_up(16), Addr::NULL);
        assert_eq!(Addr(u64::MAX).align_down(16), Addr(u64::MAX - 15));
    }

    #[test]
    fn a_range_counts_bytes_and_not_addresses() {
        let range = AddrRange::sized(Addr(0x1000), 0x10);
        assert!(range.contains_bytes(Addr(0x1008), 8));
        assert!(!range.contains_bytes(Addr(0x1008), 9));
        assert!(!range.contains_bytes(Addr(0x2000), 0));
        assert!(AddrRange::new(Addr(8), Addr(4)).is_empty());
    }

    #[test]
    fn load_bias_is_its_own_inverse() {
        let bias = LoadBias(0x5555_5555_4000);
        assert_eq!(bias.to_file(bias.to_running(FileAddr(0x1234))), FileAddr(0x1234));
    }
}
