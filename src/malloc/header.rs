//! What lies at the start of a chunk, out of bytes that were read: looked at once for each of ten million chunks, during a stop.

use super::chunk::{ALIGNMENT, BK_OFFSET, FD_OFFSET, HEADER, IS_MMAPPED, SIZE_OFFSET, SizeWord};
use crate::addr::Addr;
use crate::target::memory::word_at;

/// A chunk's header.
pub(super) struct Header {
    /// The size of the chunk before this one, if that is free.
    pub prev_size: u64,
    /// The size of this one.
    pub word: SizeWord,
}

impl Header {
    /// The header that the bytes begin with; what they lack of it counts as zero.
    pub fn at(bytes: &[u8]) -> Header {
        // In place: each header tells where the next one is, and nothing goes on before that is known.
        match bytes.first_chunk::<{ HEADER as usize }>() {
            Some(whole) => Header::of(whole),
            None => Header::of(&padded(bytes)),
        }
    }

    fn of(bytes: &[u8; HEADER as usize]) -> Header {
        Header { prev_size: word_at(bytes, 0), word: SizeWord(word_at(bytes, SIZE_OFFSET)) }
    }
}

/// Where the links of a free chunk end, counted from its start.
const LINKS_END: usize = (BK_OFFSET + 8) as usize;

/// The links of the free chunk that the bytes begin with, to the next one in its bin and to the one before.
pub(super) fn links_at(bytes: &[u8]) -> (Addr, Addr) {
    let words: [u8; LINKS_END] = bytes.first_chunk().copied().unwrap_or_else(|| padded(bytes));
    (Addr(word_at(&words, FD_OFFSET)), Addr(word_at(&words, BK_OFFSET)))
}

#[cold]
fn padded<const LENGTH: usize>(bytes: &[u8]) -> [u8; LENGTH] {
    let mut whole = [0; LENGTH];
    for (to, from) in whole.iter_mut().zip(bytes) {
        *to = *from;
    }
    whole
}

impl SizeWord {
    /// True if a chunk can be of that size where a heap has `room` more bytes.
    pub(super) fn is_sound(self, room: u64) -> bool {
        self.size().is_multiple_of(ALIGNMENT) && self.size() <= room && !self.has(IS_MMAPPED)
    }

    /// Why not, in a heap that ends at `heap_end`.
    #[cold]
    pub(super) fn fault(self, room: u64, heap_end: Addr) -> String {
        let size = self.size();
        if !size.is_multiple_of(ALIGNMENT) {
            return format!("size {size:#x} is not a multiple of {ALIGNMENT}");
        }
        if size > room {
            return format!("size {size:#x} reaches beyond the heap's end {heap_end}");
        }
        "marked as mmapped in the middle of a heap".to_owned()
    }
}

/// Asks the processor for what comes some small chunks behind these bytes.
///
/// Bytes that were just read are in its second cache. Where the next header lies is known only from this one, so that each
/// would be waited for: of the walk through ten million chunks of 32 to 512 bytes (Zen 3) this saves a quarter.
#[inline]
#[cfg(target_arch = "x86_64")]
pub(super) fn fetch_ahead(bytes: &[u8]) {
    use crate::target::caught::LINE;
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    /// Three small chunks further on, and as many lines as one of them has. A number that goes by this chunk's size makes the
    /// processor guess wrong at each header, which costs more than all this saves.
    const AHEAD: usize = 768;
    const LINES: usize = 5;
    for line in 0..LINES {
        let ahead = bytes.as_ptr().wrapping_add(AHEAD + line * LINE as usize);
        // SAFETY: it is a hint, which neither reads nor faults, whatever the address. No safe function gives it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead.cast()) };
    }
}

/// The same where the standard library has no such hint.
#[inline]
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn fetch_ahead(_bytes: &[u8]) {}
