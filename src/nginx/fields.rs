//! Fields that a build of nginx may lack, and reading them.
//!
//! What is known of an owner depends on the version and on what was compiled in. A finder needs few fields; each other one
//! only adds to what it tells, and is left out where it is missing.

use super::owner::{NginxModule, OwnerError};
use crate::addr::Addr;
use crate::debug::Layout;
use crate::target::memory::{Memory, word_at};
use std::ops::Range;
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

/// Structures larger than this are not believed: nginx's largest, those of requests and upstreams, take 2 KiB.
const LARGEST: u64 = 64 * 1024;

/// The size of a structure that debug info gives, which is what a buffer is made by.
///
/// # Errors
/// [`OwnerError::Implausible`] if nothing has that size.
pub fn checked_size(name: &str, size: u64) -> Result<u64, OwnerError> {
    match size {
        1..=LARGEST => Ok(size),
        0 => Err(OwnerError::Implausible(format!("{name} has no size in the debug info"))),
        _ => Err(OwnerError::Implausible(format!("{name} has {size} bytes by the debug info, more than {LARGEST}"))),
    }
}

/// Parts of a structure that are read further than this from its start are not read with the others.
const LONGEST_RECORD: usize = 2048;

/// Parts of a structure that lie nearer to each other than this are read as one.
const NEAR: usize = 64;

/// What is read of a structure at once: the parts that have what is wanted. A request has more than a thousand bytes, of
/// which a hundred are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record(Vec<Range<usize>>);

/// The bytes of a structure; those that are not wanted are zero.
pub struct RecordBytes([u8; LONGEST_RECORD]);

impl Record {
    /// Has the fields at these offsets, which are words or less.
    pub fn of(offsets: impl IntoIterator<Item = Option<u64>>) -> Record {
        let mut offsets: Vec<usize> = offsets.into_iter().flatten().filter_map(|at| usize::try_from(at).ok()).collect();
        offsets.sort_unstable();
        let mut parts: Vec<Range<usize>> = Vec::new();
        for start in offsets.into_iter().filter(|start| *start <= LONGEST_RECORD - 8) {
            match parts.last_mut() {
                Some(last) if start < last.end + NEAR => last.end = last.end.max(start + 8),
                _ => parts.push(start..start + 8),
            }
        }
        Record(parts)
    }

    /// Reads them of the structure at `base`, and gives what `parse` makes of them: the bytes are not worth moving. Where a
    /// part cannot be read, it is zero; `None` if that is the first one.
    pub fn read<T>(&self, memory: &dyn Memory, base: Addr, parse: impl FnOnce(&RecordBytes) -> T) -> Option<T> {
        let mut bytes = RecordBytes([0; LONGEST_RECORD]);
        for (nth, part) in self.0.iter().enumerate() {
            let place = bytes.0.get_mut(part.clone())?;
            match memory.read(base + part.start as u64, place) {
                Ok(()) => {}
                Err(_) if nth > 0 => place.fill(0),
                Err(_) => return None,
            }
        }
        Some(parse(&bytes))
    }
}

impl RecordBytes {
    /// The word at `offset`.
    pub fn word(&self, offset: u64) -> u64 {
        word_at(&self.0, offset)
    }

    /// The pointer at `offset`, if there is such a field and it is not null.
    pub fn pointer(&self, offset: Option<u64>) -> Option<Addr> {
        offset.map(|offset| Addr(self.word(offset))).filter(|address| !address.is_null())
    }

    /// Whether that bit is set, if there is such a field.
    pub fn bit(&self, bits: Option<Bits>) -> Option<bool> {
        bits.map(|bits| bits.of(&self.0) != 0)
    }

    /// The value of a bit-field.
    pub fn bits(&self, bits: Bits) -> u64 {
        bits.of(&self.0)
    }

    /// Length and first letter of the string that lies there; `None` if it is empty.
    pub fn text(&self, text: Option<Text>) -> Option<(u64, Addr)> {
        let text = text?;
        let length = Some(self.word(text.length)).filter(|length| *length > 0)?;
        Some((length, Addr(self.word(text.data))))
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

    /// The first byte that has some of it.
    pub fn offset(self) -> u64 {
        self.byte
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
    /// Where its two words are.
    pub fn offsets(self) -> [u64; 2] {
        [self.length, self.data]
    }

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
    fn a_record_has_what_is_wanted_and_zeroes_elsewhere() {
        let mut image = Image::new();
        image.map(Addr(0x1000), (0..0x100_u32).map(|n| n as u8).collect());
        let record = Record::of([Some(0xa0), None, Some(8), Some(0x30), Some(0xf9), Some(u64::MAX)]);
        assert_eq!(record, Record(vec![8..0x38, 0xa0..0xa8, 0xf9..0x101]));
        let read = record.read(&image, Addr(0x1000), |bytes| {
            assert_eq!(bytes.word(0x30), 0x3736_3534_3332_3130);
            assert_eq!(bytes.pointer(Some(0xa0)), Some(Addr(0xa7a6_a5a4_a3a2_a1a0)));
            assert_eq!(
                (bytes.word(0), bytes.word(0xf9), bytes.word(u64::MAX)),
                (0, 0, 0),
                "the last part reaches too far"
            );
            let bit = |byte, shift| bytes.bit(Some(Bits { byte, shift, mask: 1 }));
            assert_eq!((bit(9, 0), bit(9, 1), bytes.bit(None)), (Some(true), Some(false), None));
            assert_eq!(bytes.text(Some(Text { length: 0, data: 8 })), None);
            assert_eq!(bytes.text(Some(Text { length: 0x10, data: 8 })).map(|(_, data)| data.0 as u8), Some(8));
        });
        assert_eq!(read, Some(()));
        assert!(record.read(&image, Addr(0x5000), |_| ()).is_none());
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        assert!(checked_size("x", 1).is_ok_and(|size| size == 1));
        for (size, says) in [(0, "no size"), (LARGEST + 1, "65537 bytes"), (u64::MAX, "x has")] {
            let error = checked_size("x", size).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
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
