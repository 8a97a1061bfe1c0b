//! Telling snapshots from cores and other files by what is in them: both may be compressed, under any name.

use super::unpack::unpack;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// What a file is, by its first bytes, unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// A snapshot file (docs/snapshot-files.md), perhaps unpacked.
    Snapshot,
    /// JSON: a snapshot as one document, or something else.
    Json,
    /// An ELF core.
    Core,
    /// Another ELF file.
    Elf,
    /// Compressed in a way that nobody here unpacks: bzip2; or compressed twice.
    Compressed,
    /// Other text.
    Text,
    /// Nothing.
    Empty,
    /// None of these.
    Unknown,
}

/// How many unpacked bytes it takes to tell.
const ENOUGH: usize = 64;
/// `e_type` of a core (System V ABI, ELF header).
const ET_CORE: u8 = 4;
/// What every first line of a snapshot file begins with.
pub(super) const FIRST: &[u8] = br#"{"format":"poolscope snapshot""#;

impl Look {
    /// What these unpacked bytes begin.
    pub(super) fn of_unpacked(head: &[u8]) -> Look {
        const OTHERS: [&[u8]; 3] = [b"\xfd7zXZ\0", b"\x04\x22\x4d\x18", b"BZh"];
        if head.is_empty() {
            return Look::Empty;
        }
        if head.starts_with(b"\x7fELF") {
            return if head.get(16) == Some(&ET_CORE) { Look::Core } else { Look::Elf };
        }
        if OTHERS.iter().any(|magic| head.starts_with(magic)) {
            return Look::Compressed;
        }
        if head.starts_with(FIRST) {
            return Look::Snapshot;
        }
        match head.trim_ascii_start().first() {
            Some(b'{' | b'[') => Look::Json,
            _ if head.iter().all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0x80..)) => Look::Text,
            _ => Look::Unknown,
        }
    }

    /// What to do with something like that where a snapshot is wanted.
    pub(super) fn way_out(self) -> &'static str {
        match self {
            Look::Core => "give it with --core",
            Look::Elf => "a snapshot of a process that runs it is taken by the process's pid",
            Look::Compressed => "unpack it first",
            Look::Empty => "take the snapshot again",
            Look::Snapshot | Look::Json | Look::Text | Look::Unknown => {
                "give a file that `poolscope snapshot` wrote, with -o or with --format json, or a core"
            }
        }
    }

    /// True if [`super::load`] is the one to ask.
    pub fn is_snapshot(self) -> bool {
        matches!(self, Look::Snapshot | Look::Json)
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Look::Snapshot => "a snapshot",
            Look::Json => "JSON of another kind",
            Look::Core => "a core dump",
            Look::Elf => "a program or library (ELF)",
            Look::Compressed => "a compressed file (bzip2, or compressed twice)",
            Look::Text => "text",
            Look::Empty => "empty",
            Look::Unknown => "something unknown",
        })
    }
}

/// What the file at `path` is. It is read as far as that takes.
///
/// # Errors
/// Those of opening and reading it. What cannot be unpacked is [`Look::Unknown`].
pub fn look_at(path: &Path) -> io::Result<Look> {
    look(File::open(path)?)
}

/// What comes out of `input`.
///
/// # Errors
/// Those of `input`.
pub fn look(input: impl Read) -> io::Result<Look> {
    let mut unpacked = unpack(input)?;
    match read_head(&mut unpacked) {
        Ok(head) => Ok(Look::of_unpacked(&head)),
        Err(error) if error.raw_os_error().is_some() => Err(error),
        Err(_) => Ok(Look::Unknown),
    }
}

/// The first bytes that tell, or fewer where there are no more.
pub(super) fn read_head(unpacked: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(ENOUGH);
    match unpacked.take(ENOUGH as u64).read_to_end(&mut head) {
        // A core that is cut off within its first compressed block may show what it is nevertheless.
        Err(error) if head.is_empty() || error.raw_os_error().is_some() => Err(error),
        _ => Ok(head),
    }
}
