//! Finding the binaries that a core was made of: ordered candidates, and only the one with the core's build-id is taken.

use super::elf::{BuildId, ElfFile};
use super::locate::{Candidate, Refusal, SYSTEM_DEBUG_DIRECTORY, Tried};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A binary that is looked for.
#[derive(Clone, Debug)]
pub struct WantedBinary {
    /// Its path in the mount namespace of the process that the core was taken of.
    pub path: PathBuf,
    /// Its build-id, if the core tells.
    pub build_id: Option<BuildId>,
    /// True for the program itself: `--exe` stands for that one only.
    pub is_executable: bool,
}

/// Where binaries are looked for.
#[derive(Clone, Debug, Default)]
pub struct BinaryPlaces {
    /// The program itself, as the user named it.
    pub exe: Option<PathBuf>,
    /// A directory that holds the files of the machine or container that the core comes from, below their own paths.
    pub sysroot: Option<PathBuf>,
    /// Directories laid out as `/usr/lib/debug` is.
    pub debug_dirs: Vec<PathBuf>,
    /// Cache directories of debuginfod clients. Nothing is downloaded.
    pub debuginfod_caches: Vec<PathBuf>,
}

/// A binary that was found, or its debug file: that one has the same symbols, program headers and debug info, but no contents
/// of the loaded parts, so that it cannot answer for memory that a core does not hold.
#[derive(Debug)]
pub struct FoundBinary {
    /// The opened file.
    pub file: File,
    /// Where it is, as seen from here.
    pub path: PathBuf,
    /// True if its build-id is the one wanted; false if the core has none to compare.
    pub verified: bool,
    /// True if it holds the contents of its loaded parts, and is no mere debug file.
    pub has_contents: bool,
}

/// No file is the binary that is looked for.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum BinaryNotFound {
    /// The user named a file of another build.
    #[error(
        "{} is not the binary that the core is of: it has build-id {has}, the core was made by {} with build-id {wanted}. Give \
         the binary of that very build with --exe (`debuginfod-find executable {wanted}` fetches it where a server has it)",
        exe.display(), module.display()
    )]
    OtherExe {
        /// What the user named.
        exe: PathBuf,
        /// Its path in the core.
        module: PathBuf,
        /// The build-id of what the user named.
        has: BuildId,
        /// The build-id of the core's binary.
        wanted: BuildId,
    },
    /// The user named a file that cannot be used.
    #[error("{tried}: name the binary that the core is of ({}) with --exe", module.display())]
    UnusableExe {
        /// What the user named, and what is wrong with it.
        tried: Tried,
        /// Its path in the core.
        module: PathBuf,
    },
    /// It is nowhere.
    #[error("{0}")]
    Nowhere(Nowhere),
}

/// A binary that is in none of the places.
#[derive(Clone, Debug)]
pub struct Nowhere {
    /// What was looked for.
    pub wanted: WantedBinary,
    /// Every place that was looked at, in order.
    pub tried: Vec<Tried>,
}

impl fmt::Display for Nowhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WantedBinary { path, build_id, is_executable } = &self.wanted;
        write!(f, "no file here is the {} that the core was made with", path.display())?;
        if let Some(id) = build_id {
            write!(f, " (build-id {id})")?;
        }
        let places: Vec<String> = self.tried.iter().map(Tried::to_string).collect();
        write!(f, ": {}. ", places.join("; "))?;
        let exe = if *is_executable { "name it with --exe FILE, or " } else { "" };
        write!(
            f,
            "To go on, {exe}name a directory with the files of the machine that the core comes from with --sysroot DIR"
        )?;
        match build_id {
            Some(id) => write!(f, ", or fetch it with `debuginfod-find executable {id}`"),
            None => Ok(()),
        }
    }
}

/// Looks for a binary. A file is taken only if its build-id is the one wanted; where the core does not tell, the file at its
/// path is.
///
/// # Errors
/// [`BinaryNotFound`], with every place and why its file was not taken.
pub fn find_binary(wanted: &WantedBinary, places: &BinaryPlaces) -> Result<FoundBinary, BinaryNotFound> {
    if let Some(exe) = places.exe.as_deref().filter(|_| wanted.is_executable) {
        return try_exe(wanted, exe);
    }
    let mut tried = Vec::new();
    let mut debug_file = None;
    for place in candidates(wanted, places) {
        match try_candidate(wanted, &place.candidate, place.by_path) {
            Ok(found) if found.has_contents => return Ok(found),
            // It serves if the binary itself is nowhere.
            Ok(found) => debug_file = debug_file.or(Some(found)),
            Err(refusal) => tried.push(Tried { path: place.candidate.display_path(), refusal }),
        }
    }
    debug_file.ok_or_else(|| BinaryNotFound::Nowhere(Nowhere { wanted: wanted.clone(), tried }))
}

/// What the user names is the binary or an error: to take another one silently would hide the mistake.
fn try_exe(wanted: &WantedBinary, exe: &Path) -> Result<FoundBinary, BinaryNotFound> {
    let candidate = Candidate { root: None, path: exe.into() };
    try_candidate(wanted, &candidate, true).map_err(|refusal| {
        let module = wanted.path.clone();
        match refusal {
            Refusal::OtherBuild { has, wanted } => BinaryNotFound::OtherExe { exe: exe.into(), module, has, wanted },
            refusal => BinaryNotFound::UnusableExe { tried: Tried { path: exe.into(), refusal }, module },
        }
    })
}

/// A place where a binary may be.
struct Place<'a> {
    candidate: Candidate<'a>,
    /// True if the file there is meant by its path, so that it may be taken where no build-id can tell.
    by_path: bool,
}

/// Every place where the binary may be, best first.
fn candidates<'a>(wanted: &WantedBinary, places: &'a BinaryPlaces) -> Vec<Place<'a>> {
    let mut found: Vec<Place<'a>> = Vec::new();
    let mut add = |root: Option<&'a Path>, path: PathBuf, by_path: bool| {
        let candidate = Candidate { root, path };
        if !found.iter().any(|known| known.candidate == candidate) {
            found.push(Place { candidate, by_path });
        }
    };
    let sysroot = places.sysroot.as_deref();
    let system = Path::new(SYSTEM_DEBUG_DIRECTORY);
    let by_id = wanted.build_id.as_ref().and_then(BuildId::debug_path);
    // Beside the debug file `….debug`, some distributions link the binary itself without that ending.
    let names: Vec<PathBuf> = by_id.iter().flat_map(|debug| [debug.with_extension(""), debug.clone()]).collect();
    if sysroot.is_some() {
        add(sysroot, wanted.path.clone(), true);
        names.iter().for_each(|name| add(sysroot, system.join(name), false));
    }
    if wanted.path.is_absolute() {
        add(None, wanted.path.clone(), true);
    }
    for directory in places.debug_dirs.iter().map(PathBuf::as_path).chain([system]) {
        names.iter().for_each(|name| add(None, directory.join(name), false));
    }
    if let Some(id) = &wanted.build_id {
        let entries = places.debuginfod_caches.iter().map(|cache| cache.join(id.to_string()));
        entries
            .for_each(|entry| ["executable", "debuginfo"].iter().for_each(|name| add(None, entry.join(name), false)));
    }
    found
}

/// Opens a file and makes sure that it is the one wanted.
fn try_candidate(wanted: &WantedBinary, candidate: &Candidate<'_>, by_path: bool) -> Result<FoundBinary, Refusal> {
    let (file, elf) = candidate.open_file()?;
    let verified = match (elf.build_id(), &wanted.build_id) {
        (Some(has), Some(wanted)) if has == wanted => true,
        (Some(has), Some(wanted)) => return Err(Refusal::OtherBuild { has: has.clone(), wanted: wanted.clone() }),
        (None, Some(_)) => return Err(Refusal::Unverifiable),
        (_, None) if by_path => false,
        (_, None) => return Err(Refusal::Unverifiable),
    };
    Ok(FoundBinary { file, path: candidate.display_path(), verified, has_contents: has_contents(&elf) })
}

/// A debug file has the headers of its binary, but in place of what is loaded only the sections that describe it.
fn has_contents(elf: &ElfFile) -> bool {
    elf.has_section(".text") || !(elf.has_section(".symtab") || elf.has_section(".debug_info"))
}
