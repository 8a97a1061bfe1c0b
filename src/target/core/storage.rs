//! Where the bytes of a core are: in a regular file, read as they are needed, or in memory, as they came out of a stream.

use super::blocks::Blocks;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// The bytes of a core by their offset in it.
#[derive(Debug)]
pub(super) enum Storage {
    /// A plain regular file, read with `pread` and not mapped into memory: pages of a mapping count as ours, so that reading
    /// a core of 10 GiB would look like 10 GiB of memory and could run into a limit, and a file that somebody cuts off
    /// meanwhile (a dump that is still written, a rotation) would end us with SIGBUS instead of a short read.
    File {
        file: File,
        /// Its length when it was opened.
        length: u64,
    },
    /// What a stream held.
    Blocks(Box<Blocks>),
}

impl Storage {
    /// Reads what is there from `offset` on; fewer bytes than asked for only at the end.
    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Storage::File { file, .. } => read_file(file, offset, buffer),
            Storage::Blocks(blocks) => blocks.read_at(offset, buffer),
        }
    }

    /// Bytes that there are.
    pub(super) fn len(&self) -> u64 {
        match self {
            Storage::File { length, .. } => *length,
            Storage::Blocks(blocks) => blocks.len(),
        }
    }

    /// The stretches of `wanted` that may hold something other than zeroes, in order.
    pub(super) fn data(&self, wanted: Range<u64>) -> Vec<Range<u64>> {
        let wanted = wanted.start..wanted.end.min(self.len());
        match self {
            Storage::File { file, .. } => super::holes::data(file, wanted),
            Storage::Blocks(blocks) => blocks.data(wanted),
        }
    }
}

/// Reads from a file until the buffer is full or the file ends.
pub(super) fn read_file(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        // The kernel counts file offsets in signed numbers: one that a damaged header made up is past any end.
        let Some(at) = offset.checked_add(done as u64).filter(|at| i64::try_from(*at).is_ok()) else { break };
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The same, for a read that would only end past the largest offset.
            Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EOVERFLOW as i32) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// The little-endian half word at `at`, if it is there.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

/// The little-endian 32-bit word at `at`, if it is there.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// The little-endian 64-bit word at `at`, if it is there.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}
