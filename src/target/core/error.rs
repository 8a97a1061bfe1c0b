//! Why a file cannot be used as a core.

use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// The architecture this poolscope was built for, as [`CoreError::OtherMachine`] names it.
pub const OUR_MACHINE: &str = std::env::consts::ARCH;

/// Why a file is no core that can be studied. Each message names the file, the cause and the way out.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CoreError {
    /// It cannot be opened or read.
    #[error("cannot read the core {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is compressed, and not even its first bytes come out.
    #[error(
        "{} is a damaged {format} file, nothing of the core comes out of it ({source}): get the core again from where it was \
         written", path.display()
    )]
    Undecodable {
        /// The file.
        path: PathBuf,
        /// Which compression.
        format: &'static str,
        /// What the decompressor said.
        source: io::Error,
    },
    /// It is no ELF file.
    #[error("{} is not a core: {looks}", path.display())]
    NotElf {
        /// The file.
        path: PathBuf,
        /// What it looks like, and the way out.
        looks: &'static str,
    },
    /// It is an ELF file of another kind.
    #[error(
        "{} is {kind} and not a core: give the file that the kernel, gcore or coredumpctl wrote; a binary belongs to --exe",
        path.display()
    )]
    NotCore {
        /// The file.
        path: PathBuf,
        /// What kind of ELF file.
        kind: &'static str,
    },
    /// It is the core of a 32-bit process.
    #[error("{} is the core of a 32-bit process: poolscope reads those of 64-bit nginx only", path.display())]
    Bits32 {
        /// The file.
        path: PathBuf,
    },
    /// It is the core of a big-endian process.
    #[error("{} is the core of a big-endian process: poolscope reads those of little-endian machines only", path.display())]
    BigEndian {
        /// The file.
        path: PathBuf,
    },
    /// It is the core of a process of another architecture.
    #[error(
        "{} is the core of a process for {theirs}, and this poolscope was built for {OUR_MACHINE}: analyse it with a poolscope \
         built for {theirs}", path.display()
    )]
    OtherMachine {
        /// The file.
        path: PathBuf,
        /// The core's architecture.
        theirs: String,
    },
    /// Its headers are cut off or make no sense.
    #[error("{} is cut off or damaged in its headers ({reason}): get the core again from where it was written", path.display())]
    BadHeaders {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It describes no memory.
    #[error(
        "{} describes no memory (no PT_LOAD): it was cut off in its headers, or the program that wrote it stopped before its \
         first segment; get the core again from where it was written", path.display()
    )]
    NoMemory {
        /// The file.
        path: PathBuf,
    },
    /// It has no notes that can be read.
    #[error(
        "{} holds no readable notes (threads, auxiliary vector, mapped files), so that neither its threads nor its binaries are \
         known. gcore writes them last: of one of its cores that was cut off nothing can be told, and it must be taken again; \
         the kernel writes them first", path.display()
    )]
    NoNotes {
        /// The file.
        path: PathBuf,
    },
}
