//! Why there is no snapshot.

use crate::debug::DebugError;
use crate::target::freeze::FreezeError;
use crate::target::memory::Fault;
use crate::target::process::TargetError;
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
    /// malloc's own variables could not be read.
    #[error("cannot read malloc's state in process {pid}: {fault}; if it is exiting, give another worker's pid")]
    Memory {
        /// The target.
        pid: i32,
        /// The cause.
        fault: Fault,
    },
}
