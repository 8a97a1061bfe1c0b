//! Fields that a build of nginx may lack, and reading them.
//!
//! What is known of an owner depends on the version and on what was compiled in. A finder needs few fields; each other one
//! only adds to what it tells, and is left out where it is missing.

use super::owner::NginxModule;
use crate::addr::Addr;
use crate::debug::Layout;
use crate::target::memory::{Memory, word_at};
use std::sync::Arc;

/// A structure that may not be described.
pub struct Fields(Option<Arc<Layout>>);

impl Fields {
    /// Those of the structure `name` (tag or typedef).
    pub fn of(nginx: NginxModule<'_>, name: &str) -> Fields {
        Fields(nginx.layout(name).ok())
    }

    /// Where the field at a dotted path lies, in bytes.
    pub fn offset(&self, path: &str) -> Option<u64> {
        self.0.as_ref()?.offset(path).ok()
    }

    /// Where the bit-field at a dotted path lies.
    pub fn bits(&self, path: &str) -> Option<Bits> {
        Bits::in_layout(self.0.as_ref()?, path)
    }

    /// Where the counted string (`ngx_str_t`) at a dotted path lies.
    pub fn text(&self, path: &str) -> Option<Text> {
        Some(Text { length: self.offset(&format!("{path}.len"))?, data: self.offset(&format!("{path}.data"))? })
    }

    /// The same, if the structure is itself such a string.
    pub fn own_text(&self) -> Option<Text> {
        Some(Text { length: self.offset("len")?, data: self.offset("data")? })
    }

    /// Size in bytes; `None` if it is not known.
    pub fn size(&self) -> Option<u64> {
        self.0.as_ref().map(|layout| layout.size).filter(|size| *size > 0)
    }
}

/// Where a bit-field lies in its structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bits {
    /// The first byte that has some of it.
    byte: u64,
    /// Bits of that byte to the right of it.
    shift: u64,
    /// Its width, as ones.
    mask: u64,
}

impl Bits {
    /// Those of the bit-field at a dotted path; `None` if there is no such field, or it is no bit-field.
    pub fn in_layout(layout: &Layout, path: &str) -> Option<Bits> {
        let field = layout.field_at(path).ok()?;
        let bits = field.bits?;
        let first = u64::from(bits.offset);
        let (byte, shift) = (field.offset + first / 8, first % 8);
        let width = u64::from(bits.size).min(64 - shift);
        Some(Bits { byte, shift, mask: u64::MAX >> (64 - width.max(1)) })
    }

    /// Its value in a structure whose bytes are at hand.
    pub fn of(self, bytes: &[u8]) -> u64 {
        word_at(bytes, self.byte) >> self.shift & self.mask
    }

    /// Its value in the structure at `base`.
    pub fn read(self, memory: &dyn Memory, base: Addr) -> Option<u64> {
        let mut bytes = [0; 8];
        let used = (64 - (self.mask << self.shift).leading_zeros()).div_ceil(8) as usize;
        memory.read(base + self.byte, bytes.get_mut(..used)?).ok()?;
        Some(u64::from_le_bytes(bytes) >> self.shift & self.mask)
    }
}

/// Where a counted string (`ngx_str_t`) lies in its structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text {
    length: u64,
    data: u64,
}

impl Text {
    /// Its length and its first letter, in the structure at `base`; `None` if it is empty.
    pub fn read(self, memory: &dyn Memory, base: Addr) -> Option<(u64, Addr)> {
        let length = memory.read_u64(base + self.length).ok().filter(|length| *length > 0)?;
        Some((length, memory.read_pointer(base + self.data).ok()?))
    }
}

/// The word at `offset` of the structure at `base`, if there is such a field and it can be read.
pub fn word(memory: &dyn Memory, base: Addr, offset: Option<u64>) -> Option<u64> {
    memory.read_u64(base + offset?).ok()
}

/// The same for a pointer that is not null.
pub fn pointer(memory: &dyn Memory, base: Addr, offset: Option<u64>) -> Option<Addr> {
    word(memory, base, offset).map(Addr).filter(|address| !address.is_null())
}

/// True if that bit is known to be set.
pub fn is_set(memory: &dyn Memory, base: Addr, bits: Option<Bits>) -> bool {
    bits.and_then(|bits| bits.read(memory, base)).is_some_and(|value| value != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::image::Image;

    #[test]
    fn bits_are_read_from_the_bytes_that_hold_them_and_no_others() {
        let mut image = Image::new();
        image.map(Addr(0x1000), vec![0b1010_0000, 0b0000_0011]);
        let bits = |byte, shift, mask| Bits { byte, shift, mask };
        assert_eq!(bits(0, 5, 1).read(&image, Addr(0x1000)), Some(1));
        assert_eq!(bits(0, 6, 1).read(&image, Addr(0x1000)), Some(0));
        assert_eq!(bits(0, 5, 0x1f).read(&image, Addr(0x1000)), Some(0b11101));
        assert_eq!(bits(1, 0, 0xff).read(&image, Addr(0x1000)), Some(3));
        assert_eq!(bits(1, 1, 0xff).read(&image, Addr(0x1000)), None, "it reaches into memory that is not there");
        assert_eq!(bits(0, 5, 0x1f).of(&[0b1010_0000, 0b0000_0011]), 0b11101);
    }

    #[test]
    fn what_is_not_described_is_not_read() {
        let mut image = Image::new();
        image.map(Addr(0x1000), vec![0; 16]);
        assert_eq!(word(&image, Addr(0x1000), None), None);
        assert_eq!(word(&image, Addr(0x1000), Some(8)), Some(0));
        assert_eq!(pointer(&image, Addr(0x1000), Some(8)), None);
        assert!(!is_set(&image, Addr(0x1000), None));
    }
}
