//! What can go wrong with debug info, each case with what a user can do about it.

use super::elf::BuildId;
use super::locate::{Refusal, Tried};
use super::types::MissingField;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;

/// Why debug info could not be had or read. Cloneable, because a failure to read a section is remembered with it.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum DebugError {
    /// The file could not be opened or mapped.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Not an ELF file for a 64-bit little-endian machine.
    #[error("{} is not a 64-bit little-endian ELF file: {reason}", path.display())]
    NotElf {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        reason: String,
    },
    /// The file contradicts itself or its format.
    #[error("{} is damaged ({part}: {reason}); reinstall it or its debug package", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The section or table that is wrong.
        part: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No debug info for the module was found, so that no type of it is known.
    #[error(
        "no debug info for {}{}: {hint} (looked in {} {}{})",
        module.display(), build_id_note(.build_id), .tried.len(), if .tried.len() == 1 { "place" } else { "places" },
        refused_list(.tried)
    )]
    NoDebugInfo {
        /// The binary.
        module: PathBuf,
        /// Its build-id, if it has one.
        build_id: Option<BuildId>,
        /// Every place that was looked at, in order, and why it was not taken.
        tried: Vec<Tried>,
        /// What would give it.
        hint: &'static str,
    },
    /// The debug info was shrunk with dwz, and the file that holds the shared part is missing.
    #[error(
        "{} refers to the shared debug info {}{}, which was not found: {}; install the package that holds it",
        path.display(), wanted.display(), build_id_note(.build_id), tried_list(.tried)
    )]
    SupplementMissing {
        /// The debug file.
        path: PathBuf,
        /// What it names.
        wanted: PathBuf,
        /// The build-id it wants.
        build_id: Option<BuildId>,
        /// Every place that was looked at.
        tried: Vec<Tried>,
    },
    /// Types are in split files (`-gsplit-dwarf`) and at least one of these is missing.
    #[error(
        "the types of {} are in split files (-gsplit-dwarf), and {} of {} were not found, first {}: {}; \
         copy the .dwo files or a .dwp file of this build beside the binary",
        path.display(), missing, total, first.display(), tried_list(.tried)
    )]
    SplitMissing {
        /// The binary or debug file with the skeletons.
        path: PathBuf,
        /// How many split files are missing.
        missing: usize,
        /// How many there should be.
        total: usize,
        /// The first missing one, as the binary names it.
        first: PathBuf,
        /// Where that one was looked for.
        tried: Vec<Tried>,
    },
    /// The debug info holds no definition of such a type.
    #[error("the debug info of {} defines no structure or typedef {name}; was it built without that module?", module.display())]
    NoSuchType {
        /// The name asked for.
        name: String,
        /// The binary.
        module: PathBuf,
    },
    /// The name is that of a type which is not a structure.
    #[error("{name} in {} is not a structure", module.display())]
    NotAStructure {
        /// The name asked for.
        name: String,
        /// The binary.
        module: PathBuf,
    },
    /// A structure lacks a field.
    #[error(transparent)]
    MissingField(#[from] MissingField),
}

impl DebugError {
    pub(crate) fn unreadable(path: impl Into<PathBuf>, source: io::Error) -> DebugError {
        DebugError::Unreadable { path: path.into(), source: Arc::new(source) }
    }

    pub(crate) fn malformed(
        path: impl Into<PathBuf>,
        part: impl Into<String>,
        reason: impl std::fmt::Display,
    ) -> DebugError {
        DebugError::Malformed { path: path.into(), part: part.into(), reason: reason.to_string() }
    }
}

fn build_id_note(build_id: &Option<BuildId>) -> String {
    match build_id {
        Some(id) => format!(" (build-id {id})"),
        None => " (it has no build-id)".to_string(),
    }
}

/// Candidates that were there and could not be taken, which is worth knowing; those that are simply not there are not
/// listed.
fn refused_list(tried: &[Tried]) -> String {
    let is_there = |tried: &&Tried| !matches!(tried.refusal, Refusal::NotFound | Refusal::NoDebugInfo);
    tried.iter().filter(is_there).fold(String::new(), |text, tried| format!("{text}; {tried}"))
}

fn tried_list(tried: &[Tried]) -> String {
    if tried.is_empty() {
        return "there was nowhere to look".to_string();
    }
    let mut text = String::from("tried ");
    for (index, attempt) in tried.iter().enumerate() {
        let separator = if index == 0 { "" } else { "; " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{separator}{attempt}");
    }
    text
}
