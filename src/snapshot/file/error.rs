//! What can be wrong with a snapshot file, or with the place where one is to be written.

use super::look::Look;
use crate::snapshot::model::SCHEMA_VERSION;
use std::io;
use std::path::PathBuf;

/// Why a snapshot was not saved. What was at its place before is still there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The path ends in no name.
    #[error("{path} names no file: give the name of a file to save the snapshot in", path = path.display())]
    NoName {
        /// What was given.
        path: PathBuf,
    },
    /// Something that a snapshot must not replace has that name.
    #[error("{path} is {what}, which a snapshot does not replace: {way_out}", path = path.display())]
    NotARegularFile {
        /// What was given.
        path: PathBuf,
        /// What is there.
        what: &'static str,
        /// What to do instead.
        way_out: &'static str,
    },
    /// No file can be made beside it.
    #[error(
        "cannot create a file in {folder}: {source}: choose a folder that exists and may be written to",
        folder = folder.display()
    )]
    Create {
        /// The folder.
        folder: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The snapshot cannot be written to the end.
    #[error("cannot write {path}: {source}: nothing was saved", path = path.display())]
    Write {
        /// What was given.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
}

/// Why a file is not read, with its name.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {source}", path = path.display())]
pub struct LoadError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub source: ReadError,
}

/// Why something is not read as a snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The bytes cannot be had.
    #[error("{0}")]
    Io(io::Error),
    /// It is something else.
    #[error("it is {look}, not a snapshot: {way_out}", way_out = look.way_out())]
    NotASnapshot {
        /// What it looks like.
        look: Look,
    },
    /// A newer version of poolscope wrote it.
    #[error(
        "it has version {schema} of the snapshot schema{by}, and this is poolscope {own}, which knows versions up to \
         {SCHEMA_VERSION}: read it with {newer} or a newer one",
        by = written_by(poolscope),
        own = env!("CARGO_PKG_VERSION"),
        newer = named(poolscope),
    )]
    Newer {
        /// Its version of the schema.
        schema: u32,
        /// The version of poolscope that wrote it; empty if it does not say.
        poolscope: String,
    },
    /// It ends too early.
    #[error("it is cut off: it ends {place}{held}; {WAY_OUT}")]
    CutOff {
        /// Where it ends.
        place: String,
        /// What is there; empty, or a phrase that begins with a comma.
        held: String,
    },
    /// Something in it is not as it must be.
    #[error("it is damaged {place}: {what}; {WAY_OUT}")]
    Damaged {
        /// Where.
        place: String,
        /// What is wrong.
        what: String,
    },
    /// It unpacks to more than any snapshot does.
    #[error("it is no snapshot that poolscope wrote: it has more than {0}, which is as much as is read")]
    TooLarge(String),
    /// It holds several snapshots.
    #[error(
        "it holds {0} snapshots, and one is read from a file: split it (unpack it, and `split -l 1` it if each is one line)"
    )]
    Several(u64),
}

const WAY_OUT: &str = "copy it again from where it was taken, or take another snapshot";

fn written_by(poolscope: &str) -> String {
    match poolscope {
        "" => String::new(),
        version => format!(" (written by poolscope {version})"),
    }
}

fn named(poolscope: &str) -> String {
    match poolscope {
        "" => "the poolscope that wrote it".to_owned(),
        version => format!("poolscope {version}"),
    }
}
