//! Finding the debug info of a binary: ordered candidates, each verified, and a record of why the others were not taken.

use super::elf::{BuildId, ElfFile};
use super::error::DebugError;
use super::open::open_regular;
use std::env;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Where Debian, Fedora and others install separate debug files.
pub(crate) const SYSTEM_DEBUG_DIRECTORY: &str = "/usr/lib/debug";

/// A binary of the target, opened by the caller: through `/proc/PID/exe` or `map_files` for one that may be deleted or
/// in a container, by its path for one on disk.
#[derive(Debug)]
pub struct Binary {
    /// The opened file.
    pub file: File,
    /// Its path as the target knows it, without ` (deleted)`: `.gnu_debuglink` is looked up beside it. Used in messages.
    pub path: PathBuf,
}

impl Binary {
    /// Opens a binary by its path on this host.
    pub fn open(path: impl Into<PathBuf>) -> Result<Binary, DebugError> {
        let path = path.into();
        match open_regular(None, &path) {
            Ok(file) => Ok(Binary { file, path }),
            Err(error) => Err(DebugError::unreadable(path, error)),
        }
    }
}

/// Where to look besides the binary itself.
#[derive(Clone, Debug, Default)]
pub struct SearchOptions {
    /// Directories given by the user, looked at first: each laid out as `/usr/lib/debug` is.
    pub debug_dirs: Vec<PathBuf>,
    /// The target's root directory as seen from here (`/proc/PID/root`). Its own `/usr/lib/debug` is looked at before
    /// the host's. `None` if the target shares the host's root.
    pub root: Option<PathBuf>,
    /// Cache directories of debuginfod clients. Nothing is downloaded.
    pub debuginfod_caches: Vec<PathBuf>,
}

impl SearchOptions {
    /// Options with the cache directories that a debuginfod client run from this environment would use:
    /// `$DEBUGINFOD_CACHE_PATH`, `$XDG_CACHE_HOME/debuginfod_client`, `~/.cache/debuginfod_client`.
    pub fn from_environment() -> SearchOptions {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let candidates = [
            variable("DEBUGINFOD_CACHE_PATH"),
            variable("XDG_CACHE_HOME").map(|home| home.join("debuginfod_client")),
            variable("HOME").map(|home| home.join(".cache/debuginfod_client")),
        ];
        SearchOptions { debuginfod_caches: candidates.into_iter().flatten().collect(), ..SearchOptions::default() }
    }
}

/// One place that was looked at and not taken.
#[derive(Clone, Debug)]
pub struct Tried {
    /// The file, as seen from here.
    pub path: PathBuf,
    /// Why it was not taken.
    pub refusal: Refusal,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path.display(), self.refusal)
    }
}

/// Why a candidate was not taken.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such file.
    NotFound,
    /// It is there but cannot be read.
    Unreadable(Arc<io::Error>),
    /// It is no usable ELF file.
    Unusable(String),
    /// It belongs to another build.
    OtherBuild {
        /// The candidate's build-id.
        has: BuildId,
        /// That of the binary.
        wanted: BuildId,
    },
    /// It is not the file that the link was made to.
    OtherChecksum {
        /// The candidate's CRC-32.
        has: u32,
        /// That in `.gnu_debuglink`.
        wanted: u32,
    },
    /// Neither a build-id nor a checksum tells whether it belongs to the binary.
    Unverifiable,
    /// It holds no debug info.
    NoDebugInfo,
    /// It is a split file with other contents than the skeleton names.
    OtherSplit {
        /// The identifier that the skeleton wants.
        wanted: u64,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotFound => write!(f, "does not exist"),
            Refusal::Unreadable(error) => write!(f, "cannot be read ({error})"),
            Refusal::Unusable(reason) => write!(f, "is not usable ({reason})"),
            Refusal::OtherBuild { has, wanted } => write!(f, "is of another build: has {has}, wanted {wanted}"),
            Refusal::OtherChecksum { has, wanted } => {
                write!(f, "is of another build: has CRC {has:08x}, wanted {wanted:08x}")
            }
            Refusal::Unverifiable => write!(f, "has no build-id that proves that it is of this build"),
            Refusal::NoDebugInfo => write!(f, "has no .debug_info section"),
            Refusal::OtherSplit { wanted } => write!(f, "is of another build: lacks the unit {wanted:016x}"),
        }
    }
}

/// How it is known that debug info belongs to the running binary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verified {
    /// It is in the binary itself.
    SameFile,
    /// Both carry the same build-id.
    BuildId,
    /// The CRC-32 in `.gnu_debuglink` is that of the file.
    Checksum,
}

/// Where the debug info of a module came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Provenance {
    /// The file that holds it, as seen from here.
    pub path: PathBuf,
    /// How it is known to belong to the binary.
    pub verified: Verified,
}

/// What the search ended with.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) debug: Option<(Arc<ElfFile>, Provenance)>,
    pub(crate) tried: Vec<Tried>,
}

/// A file to try: `path` below `root`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) root: Option<&'a Path>,
    pub(crate) path: PathBuf,
}

impl Candidate<'_> {
    /// The path as seen from here.
    pub(crate) fn display_path(&self) -> PathBuf {
        match self.root {
            Some(root) => root.join(self.path.strip_prefix("/").unwrap_or(&self.path)),
            None => self.path.clone(),
        }
    }

    /// Opens the file and reads its headers.
    pub(crate) fn open(&self) -> Result<ElfFile, Refusal> {
        self.open_file().map(|(_, elf)| elf)
    }

    /// The same with the opened file itself.
    pub(crate) fn open_file(&self) -> Result<(File, ElfFile), Refusal> {
        let file = open_regular(self.root, &self.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Refusal::NotFound,
            _ => Refusal::Unreadable(Arc::new(error)),
        })?;
        let elf = ElfFile::open(&file, &self.display_path()).map_err(|error| match error {
            DebugError::NotElf { reason, .. } | DebugError::Malformed { reason, .. } => Refusal::Unusable(reason),
            other => Refusal::Unusable(other.to_string()),
        })?;
        Ok((file, elf))
    }
}

/// Looks for the debug info of `binary`, whose path the target knows as `path`.
pub(crate) fn locate(binary: &Arc<ElfFile>, path: &Path, options: &SearchOptions) -> Located {
    if has_debug_info(binary) {
        let provenance = Provenance { path: path.into(), verified: Verified::SameFile };
        return Located { debug: Some((binary.clone(), provenance)), tried: Vec::new() };
    }
    let mut tried = vec![Tried { path: path.into(), refusal: Refusal::NoDebugInfo }];
    let link = binary.debug_link();
    for candidate in candidates(binary.build_id(), link.as_ref().map(|(name, _)| name.as_path()), path, options) {
        match candidate.open().and_then(|elf| verify(elf, binary, link.as_ref().map(|(_, crc)| *crc))) {
            Ok((elf, verified)) => {
                let provenance = Provenance { path: candidate.display_path(), verified };
                return Located { debug: Some((Arc::new(elf), provenance)), tried };
            }
            Err(refusal) => tried.push(Tried { path: candidate.display_path(), refusal }),
        }
    }
    Located { debug: None, tried }
}

fn has_debug_info(elf: &ElfFile) -> bool {
    elf.has_section(".debug_info")
}

/// Every place where the debug file may be, best first, each once.
fn candidates<'a>(
    build_id: Option<&BuildId>,
    link: Option<&Path>,
    binary: &Path,
    options: &'a SearchOptions,
) -> Vec<Candidate<'a>> {
    let roots: Vec<Option<&Path>> = match options.root.as_deref() {
        Some(root) if root != Path::new("/") => vec![Some(root), None],
        _ => vec![None],
    };
    let directory = binary.parent().unwrap_or(Path::new("/"));
    let by_id = build_id.and_then(BuildId::debug_path);
    let mut found: Vec<Candidate<'a>> = Vec::new();
    let mut add = |root: Option<&'a Path>, path: PathBuf| {
        let candidate = Candidate { root, path };
        if !found.contains(&candidate) {
            found.push(candidate);
        }
    };
    for user in &options.debug_dirs {
        by_id.iter().for_each(|name| add(None, user.join(name)));
        if let Some(name) = link {
            add(None, below(user, directory).join(name));
            add(None, user.join(name));
        }
    }
    let system = Path::new(SYSTEM_DEBUG_DIRECTORY);
    if let Some(name) = &by_id {
        roots.iter().for_each(|root| add(*root, system.join(name)));
    }
    if let Some(name) = link {
        for root in &roots {
            add(*root, directory.join(name));
            add(*root, directory.join(".debug").join(name));
            add(*root, below(system, directory).join(name));
        }
    }
    for cache in &options.debuginfod_caches {
        build_id.iter().for_each(|id| add(None, cache.join(id.to_string()).join("debuginfo")));
    }
    found
}

/// `directory` put below `base`, as in `/usr/lib/debug/usr/sbin`. `..` steps are dropped: they must not lead out of it.
pub(crate) fn below(base: &Path, directory: &Path) -> PathBuf {
    let steps = directory.components().filter(|step| matches!(step, Component::Normal(_)));
    steps.fold(base.to_path_buf(), |path, step| path.join(step))
}

/// What would give the debug info of a binary: for well-known ones the package, by the file name.
pub(crate) fn package_hint(binary: &Path) -> &'static str {
    let name = binary.file_name().unwrap_or_default().to_string_lossy();
    let is = |start: &&str| name.starts_with(start);
    if ["libc.so", "libc-2.", "ld-linux", "ld-2."].iter().any(is) {
        "install it with `apt install libc6-dbg` (Debian, Ubuntu) or `debuginfo-install glibc` (Fedora, RHEL)"
    } else if ["nginx", "tengine", "openresty", "angie"].iter().any(is) {
        "install the debug symbols of this very package version (nginx.org: nginx-dbg; Debian: nginx-dbgsym of its \
         debian-debug archive; Fedora, RHEL: nginx-debuginfo), fetch them with `debuginfod-find debuginfo BUILD-ID`, or name \
         the directory that holds the .debug file with --debug-dir"
    } else {
        "install the debug symbols of its package, or name the directory that holds its .debug file with --debug-dir"
    }
}

/// Proves that a candidate belongs to the binary. A build-id on both sides decides; a checksum does where one is missing.
fn verify(elf: ElfFile, binary: &ElfFile, checksum: Option<u32>) -> Result<(ElfFile, Verified), Refusal> {
    let verified = match (elf.build_id(), binary.build_id(), checksum) {
        (Some(has), Some(wanted), _) if has == wanted => Verified::BuildId,
        (Some(has), Some(wanted), _) => {
            return Err(Refusal::OtherBuild { has: has.clone(), wanted: wanted.clone() });
        }
        (_, _, Some(wanted)) => {
            let mut crc = flate2::Crc::new();
            crc.update(elf.bytes());
            if crc.sum() != wanted {
                return Err(Refusal::OtherChecksum { has: crc.sum(), wanted });
            }
            Verified::Checksum
        }
        _ => return Err(Refusal::Unverifiable),
    };
    if has_debug_info(&elf) { Ok((elf, verified)) } else { Err(Refusal::NoDebugInfo) }
}
