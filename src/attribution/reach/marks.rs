//! What a chunk is, as far as its first bytes tell.

use crate::addr::Addr;
use crate::target::memory::word_at;

/// Bytes from a chunk's start that are looked at.
pub const HEAD: usize = 768;

/// What the first bytes of a chunk look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// An `SSL_SESSION` of OpenSSL.
    SslSession,
    /// A `FILE` of glibc.
    Stream,
    /// It begins with this word, which may be the address of a function, a variable or a virtual table.
    Word(Addr),
}

/// The mark of a chunk that begins with `head` and has `usable` bytes; `None` if its first word is no address.
pub fn mark_of(head: &[u8], usable: u64) -> Option<Mark> {
    let first = word_at(head, 0);
    if is_stream(first, usable) {
        return Some(Mark::Stream);
    }
    if is_session(head, usable) {
        return Some(Mark::SslSession);
    }
    // Addresses of modules lie above the first megabytes and in the lower half.
    (first > 1 << 16 && first < 1 << 48).then_some(Mark::Word(Addr(first)))
}

/// The flags of a `FILE` begin with a number of their own (glibc `libio.h`, `_IO_MAGIC`).
fn is_stream(first: u64, usable: u64) -> bool {
    const MAGIC: u64 = 0xfbad;
    const SMALLEST: u64 = 216;
    first as u32 as u64 >> 16 == MAGIC && usable >= SMALLEST
}

/// Where an `SSL_SESSION` keeps the length of its id: behind a master key of at most 256 bytes up to OpenSSL 1.1.1, and of
/// 512 from 3.0 on (OpenSSL `ssl/ssl_local.h`, `struct ssl_session_st`).
const ID_LENGTH: [u64; 2] = [336, 592];
const MASTER_KEY_LENGTH: u64 = 8;
/// `EVP_MAX_MD_SIZE`: a master key is never longer than a digest, but for keys that were agreed on by other means.
const LONGEST_KEY: u64 = 64;
const LONGEST_ID: u64 = 32;

/// Usable bytes that a chunk of a session can have.
pub const SESSION_SIZES: std::ops::Range<u64> = ID_LENGTH[0] + 180..ID_LENGTH[1] + 680;

/// True if that many words after another are as in a session: protocol version, lengths within their bounds, and pointers.
fn is_session(head: &[u8], usable: u64) -> bool {
    let version = word_at(head, 0);
    let is_version = matches!(version, 0x300..=0x304 | 0xfefd | 0xfeff | 0x100);
    is_version
        && word_at(head, MASTER_KEY_LENGTH) <= LONGEST_KEY
        && ID_LENGTH.iter().any(|at| ends_as_session(head, usable, *at))
}

fn ends_as_session(head: &[u8], usable: u64, at: u64) -> bool {
    let id_length = word_at(head, at);
    let context_length = word_at(head, at + 8 + LONGEST_ID);
    let pointers = at + 2 * (8 + LONGEST_ID);
    let is_pointer = |word: u64| word == 0 || (word > 1 << 16 && word < 1 << 48);
    let has_key = word_at(head, MASTER_KEY_LENGTH) > 0 || id_length > 0 || context_length > 0;
    head.len() as u64 >= pointers + 16
        && (pointers + 100..pointers + 600).contains(&usable)
        && id_length <= LONGEST_ID
        && context_length <= LONGEST_ID
        && has_key
        && is_pointer(word_at(head, pointers))
        && is_pointer(word_at(head, pointers + 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(words: &[(u64, u64)]) -> Vec<u8> {
        let mut bytes = vec![0; HEAD];
        for (at, word) in words {
            bytes[*at as usize..*at as usize + 8].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn sessions_of_both_forms_are_known() {
        let of_3 = head(&[(0, 0x303), (8, 48), (592, 32), (632, 10)]);
        assert_eq!(mark_of(&of_3, 0x390), Some(Mark::SslSession));
        let of_1_1 = head(&[(0, 0x304), (8, 32), (336, 0), (376, 4)]);
        assert_eq!(mark_of(&of_1_1, 0x248), Some(Mark::SslSession));
        assert_eq!(mark_of(&head(&[(0, 0x303), (8, 48), (592, 33), (336, 40)]), 0x390), None);
        assert_eq!(mark_of(&head(&[(0, 0x303)]), 0x390), None);
    }

    #[test]
    fn a_stream_is_known_by_its_magic_number() {
        assert_eq!(mark_of(&head(&[(0, 0xfbad_2488)]), 0x228), Some(Mark::Stream));
        assert_eq!(mark_of(&head(&[(0, 0x5555_0000_1234)]), 24), Some(Mark::Word(Addr(0x5555_0000_1234))));
        assert_eq!(mark_of(&[0; 8], 24), None);
    }
}
