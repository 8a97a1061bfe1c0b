//! Bytes with an owner: a piece of a mapped file, or of a buffer that a compressed section was inflated into.

use memmap2::Mmap;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// An immutable run of bytes that keeps its storage alive. Clones and slices share the storage.
#[derive(Clone)]
pub struct Bytes {
    storage: Storage,
    start: usize,
    end: usize,
}

#[derive(Clone)]
enum Storage {
    Nothing,
    Mapped(Arc<Mmap>),
    Heap(Arc<Vec<u8>>),
}

impl Storage {
    fn whole(&self) -> &[u8] {
        match self {
            Storage::Nothing => &[],
            Storage::Mapped(map) => map,
            Storage::Heap(buffer) => buffer,
        }
    }
}

impl Bytes {
    /// Maps a whole file for reading. An empty file gives no bytes.
    pub fn map(file: &File) -> io::Result<Bytes> {
        if file.metadata()?.len() == 0 {
            return Ok(Bytes::default());
        }
        // SAFETY: the mapping is private and read-only, and nothing in this process writes to it. Another process that
        // rewrites the file in place could change bytes under us: every reader of these bytes checks bounds and values
        // on each access, as it must for a corrupt file. One that truncates the file would end us with SIGBUS; package
        // managers and linkers replace such files by renaming, which leaves the mapped inode as it is.
        let map = unsafe { Mmap::map(file)? };
        let end = map.len();
        Ok(Bytes { storage: Storage::Mapped(Arc::new(map)), start: 0, end })
    }

    /// The bytes of `range`, or `None` if it does not lie within these bytes.
    pub fn slice(&self, range: Range<usize>) -> Option<Bytes> {
        if range.start > range.end || range.end > self.len() {
            return None;
        }
        Some(Bytes { storage: self.storage.clone(), start: self.start + range.start, end: self.start + range.end })
    }
}

impl Default for Bytes {
    fn default() -> Bytes {
        Bytes { storage: Storage::Nothing, start: 0, end: 0 }
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(buffer: Vec<u8>) -> Bytes {
        let end = buffer.len();
        Bytes { storage: Storage::Heap(Arc::new(buffer)), start: 0, end }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // `start..end` was checked when the value was made, and storage never changes length.
        &self.storage.whole()[self.start..self.end]
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

// SAFETY: `deref` gives a slice of the mapping or of the vector's buffer, both behind an `Arc` that is never handed out
// mutably: moving the `Bytes` moves only the `Arc`, so the slice stays where it is.
unsafe impl gimli::StableDeref for Bytes {}
// SAFETY: a clone holds the same `Arc` and the same range, and so derefs to the same address.
unsafe impl gimli::CloneStableDeref for Bytes {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_share_storage_and_never_leave_it() {
        let bytes = Bytes::from(vec![1, 2, 3, 4, 5]);
        let middle = bytes.slice(1..4).unwrap();
        assert_eq!(&*middle, [2, 3, 4]);
        assert_eq!(&*middle.slice(1..2).unwrap(), [3]);
        assert_eq!(middle.as_ptr(), bytes[1..].as_ptr());
        assert!(middle.slice(1..4).is_none());
        #[allow(clippy::reversed_empty_ranges)]
        let reversed = 3..2;
        assert!(middle.slice(reversed).is_none());
    }
}
