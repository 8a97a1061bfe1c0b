//! The file that dwz moves shared debug info into (`.gnu_debugaltlink`), found and verified.

use super::elf::{BuildId, ElfFile};
use super::error::DebugError;
use super::file::DwarfFile;
use super::locate::{Candidate, Refusal, SearchOptions, Tried, below};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Opens the supplement that a debug file refers to: `None` if it refers to none. `shown` is where the debug file is, as
/// seen from here.
pub(crate) fn load(debug: &ElfFile, shown: &Path, options: &SearchOptions) -> Result<Option<DwarfFile>, DebugError> {
    let Some((wanted, build_id)) = debug.supplement_link() else { return Ok(None) };
    let mut tried = Vec::new();
    for candidate in candidates(&wanted, build_id.as_ref(), shown, options) {
        match candidate.open().and_then(|elf| verify(elf, build_id.as_ref())) {
            Ok(elf) => return Ok(Some(DwarfFile::linked(Arc::new(elf)))),
            Err(refusal) => tried.push(Tried { path: candidate.display_path(), refusal }),
        }
    }
    Err(DebugError::SupplementMissing { path: shown.into(), wanted, build_id, tried })
}

/// The places where it may be: as named (relative to the debug file), then by build-id, then by its file name in the
/// directories that distributions use.
fn candidates<'a>(
    wanted: &Path,
    build_id: Option<&BuildId>,
    shown: &Path,
    options: &'a SearchOptions,
) -> Vec<Candidate<'a>> {
    let mut found = Vec::new();
    let directory = shown.parent().unwrap_or(Path::new("/"));
    let root = options.root.as_deref().filter(|root| *root != Path::new("/"));
    let roots: Vec<Option<&Path>> = root.map(Some).into_iter().chain([None]).collect();
    let mut add = |root: Option<&'a Path>, path: PathBuf| {
        let candidate = Candidate { root, path };
        if !found.contains(&candidate) {
            found.push(candidate);
        }
    };
    if wanted.is_absolute() {
        roots.iter().for_each(|root| add(*root, wanted.into()));
    } else {
        add(None, directory.join(wanted));
    }
    let by_id = build_id.and_then(BuildId::debug_path);
    let by_name = wanted.file_name().map(|name| Path::new(".dwz").join(name));
    let bases = options.debug_dirs.iter().map(|directory| (None, directory.as_path()));
    let bases = bases.chain(roots.iter().map(|root| (*root, Path::new("/usr/lib/debug"))));
    for (root, base) in bases.collect::<Vec<_>>() {
        by_id.iter().chain(&by_name).for_each(|name| add(root, base.join(name)));
        if wanted.is_absolute() {
            add(root, below(base, wanted));
        }
    }
    for cache in &options.debuginfod_caches {
        build_id.iter().for_each(|id| add(None, cache.join(id.to_string()).join("debuginfo")));
    }
    found
}

fn verify(elf: ElfFile, wanted: Option<&BuildId>) -> Result<ElfFile, Refusal> {
    match (elf.build_id(), wanted) {
        (Some(has), Some(wanted)) if has == wanted => {}
        (Some(has), Some(wanted)) => {
            return Err(Refusal::OtherBuild { has: has.clone(), wanted: wanted.clone() });
        }
        _ => return Err(Refusal::Unverifiable),
    }
    if elf.has_section(".debug_info") { Ok(elf) } else { Err(Refusal::NoDebugInfo) }
}
