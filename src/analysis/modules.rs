//! The files that the target runs, with what their debug info says.

use super::SnapshotError;
use crate::addr::{Addr, LoadBias};
use crate::debug::{Binary, DebugInfo, SearchOptions, Segment, Verified};
use crate::nginx::version::{glibc_version, server_version};
use crate::snapshot::model::LayoutSource;
use crate::target::modules::Module;

/// A module with its debug info.
pub struct LoadedModule {
    /// What is known of it.
    pub debug: DebugInfo,
    /// What was added to its addresses.
    pub bias: LoadBias,
    /// Where its layouts come from.
    pub source: LayoutSource,
    /// What it says of its version.
    pub version: Option<String>,
}

/// Loads the binary and glibc at the same time: each takes some tens of milliseconds.
pub fn load_both(
    binary: Module,
    library: Option<Module>,
    options: &SearchOptions,
) -> Result<(LoadedModule, Option<LoadedModule>), SnapshotError> {
    std::thread::scope(|scope| {
        let library = library.map(|library| scope.spawn(move || load(library, options, glibc_version)));
        let binary = load(binary, options, server_version)?;
        let library = match library.map(|thread| thread.join()) {
            Some(Ok(loaded)) => Some(loaded?),
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => None,
        };
        Ok((binary, library))
    })
}

fn load(
    module: Module,
    options: &SearchOptions,
    version: fn(&[u8]) -> Option<String>,
) -> Result<LoadedModule, SnapshotError> {
    // SAFETY: the file is only read, and a package manager replaces files instead of writing into them. Should somebody
    // truncate it all the same, reading beyond its new end raises SIGBUS and ends us; the target is not stopped yet.
    let bytes = unsafe { memmap2::Mmap::map(&module.file) };
    let version = bytes.ok().and_then(|bytes| version(&bytes));
    let binary = Binary { file: module.file, path: module.path };
    let debug = DebugInfo::load(&binary, options)?;
    let bias = load_bias(&module.mappings, debug.segments()).unwrap_or_default();
    Ok(LoadedModule { source: LayoutSource::of(&debug), debug, bias, version })
}

/// The load bias: how far a mapping of the file lies from where the segment that it shows says it should be.
fn load_bias(mappings: &[(Addr, u64)], segments: &[Segment]) -> Option<LoadBias> {
    let page_size = crate::target::page_size();
    let page = |value: u64| value & !(page_size - 1);
    mappings.iter().find_map(|(start, offset)| {
        let segment = segments.iter().find(|segment| page(segment.offset) == *offset)?;
        Some(LoadBias(start.0.wrapping_sub(page(segment.address.0))))
    })
}

impl LayoutSource {
    /// There are no layouts.
    pub fn none() -> LayoutSource {
        LayoutSource { kind: "none".to_owned(), ..LayoutSource::default() }
    }

    /// Where `debug` was found.
    fn of(debug: &DebugInfo) -> LayoutSource {
        let tried = debug.tried().iter().map(ToString::to_string).collect();
        match debug.source() {
            Some(source) => LayoutSource {
                kind: "dwarf".to_owned(),
                file: Some(source.path.display().to_string()),
                verified_by: Some(verified_by(source.verified).to_owned()),
                problem: None,
                tried,
            },
            None => LayoutSource { tried, ..LayoutSource::none() },
        }
    }

    /// The same, not used because of `problem`.
    pub fn with_problem(mut self, kind: &str, problem: String) -> LayoutSource {
        self.kind = kind.to_owned();
        self.problem = Some(problem);
        self
    }
}

fn verified_by(verified: Verified) -> &'static str {
    match verified {
        Verified::SameFile => "same_file",
        Verified::BuildId => "build_id",
        Verified::Checksum => "checksum",
    }
}
