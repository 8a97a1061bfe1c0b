//! Why there is no snapshot.

use crate::debug::{BinaryNotFound, DebugError};
use crate::snapshot::human::human_bytes;
use crate::target::core::CoreError;
use crate::target::freeze::FreezeError;
use crate::target::memory::Fault;
use crate::target::process::TargetError;
use crate::target::stops::StopsError;
use thiserror::Error;

/// Why a snapshot could not be taken. The target runs on in every case.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The pid is not one that can be studied.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// It could not be stopped.
    #[error(transparent)]
    Freeze(#[from] FreezeError),
    /// Its binary is not one that can be understood.
    #[error(transparent)]
    Binary(#[from] DebugError),
    /// A file of it could not be opened.
    #[error("cannot open the {what} of process {pid}: {source}")]
    Open {
        /// The target.
        pid: i32,
        /// Which file.
        what: &'static str,
        /// The cause.
        source: std::io::Error,
    },
    /// We could not start a thread.
    #[error("cannot start a thread to read with: {0}; the machine is short of processes or memory")]
    Thread(#[source] std::io::Error),
    /// It is no core, or one that cannot be read.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// A file that the process of a core ran is nowhere to be found.
    #[error(transparent)]
    Missing(#[from] BinaryNotFound),
    /// A core does not tell which binary it is of.
    #[error(
        "the core {file} does not say which binary the process ran: neither its list of mapped files nor its auxiliary \
         vector is there; take one with gcore, or look at the process while it runs"
    )]
    NoBinary {
        /// The core.
        file: String,
    },
    /// A file that was found could not be read.
    #[error("cannot read {file}: {source}")]
    OpenFile {
        /// Which file.
        file: String,
        /// The cause.
        source: std::io::Error,
    },
    /// malloc's own variables could not be read from a core.
    #[error(
        "cannot read malloc's state in the core {file}: {fault}; it was cut off before that, or written without private \
         memory (see /proc/PID/coredump_filter)"
    )]
    CoreMemory {
        /// The core.
        file: String,
        /// The cause.
        fault: Fault,
    },
    /// It would take more memory than it may have.
    #[error(
        "to look at process {pid} would take poolscope about {}, and it may have {} (--memory-limit); the process was not \
         stopped: give a larger limit, or take a core (gcore) and look at it on another machine",
        human_bytes(*needed),
        human_bytes(*limit)
    )]
    MemoryLimit {
        /// The target.
        pid: i32,
        /// Bytes that it would take at most, by what the rehearsal found.
        needed: u64,
        /// Bytes that it may take.
        limit: u64,
    },
    /// malloc's own variables could not be read.
    #[error("cannot read malloc's state in process {pid}: {fault}; if it is exiting, give another worker's pid")]
    Memory {
        /// The target.
        pid: i32,
        /// The cause.
        fault: Fault,
    },
}

impl From<StopsError> for SnapshotError {
    fn from(error: StopsError) -> SnapshotError {
        match error {
            StopsError::Freeze(error) => error.into(),
            StopsError::Thread(error) => SnapshotError::Thread(error),
        }
    }
}
