//! The files that the target runs, with what their debug info says.

use super::SnapshotError;
use crate::addr::{Addr, AddrRange, LoadBias};
use crate::debug::{Binary, DebugInfo, SearchOptions, Segment, Verified};
use crate::nginx::version::{glibc_version, server_version};
use crate::snapshot::model::LayoutSource;
use crate::target::modules::Module;
use rustc_hash::FxHashMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// A module with its debug info.
pub struct LoadedModule {
    /// What is known of it.
    pub debug: Arc<DebugInfo>,
    /// What was added to its addresses.
    pub bias: LoadBias,
    /// Where its layouts come from.
    pub source: LayoutSource,
    /// What it says of its version.
    pub version: Option<String>,
    /// From its first mapping to the end of its last segment, variables without a value in the file included.
    pub span: AddrRange,
}

/// What was read of files, for other processes of the same files: that takes longer than to read a heap.
#[derive(Debug, Default)]
pub struct KnownFiles(Mutex<FxHashMap<FileKey, Place>>);

/// Where what is known of a file is kept. Who reads the file holds it, so that others wait for what it says.
type Place = Arc<Mutex<Option<KnownFile>>>;

/// A file as it was: path, device, inode, length in bytes, and when it was last changed, in seconds and nanoseconds.
type FileKey = (PathBuf, u64, u64, u64, (i64, i64));

#[derive(Debug, Clone)]
struct KnownFile {
    debug: Arc<DebugInfo>,
    version: Option<String>,
}

impl KnownFiles {
    /// What is known of the file of `module`; it is read if that is nothing. `options` are always the same.
    fn get(
        &self,
        module: Module,
        options: &SearchOptions,
        version: fn(&[u8]) -> Option<String>,
    ) -> Result<KnownFile, SnapshotError> {
        let key =
            module.file.metadata().ok().map(|file| {
                (module.path.clone(), file.dev(), file.ino(), file.len(), (file.ctime(), file.ctime_nsec()))
            });
        let Some(key) = key else { return read(module, options, version) };
        let place = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone();
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = place.as_ref() {
            return Ok(known.clone());
        }
        let known = read(module, options, version)?;
        Ok(place.insert(known).clone())
    }
}

/// Loads the binary and glibc at the same time: each takes some tens of milliseconds.
pub fn load_both(
    binary: Module,
    library: Option<Module>,
    options: &SearchOptions,
    known: &KnownFiles,
) -> Result<(LoadedModule, Option<LoadedModule>), SnapshotError> {
    std::thread::scope(|scope| {
        let load_library = |library| {
            std::thread::Builder::new().spawn_scoped(scope, move || load(library, options, known, glibc_version))
        };
        let library = library.map(load_library).transpose().map_err(SnapshotError::Thread)?;
        let binary = load(binary, options, known, server_version)?;
        if binary.debug.symbol("ngx_create_pool").is_some() {
            // Wanted after the stop; glibc's debug info, which is larger, is read meanwhile. What is wrong with it is told
            // where it is used.
            let _ = binary.debug.catalogue();
        }
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
    known: &KnownFiles,
    version: fn(&[u8]) -> Option<String>,
) -> Result<LoadedModule, SnapshotError> {
    let mappings = module.mappings.clone();
    let KnownFile { debug, version } = known.get(module, options, version)?;
    let bias = load_bias(&mappings, debug.segments()).unwrap_or_default();
    let start = mappings.iter().map(|(start, _)| *start).min().unwrap_or_default();
    let end = debug.segments().iter().map(|segment| bias.to_running(segment.address) + segment.memory_size).max();
    let span = AddrRange::new(start, end.unwrap_or(start).max(start));
    Ok(LoadedModule { source: LayoutSource::of(&debug), debug, bias, version, span })
}

/// Loads libraries and modules that are needed for names only: those that cannot be read are left out.
pub fn load_others(modules: Vec<Module>, options: &SearchOptions, known: &KnownFiles) -> Vec<LoadedModule> {
    modules.into_iter().filter_map(|module| load(module, options, known, |_| None).ok()).collect()
}

fn read(
    module: Module,
    options: &SearchOptions,
    version: fn(&[u8]) -> Option<String>,
) -> Result<KnownFile, SnapshotError> {
    // SAFETY: the file is only read, and a package manager replaces files instead of writing into them. Should somebody
    // truncate it all the same, reading beyond its new end raises SIGBUS and ends us; the target is not stopped yet.
    let bytes = unsafe { memmap2::Mmap::map(&module.file) };
    let version = bytes.ok().and_then(|bytes| version(&bytes));
    let binary = Binary { file: module.file, path: module.path };
    Ok(KnownFile { debug: Arc::new(DebugInfo::load(&binary, options)?), version })
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
    pub(super) fn of(debug: &DebugInfo) -> LayoutSource {
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

    /// The same where `problem` keeps layouts from being known, and built-in ones were found to agree with the memory of the
    /// process.
    pub fn checked(self, problem: String) -> LayoutSource {
        LayoutSource { verified_by: Some("memory".to_owned()), ..self.with_problem("built_in", problem) }
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
