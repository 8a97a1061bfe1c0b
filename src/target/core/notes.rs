//! The notes of a core: threads, who the process was, its auxiliary vector, and which files were mapped where.
//!
//! Structures as in Linux `include/linux/elfcore.h` and `fs/binfmt_elf.c` for 64-bit processes; gcore writes the same.

use super::header::ProgramHeader;
use super::process::{CoreProcess, CoreThread};
use super::storage::{Storage, u16_at, u32_at, u64_at};
use crate::addr::{Addr, AddrRange};
use object::elf;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Most notes that are read: sixteen for each of 65,536 threads.
const MAX_NOTES: usize = 1 << 20;

/// Longest contents of a note that are read: those that list files. Linux itself stops at 4 MiB (`MAX_FILE_NOTE_SIZE`).
const MAX_CONTENTS: u32 = 64 << 20;

/// Contents are read in such pieces, so that memory is taken only for bytes that are there.
const PIECE: u32 = 1 << 20;

/// The thread pointer on aarch64 (`NT_ARM_TLS`, Linux `include/uapi/linux/elf.h`).
const ARM_TLS: u32 = 0x401;

/// One entry of `NT_FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MappedFile {
    pub(super) range: AddrRange,
    /// Offset in the file, in bytes.
    pub(super) offset: u64,
    pub(super) path: PathBuf,
}

/// What the notes say.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) process: CoreProcess,
    pub(super) threads: Vec<CoreThread>,
    /// `(AT_…, value)`.
    pub(super) auxiliary: Vec<(u64, u64)>,
    /// In address order.
    pub(super) files: Vec<MappedFile>,
    /// True if at least one note was understood.
    pub(super) found: bool,
    /// True if notes are missing that their header promises.
    pub(super) is_cut: bool,
}

impl Notes {
    /// Reads the notes of all `PT_NOTE` segments.
    pub(super) fn read<'a>(storage: &Storage, segments: impl Iterator<Item = &'a ProgramHeader>) -> io::Result<Notes> {
        let mut notes = Notes::default();
        // No byte belongs to two notes. A damaged table of segments may name the same notes a thousand times.
        let mut left = storage.len();
        for segment in segments {
            notes.read_segment(storage, segment, &mut left)?;
        }
        notes.files.sort_by_key(|file| file.range);
        // No two files can be at one place; a damaged list may say so.
        let mut end = Addr::NULL;
        notes.files.retain(|file| {
            let is_apart = file.range.start >= end;
            end = if is_apart { file.range.end } else { end };
            is_apart
        });
        notes.name_threads();
        Ok(notes)
    }

    /// Reads the notes of one segment, as long as there are bytes `left` that can belong to notes.
    fn read_segment(&mut self, storage: &Storage, segment: &ProgramHeader, left: &mut u64) -> io::Result<()> {
        let end = segment.offset.saturating_add(segment.file_size);
        let mut at = segment.offset;
        for _ in 0..MAX_NOTES {
            if at >= end {
                return Ok(());
            }
            let Some(note) = Note::at(storage, at, end)?.filter(|_| *left > 0) else { break };
            *left = left.saturating_sub(note.next - at);
            if note.is_wanted() {
                let contents = note.contents(storage)?;
                self.is_cut |= contents.len() < note.size as usize;
                self.take(&note, &contents);
            }
            at = note.next;
        }
        self.is_cut = true;
        Ok(())
    }

    fn take(&mut self, note: &Note, contents: &[u8]) {
        let taken = match note.kind {
            kind if note.is_linux => {
                let thread = self.threads.last_mut().filter(|_| kind == ARM_TLS);
                thread.zip(u64_at(contents, 0)).map(|(thread, word)| thread.thread_pointer = Some(Addr(word)))
            }
            kind if kind == elf::NT_PRSTATUS.0 => self.take_thread(contents),
            kind if kind == elf::NT_PRPSINFO.0 => self.process.take_info(contents),
            kind if kind == elf::NT_SIGINFO.0 => self.process.take_signal(u32_at(contents, 0)),
            kind if kind == elf::NT_AUXV.0 => self.take_auxiliary(contents),
            kind if kind == elf::NT_FILE.0 => self.take_files(contents),
            _ => None,
        };
        self.found |= taken.is_some();
    }

    fn take_thread(&mut self, contents: &[u8]) -> Option<()> {
        let thread = CoreThread::parse(contents)?;
        // The thread that got the signal comes first.
        if self.threads.is_empty() {
            self.process.take_thread_signal(u16_at(contents, 12));
        }
        self.threads.push(thread);
        Some(())
    }

    fn take_auxiliary(&mut self, contents: &[u8]) -> Option<()> {
        let pairs = contents.chunks_exact(16).filter_map(|pair| Some((u64_at(pair, 0)?, u64_at(pair, 8)?)));
        self.auxiliary = pairs.take_while(|(kind, _)| *kind != 0).collect();
        (!self.auxiliary.is_empty()).then_some(())
    }

    /// `NT_FILE`: count, page size, for each file start, end and offset in pages, then the names, each ended by a zero byte.
    fn take_files(&mut self, contents: &[u8]) -> Option<()> {
        let (count, page_size) = (u64_at(contents, 0)?, u64_at(contents, 8)?);
        let entries = contents.get(16..)?;
        // As many as fit, whatever the count says.
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(entries.len() / 24);
        let (table, names) = entries.split_at_checked(count * 24)?;
        for (entry, name) in table.chunks_exact(24).zip(names.split(|byte| *byte == 0)) {
            let (start, end, pages) = (u64_at(entry, 0)?, u64_at(entry, 8)?, u64_at(entry, 16)?);
            if start < end && !name.is_empty() {
                self.files.push(MappedFile {
                    range: AddrRange::new(Addr(start), Addr(end)),
                    offset: pages.wrapping_mul(page_size),
                    path: PathBuf::from(OsStr::from_bytes(name)),
                });
            }
        }
        Some(())
    }

    /// Marks the main thread, whose id is that of the process; a core without `NT_PRPSINFO` is named by its first thread.
    fn name_threads(&mut self) {
        if self.process.pid == 0 {
            self.process.pid = self.threads.first().map_or(0, |thread| thread.tid);
        }
        let pid = self.process.pid;
        self.threads.iter_mut().for_each(|thread| thread.is_main = thread.tid == pid);
    }

    /// A value of the auxiliary vector.
    pub(super) fn auxiliary(&self, wanted: u64) -> Option<u64> {
        self.auxiliary.iter().find(|(kind, _)| *kind == wanted).map(|(_, value)| *value)
    }
}

/// The header of one note.
struct Note {
    kind: u32,
    is_linux: bool,
    is_core: bool,
    start: u64,
    size: u32,
    next: u64,
}

impl Note {
    /// `None` if there is no whole header, or one of zeroes: in a hole or where a file was filled up.
    fn at(storage: &Storage, at: u64, end: u64) -> io::Result<Option<Note>> {
        let mut bytes = [0; 12 + 8];
        let got = storage.read_at(at, &mut bytes)?;
        let Some(bytes) = bytes.get(..got) else { return Ok(None) };
        let (Some(name_size), Some(size), Some(kind)) = (u32_at(bytes, 0), u32_at(bytes, 4), u32_at(bytes, 8)) else {
            return Ok(None);
        };
        let name = bytes.get(12..12 + (name_size as usize).min(8)).unwrap_or_default();
        let start = at + 12 + u64::from(name_size).next_multiple_of(4);
        let next = start + u64::from(size).next_multiple_of(4);
        let note =
            Note { kind, is_linux: name.starts_with(b"LINUX"), is_core: name.starts_with(b"CORE"), start, size, next };
        Ok(((name_size, size, kind) != (0, 0, 0) && start <= end).then_some(note))
    }

    fn is_wanted(&self) -> bool {
        let of_core = [elf::NT_PRSTATUS, elf::NT_PRPSINFO, elf::NT_SIGINFO, elf::NT_AUXV, elf::NT_FILE];
        (self.is_core && of_core.iter().any(|kind| kind.0 == self.kind)) || (self.is_linux && self.kind == ARM_TLS)
    }

    fn contents(&self, storage: &Storage) -> io::Result<Vec<u8>> {
        let wanted = self.size.min(MAX_CONTENTS);
        let mut contents = Vec::new();
        while (contents.len() as u64) < u64::from(wanted) {
            let have = contents.len();
            let piece = (wanted - have as u32).min(PIECE);
            contents.resize(have + piece as usize, 0);
            let got = storage.read_at(self.start + have as u64, contents.get_mut(have..).unwrap_or_default())?;
            contents.truncate(have + got);
            if got < piece as usize {
                break;
            }
        }
        Ok(contents)
    }
}
