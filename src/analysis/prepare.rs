//! All that can be done while the target runs: who it is, what it runs, and what its debug info says.

use super::{Options, Progress, SnapshotError};
use crate::addr::{Addr, LoadBias};
use crate::debug::{Binary, DebugInfo, Segment, Verified};
use crate::malloc::allocator::{Allocator, is_glibc, recognise};
use crate::malloc::layout::{LayoutError, MallocLayout};
use crate::malloc::read::MallocRoots;
use crate::nginx::layout::PoolLayout;
use crate::nginx::owner::{FINDERS, NginxModule, OwnerFinder};
use crate::nginx::version::{glibc_version, server_version};
use crate::snapshot::model::LayoutSource;
use crate::target::live::LiveMemory;
use crate::target::maps::Maps;
use crate::target::modules::{Module, open_executable, open_library};
use crate::target::process::{Process, TargetError};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

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

/// glibc's side: what is needed to walk its heap.
pub struct Glibc {
    /// Structure layouts.
    pub layout: MallocLayout,
    /// Where its variables are.
    pub roots: MallocRoots,
}

/// nginx's side: what is needed to find pools.
pub struct Nginx {
    /// Layout of pools.
    pub pools: PoolLayout,
    /// One for each kind of owner that the binary can have.
    pub finders: Vec<Box<dyn OwnerFinder>>,
}

/// A target that is ready to be stopped.
pub struct Prepared {
    /// Who it is.
    pub process: Process,
    /// Its mappings with what is resident, as they were before the stop.
    pub maps: Maps,
    /// Its memory.
    pub memory: LiveMemory,
    /// Page size in bytes.
    pub page_size: u64,
    /// Its binary.
    pub binary: LoadedModule,
    /// Its allocator.
    pub allocator: Allocator,
    /// Version of glibc, if that is the allocator.
    pub allocator_version: Option<String>,
    /// Where glibc's layouts come from.
    pub glibc_source: LayoutSource,
    /// `None` if the heap cannot be walked.
    pub glibc: Option<Glibc>,
    /// `None` if the target is not nginx.
    pub nginx: Option<Nginx>,
    /// What cannot be told of this target, and why.
    pub notes: Vec<String>,
}

/// Prepares `pid` for a snapshot, without stopping it.
///
/// # Errors
/// [`SnapshotError`] if the target cannot be studied at all.
pub fn prepare(pid: i32, options: &Options, progress: &dyn Progress) -> Result<Prepared, SnapshotError> {
    let process = Process::find(pid)?;
    progress.step("reading its mappings");
    let memory = LiveMemory::open(pid).map_err(|error| refused(pid, &process, error))?;
    let maps = Maps::read(pid).map_err(|error| TargetError::from_proc(pid, "smaps", error))?;
    let open = |what, source| SnapshotError::Open { pid, what, source };
    let binary = open_executable(pid, &maps).map_err(|error| open("binary", error))?;
    let library = open_library(pid, &maps, is_glibc).map_err(|error| open("C library", error))?;
    progress.step("reading debug info");
    let mut options = options.clone();
    options.debug.root = root_of(pid);
    let (binary, library) = load_both(binary, library, &options)?;
    let allocator = recognise(&maps, |name| binary.debug.symbol(name).is_some());
    let mut prepared = Prepared {
        process,
        maps,
        memory,
        page_size: crate::target::page_size(),
        allocator_version: match allocator {
            Allocator::Glibc => library.as_ref().and_then(|library| library.version.clone()),
            _ => None,
        },
        binary,
        allocator,
        glibc_source: LayoutSource::none(),
        glibc: None,
        nginx: None,
        notes: Vec::new(),
    };
    prepared.add_glibc(library.as_ref());
    prepared.add_nginx();
    Ok(prepared)
}

/// The target's root as seen from here; `None` if it has the same as we: paths are then shown as everybody knows them.
fn root_of(pid: i32) -> Option<PathBuf> {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let root = |pid: &str| std::fs::metadata(format!("/proc/{pid}/root/")).ok().map(|root| (root.dev(), root.ino()));
    let target = pid.to_string();
    let is_same = |ours: Option<_>, its: Option<_>| ours.is_some() && ours == its;
    let shares_root = is_same(namespace("self"), namespace(&target)) && root("self") == root(&target);
    (!shares_root).then(|| format!("/proc/{pid}/root").into())
}

fn refused(pid: i32, process: &Process, error: std::io::Error) -> SnapshotError {
    match error.kind() {
        std::io::ErrorKind::NotFound => TargetError::Exited(pid).into(),
        std::io::ErrorKind::PermissionDenied => {
            TargetError::NoPermission { pid, name: process.name.clone(), refusal: crate::target::access::explain(pid) }
                .into()
        }
        _ => SnapshotError::Open { pid, what: "memory", source: error },
    }
}

/// Loads the binary and glibc at the same time: each takes some tens of milliseconds.
fn load_both(
    binary: Module,
    library: Option<Module>,
    options: &Options,
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
    options: &Options,
    version: fn(&[u8]) -> Option<String>,
) -> Result<LoadedModule, SnapshotError> {
    // SAFETY: the file is only read, and a package manager replaces files instead of writing into them. Should somebody
    // truncate it all the same, reading beyond its new end raises SIGBUS and ends us; the target is not stopped yet.
    let bytes = unsafe { memmap2::Mmap::map(&module.file) };
    let version = bytes.ok().and_then(|bytes| version(&bytes));
    let binary = Binary { file: module.file, path: module.path };
    let debug = DebugInfo::load(&binary, &options.debug)?;
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
    fn none() -> LayoutSource {
        LayoutSource { kind: "none".to_owned(), ..LayoutSource::default() }
    }

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

    fn with_problem(mut self, kind: &str, problem: String) -> LayoutSource {
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

impl Prepared {
    fn add_glibc(&mut self, library: Option<&LoadedModule>) {
        if self.allocator != Allocator::Glibc {
            let name = self.allocator.name();
            self.notes.push(format!(
                "the allocator is {name}, and only glibc's heap can be walked: chunks and pools are not shown"
            ));
            return;
        }
        // Linked statically, glibc's variables are the binary's own.
        let library = library.unwrap_or(&self.binary);
        match glibc_of(library) {
            Ok(glibc) => {
                self.glibc_source = library.source.clone();
                self.glibc = Some(glibc);
            }
            Err(error) => {
                self.notes.push(format!("the heap cannot be walked: {error}"));
                self.glibc_source = library.source.clone().with_problem("none", error.to_string());
            }
        }
    }

    fn add_nginx(&mut self) {
        let is_nginx =
            self.binary.debug.symbol("ngx_create_pool").is_some() || self.process.title.starts_with("nginx:");
        if !is_nginx {
            let name = self.process.executable.display();
            self.notes.push(format!("{name} is not nginx: it has no pools"));
            self.binary.source = LayoutSource::none();
            return;
        }
        let (pools, has_types) = match PoolLayout::from_debug(&self.binary.debug) {
            Ok(layout) => (layout, true),
            Err(error) => {
                let source = std::mem::take(&mut self.binary.source);
                self.binary.source = source.with_problem("built_in", error.to_string());
                self.notes.push(format!(
                    "whose the pools are is not known, and they are found by the layout that they have had since nginx 0.8.1: \
                     {error}"
                ));
                (PoolLayout::SINCE_0_8_1, false)
            }
        };
        let finders = if has_types { self.make_finders() } else { Vec::new() };
        self.nginx = Some(Nginx { pools, finders });
    }

    fn make_finders(&mut self) -> Vec<Box<dyn OwnerFinder>> {
        let module = NginxModule { debug: &self.binary.debug, bias: self.binary.bias };
        let mut finders = Vec::new();
        for make in FINDERS {
            match make(module) {
                Ok(finder) => finders.extend(finder),
                Err(error) => self.notes.push(format!("one kind of owner is not looked for: {error}")),
            }
        }
        finders
    }
}

fn glibc_of(library: &LoadedModule) -> Result<Glibc, LayoutError> {
    let layout = MallocLayout::from_debug(&library.debug)?;
    let variable = |name: &'static str| {
        let address = library.debug.symbol_address(name);
        let missing = || LayoutError::Variable(name, library.debug.path().display().to_string());
        address.map(|address| library.bias.to_running(address)).ok_or_else(missing)
    };
    let roots = MallocRoots {
        main_arena: variable("main_arena")?,
        par: variable("mp_")?,
        tcache_offset: library.debug.tls_offset("tcache"),
    };
    Ok(Glibc { layout, roots })
}
