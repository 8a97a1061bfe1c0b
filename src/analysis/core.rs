//! A core: who it was, what it ran, and what its memory holds. From there on it is read as a stopped process is.

use super::capture::threads;
use super::modules::{KnownFiles, LoadedModule, load_both, load_others};
use super::prepared::{About, Glibc, Prepared};
use super::reading::{Reader, Reading};
use super::{Options, Progress, SnapshotError};
use crate::addr::{Addr, AddrRange};
use crate::debug::{BinaryPlaces, BuildId, FoundBinary, WantedBinary, find_binary};
use crate::malloc::allocator::is_glibc;
use crate::malloc::arena::Par;
use crate::malloc::rehearsal::{Rehearsal, Workspace};
use crate::snapshot::model::{ProcessInfo, SourceInfo};
use crate::target::cache::PageCache;
use crate::target::core::{Core, CoreModule};
use crate::target::maps::Maps;
use crate::target::modules::Module;
use std::path::Path;

/// Pages kept for following pointers, at most this many bytes. To read one again costs little, and memory that a core's
/// reader takes is to be small beside the core.
const CACHE_LIMIT: usize = 16 << 20;

/// A core that is ready to be read.
pub struct CoreTarget {
    /// Its memory.
    pub core: Core,
    /// What is known of it.
    pub prepared: Prepared,
}

/// Opens a core and finds the files that the process ran.
///
/// # Errors
/// [`SnapshotError`] if it is no core, or if the binary or glibc is nowhere to be found.
pub fn prepare(
    path: &Path,
    options: &Options,
    known: &KnownFiles,
    progress: &dyn Progress,
) -> Result<CoreTarget, SnapshotError> {
    progress.step("reading the core");
    let mut core = Core::open(path)?;
    let modules = core.modules();
    let executable = modules.iter().find(|module| module.is_executable);
    let executable = executable.ok_or_else(|| SnapshotError::NoBinary { file: path.display().to_string() })?;
    let library = modules.iter().find(|module| is_glibc(&module.path));
    let mut notes: Vec<String> = core.completeness().problem.into_iter().collect();
    let binary = find(executable, options)?;
    notes.extend(taken_on_trust(executable, &binary));
    let found = library.map(|library| find(library, options)).transpose()?;
    notes.extend(library.zip(found.as_ref()).and_then(|(library, found)| taken_on_trust(library, found)));
    answer_from(&mut core, executable, &binary)?;
    if let Some((library, found)) = library.zip(found.as_ref()) {
        answer_from(&mut core, library, found)?;
    }
    progress.step("reading debug info");
    let mut search = options.debug.clone();
    search.root = options.core_files.sysroot.clone();
    let is_proven = [binary.verified, found.as_ref().is_none_or(|found| found.verified)];
    let library = library.zip(found).map(|(library, found)| module_of(library, found));
    let (mut binary, mut library) = load_both(module_of(executable, binary), library, &search, known)?;
    let others = load_others(find_others(&mut core, &modules, options), &search, known);
    for (module, is_proven) in [Some(&mut binary), library.as_mut()].into_iter().zip(is_proven) {
        if let Some(module) = module.filter(|_| !is_proven) {
            // Debug info that is proven to be the file's proves nothing of a file that is not proven to be the process's.
            module.source.verified_by = module.source.verified_by.take().map(|_| "path".to_owned());
        }
    }
    let prepared = prepare_found(&core, executable, (binary, library, others), notes, options);
    Ok(CoreTarget { core, prepared })
}

fn prepare_found(
    core: &Core,
    executable: &CoreModule,
    (binary, library, others): (LoadedModule, Option<LoadedModule>, Vec<LoadedModule>),
    notes: Vec<String>,
    options: &Options,
) -> Prepared {
    let about = About {
        source: describe_source(core),
        process: describe(core, executable),
        limits: None,
        taken_at: core.written_at(),
        maps: core.maps(),
        page_size: core.page_size(),
        notes,
        show_clients: options.show_clients,
        without: options.without.clone(),
    };
    let mut prepared = Prepared::new(about, core, binary, library, others);
    let par = prepared.glibc.as_ref().and_then(|glibc| Par::read(core, &glibc.layout, glibc.roots.par).ok());
    let start = par.map(|par| par.sbrk_base).or_else(|| likely_heap(&prepared.maps, executable));
    if let Some(start) = start {
        prepared.maps.mark_brk_heap(start);
    }
    prepared
}

/// Where the brk heap starts, if glibc does not tell: the kernel puts it at some distance behind the binary, whose own
/// variables touch the rest of it (Linux fs/binfmt_elf.c, `load_elf_binary`).
fn likely_heap(maps: &Maps, executable: &CoreModule) -> Option<Addr> {
    let last = executable.ranges.iter().map(|(range, _)| range.end).max()?;
    let mut end = last;
    for mapping in maps.0.iter().filter(|mapping| mapping.range.start >= last) {
        match mapping.range.start == end {
            true => end = mapping.range.end,
            false => return mapping.is_private_anonymous().then_some(mapping.range.start),
        }
    }
    None
}

fn describe(core: &Core, executable: &CoreModule) -> ProcessInfo {
    let process = core.process();
    ProcessInfo {
        pid: process.pid,
        parent: process.parent,
        title: if process.title.is_empty() { process.name.clone() } else { process.title.clone() },
        executable: executable.path.display().to_string(),
        threads: core.threads().len(),
        ..ProcessInfo::default()
    }
}

fn describe_source(core: &Core) -> SourceInfo {
    let completeness = core.completeness();
    SourceInfo {
        kind: "core".to_owned(),
        file: Some(core.path().display().to_string()),
        signal: core.process().signal,
        not_saved: completeness.not_saved,
        missing: completeness.missing,
    }
}

fn find(module: &CoreModule, options: &Options) -> Result<FoundBinary, SnapshotError> {
    let wanted = WantedBinary {
        path: module.path.clone(),
        build_id: module.build_id.clone().and_then(|id| BuildId::new(&id)),
        is_executable: module.is_executable,
    };
    let places = BinaryPlaces {
        exe: options.core_files.exe.clone(),
        sysroot: options.core_files.sysroot.clone(),
        debug_dirs: options.debug.debug_dirs.clone(),
        debuginfod_caches: options.debug.debuginfod_caches.clone(),
    };
    Ok(find_binary(&wanted, &places)?)
}

/// The other files with code that the process ran, as far as they can be found and are proven to be the same: they only give
/// names. They answer for what the core does not hold of them.
fn find_others(core: &mut Core, modules: &[CoreModule], options: &Options) -> Vec<Module> {
    let mut found = Vec::new();
    for module in modules.iter().filter(|module| !module.is_executable && !is_glibc(&module.path)) {
        let Ok(file) = find(module, options) else { continue };
        if file.verified && answer_from(core, module, &file).is_ok() {
            found.push(module_of(module, file));
        }
    }
    found
}

/// A core without the first page of a binary does not tell its build-id: gcore leaves it out.
fn taken_on_trust(module: &CoreModule, found: &FoundBinary) -> Option<String> {
    (!found.verified).then(|| {
        format!(
            "the core does not hold the build-id of {}: that {} is the same file is taken on trust",
            module.path.display(),
            found.path.display()
        )
    })
}

/// Lets the file answer for what the core does not hold of it.
fn answer_from(core: &mut Core, module: &CoreModule, found: &FoundBinary) -> Result<(), SnapshotError> {
    if !found.has_contents || !found.verified {
        return Ok(());
    }
    let unreadable = |source| SnapshotError::OpenFile { file: found.path.display().to_string(), source };
    let file = found.file.try_clone().map_err(unreadable)?;
    core.add_file(file, &module.ranges).map_err(unreadable)?;
    Ok(())
}

fn module_of(module: &CoreModule, found: FoundBinary) -> Module {
    Module { path: found.path, file: found.file, mappings: module.mappings() }
}

/// Reads what a snapshot needs.
///
/// # Errors
/// [`SnapshotError`] if the core does not hold malloc's own state.
pub fn read(target: &CoreTarget, glibc: &Glibc) -> Result<Reading, SnapshotError> {
    let CoreTarget { core, prepared } = target;
    let pagemap = |ranges: &[AddrRange]| core.pagemap(ranges);
    let reader = Reader::new(core, prepared, glibc, &pagemap, &|| None, &|| None);
    let pages = PageCache::new(core, prepared.page_size, CACHE_LIMIT);
    let thread_pointers: Vec<(i32, Addr)> =
        core.threads().iter().filter_map(|thread| Some((thread.tid, thread.thread_pointer?))).collect();
    // Nothing changes in a core: there is nothing to rehearse.
    let plan = Rehearsal::default();
    let workspace = Workspace::for_plan(&plan, threads(), &|| reader.scanner());
    let source = reader.source(&prepared.maps, &thread_pointers, &pages, &[]);
    let heap = prepared.maps.heap_ranges().first().copied();
    match (reader.read(&source, &plan, workspace, drop), heap) {
        (Ok(reading), _) => Ok(reading),
        (Err(_), Some(heap)) => Ok(reader.read_without_books(&source, heap)),
        (Err(fault), None) => Err(SnapshotError::CoreMemory { file: core.path().display().to_string(), fault }),
    }
}
