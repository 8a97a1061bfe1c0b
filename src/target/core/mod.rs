//! ELF cores: what the kernel, gcore or systemd-coredump saved of a process, read as if it were alive.
//!
//! A plain core is read where it lies, as needed. A compressed one, and one that comes through a pipe, is read once from start
//! to end and kept in memory, packed block by block; nothing is ever unpacked to disk.
//!
//! What a core does not hold is [`Fault::NotSaved`], never zero. Two kinds differ: what its writer left out on purpose (text of
//! binaries, shared memory, by `/proc/PID/coredump_filter`), and what is missing because the file was cut off or is damaged.
//! [`Core::completeness`] tells both.
//!
//! ```no_run
//! use poolscope::target::core::Core;
//! use poolscope::target::memory::Memory;
//!
//! let core = Core::open("core.4242.zst".as_ref())?;
//! for thread in core.threads() {
//!     println!("{} at {}", thread.tid, thread.pc);
//!     println!("{:#x}", core.read_u64(thread.sp)?);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod blocks;
mod completeness;
mod error;
mod header;
mod holes;
mod image;
mod link_map;
mod mappings;
mod modules;
mod notes;
mod open;
mod presence;
mod process;
mod ranges;
mod segments;
mod storage;
mod stream;

pub use completeness::Completeness;
pub use error::CoreError;
pub use modules::CoreModule;
pub use process::{CoreProcess, CoreThread};

use crate::addr::{Addr, AddrRange};
use crate::target::memory::{Fault, Memory};
use notes::Notes;
use object::elf;
use segments::Segments;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use storage::Storage;

/// `AT_PAGESZ` of the auxiliary vector.
const AT_PAGESZ: u64 = 6;

/// A core, opened. It can be read from several threads at once.
#[derive(Debug)]
pub struct Core {
    path: PathBuf,
    storage: Storage,
    segments: Segments,
    notes: Notes,
    page_size: u64,
    written_at: Option<SystemTime>,
    problems: Vec<String>,
    from_files: u64,
}

impl Core {
    /// Opens a core, compressed (`.zst`, `.lz4`, `.xz`, `.gz`, told by content) or not, from a file or a pipe.
    ///
    /// A core that was cut off, or whose compressed data is damaged from some point on, opens with what came before.
    ///
    /// # Errors
    /// That the file cannot be read, is no core, or is one of another kind of machine; that its headers or all its notes are
    /// missing.
    pub fn open(path: &Path) -> Result<Core, CoreError> {
        let opened = open::open(path)?;
        let unreadable = |source| CoreError::Unreadable { path: path.into(), source };
        let mut segments = Segments::new(&opened.programs);
        let note_segments = opened.programs.iter().filter(|program| program.kind == elf::PT_NOTE.0);
        let notes = Notes::read(&opened.storage, note_segments).map_err(unreadable)?;
        if segments.list.is_empty() {
            return Err(CoreError::NoMemory { path: path.into() });
        }
        if !notes.found {
            return Err(CoreError::NoNotes { path: path.into() });
        }
        segments.add_unlisted(notes.files.iter().map(|file| &file.range));
        let mut problems: Vec<String> = opened.problem.into_iter().collect();
        problems.extend(completeness::header_problem(opened.programs.len() as u64, opened.claimed));
        if notes.is_cut {
            problems.push("some of its notes (threads, mapped files) are missing or damaged".to_owned());
        }
        Ok(Core {
            path: path.into(),
            page_size: page_size(&notes),
            storage: opened.storage,
            segments,
            notes,
            written_at: opened.written_at,
            problems,
            from_files: 0,
        })
    }

    /// The file it was opened from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who the process was.
    pub fn process(&self) -> &CoreProcess {
        &self.notes.process
    }

    /// Its threads. The first one is the one that got the deadly signal.
    pub fn threads(&self) -> &[CoreThread] {
        &self.notes.threads
    }

    /// Size of its pages in bytes.
    pub fn page_size(&self) -> u64 {
        self.page_size
    }

    /// When the core file was last written. `None` for one that came through a pipe.
    pub fn written_at(&self) -> Option<SystemTime> {
        self.written_at
    }

    /// A value of the auxiliary vector by its `AT_…` number.
    pub fn auxiliary(&self, kind: u64) -> Option<u64> {
        self.notes.auxiliary(kind)
    }

    /// Lets a binary answer for memory that the core does not hold: those parts of `mappings` (range in memory, offset in the
    /// file, in bytes) that are not saved and could not be written. Returns for how many bytes it does.
    ///
    /// The caller has made sure that it is the file that was mapped (by its build-id). Then these are the very bytes that
    /// memory held: a page that the process had changed in spite of its rights (relocated, or patched by a debugger) has
    /// become private memory, and that the kernel and gcore save.
    ///
    /// # Errors
    /// That the file's length cannot be told.
    pub fn add_file(&mut self, file: File, mappings: &[(AddrRange, u64)]) -> io::Result<u64> {
        let added = self.segments.add_file(file, mappings, self.page_size)?;
        self.from_files += added;
        Ok(added)
    }
}

impl Memory for Core {
    fn read(&self, address: Addr, buffer: &mut [u8]) -> Result<(), Fault> {
        self.segments.read(&self.storage, address, buffer)
    }

    fn read_ranges(&self, wanted: &[AddrRange], buffer: &mut [u8]) -> Result<(), Fault> {
        ranges::read(self, wanted, buffer)
    }
}

/// The page size that the core states, if it can be one.
fn page_size(notes: &Notes) -> u64 {
    let stated = notes.auxiliary(AT_PAGESZ).filter(|size| size.is_power_of_two() && (1 << 12..=1 << 20).contains(size));
    stated.unwrap_or_else(crate::target::page_size)
}
