//! Files as they are unpacked: poolscope packs with zstd, and people repack with what they have.

use super::limits::MAX_WINDOW_LOG;
use crate::target::unpack::{Format, first_bytes, unpacked};
use std::io::{self, Read};

/// Enough to tell every format.
const MAGIC: usize = 6;

/// What `input` holds, unpacked if it is compressed, in one piece or in several.
pub(super) fn unpack<'a>(mut input: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let start = first_bytes(&mut input, MAGIC)?;
    unpacked(Format::of(&start), start, input, MAX_WINDOW_LOG)
}
