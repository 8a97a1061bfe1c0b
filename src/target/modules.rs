//! The files a process runs from: its binary and its libraries, opened as the process itself sees them.
//!
//! The path in maps is one in the target's mount namespace, and may name another file by now (an upgrade), or none. So the
//! very inode that is mapped is opened where the kernel allows it, and anything else only if it is the same inode.

use crate::addr::Addr;
use crate::target::maps::{Backing, Mapping, Maps};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file with the places where it is mapped.
#[derive(Debug)]
pub struct Module {
    /// Its path in the target's mount namespace.
    pub path: PathBuf,
    /// The file itself.
    pub file: File,
    /// Where parts of it are mapped, and from which offset in the file.
    pub mappings: Vec<(Addr, u64)>,
}

/// Opens the binary that `pid` runs.
///
/// # Errors
/// What the kernel says to opening `/proc/PID/exe`.
pub fn open_executable(pid: i32, maps: &Maps) -> io::Result<Module> {
    let file = File::open(format!("/proc/{pid}/exe"))?;
    let inode = file.metadata()?.ino();
    let path = std::fs::read_link(format!("/proc/{pid}/exe"))?;
    let path = PathBuf::from(path.to_string_lossy().trim_end_matches(" (deleted)"));
    let mapped = maps.0.iter().filter(|mapping| mapping.inode == inode && is_file(mapping));
    let mappings = mapped.map(|mapping| (mapping.range.start, mapping.file_offset)).collect();
    Ok(Module { path, file, mappings })
}

/// Opens the first mapped library whose path `wanted` accepts; `Ok(None)` if there is none.
///
/// # Errors
/// The last failure of the ways tried, if the library is mapped and cannot be opened.
pub fn open_library(pid: i32, maps: &Maps, wanted: impl Fn(&Path) -> bool) -> io::Result<Option<Module>> {
    let found = maps.0.iter().find_map(|mapping| match &mapping.backing {
        Backing::File { path, .. } if wanted(path) => Some((mapping, path.clone())),
        _ => None,
    });
    let Some((first, path)) = found else { return Ok(None) };
    let same = maps.0.iter().filter(|mapping| mapping.inode == first.inode && mapping.device == first.device);
    let mappings = same.map(|mapping| (mapping.range.start, mapping.file_offset)).collect();
    let file = open_mapped(pid, first, &path)?;
    Ok(Some(Module { path, file, mappings }))
}

/// Opens every other mapped file that has code in it: libraries, and modules that nginx has loaded. What cannot be opened is
/// left out, because nothing depends on it but names.
pub fn open_others(pid: i32, maps: &Maps, known: &[&Module]) -> Vec<Module> {
    let mut inodes: Vec<u64> =
        known.iter().filter_map(|module| module.file.metadata().ok()).map(|file| file.ino()).collect();
    let mut modules = Vec::new();
    for mapping in maps.0.iter().filter(|mapping| mapping.executable) {
        let Backing::File { path, .. } = &mapping.backing else { continue };
        if inodes.contains(&mapping.inode) {
            continue;
        }
        inodes.push(mapping.inode);
        let same = maps.0.iter().filter(|other| other.inode == mapping.inode && other.device == mapping.device);
        let mappings = same.map(|other| (other.range.start, other.file_offset)).collect();
        if let Ok(file) = open_mapped(pid, mapping, path) {
            modules.push(Module { path: path.clone(), file, mappings });
        }
    }
    modules
}

fn is_file(mapping: &Mapping) -> bool {
    matches!(mapping.backing, Backing::File { .. })
}

/// `map_files` leads to the mapped inode whatever has become of its name, but only for an administrator of the initial user
/// namespace; the path through the target's root works for all who may trace it.
fn open_mapped(pid: i32, mapping: &Mapping, path: &Path) -> io::Result<File> {
    let range = mapping.range;
    if let Ok(file) = File::open(format!("/proc/{pid}/map_files/{:x}-{:x}", range.start.0, range.end.0)) {
        return Ok(file);
    }
    let relative = path.strip_prefix("/").unwrap_or(path);
    let file = File::open(Path::new(&format!("/proc/{pid}/root")).join(relative))?;
    match file.metadata()?.ino() == mapping.inode {
        true => Ok(file),
        false => Err(io::Error::other(format!(
            "{} has been replaced since the process started, and /proc/{pid}/map_files needs CAP_SYS_ADMIN",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_binary_and_libc_are_found_where_they_are_mapped() {
        let pid = std::process::id() as i32;
        let maps = Maps::read(pid).unwrap();
        let binary = open_executable(pid, &maps).unwrap();
        assert_eq!(binary.path, std::env::current_exe().unwrap());
        assert!(binary.mappings.iter().any(|(_, offset)| *offset == 0));
        let libc = open_library(pid, &maps, |path| path.to_string_lossy().contains("libc.so")).unwrap().unwrap();
        assert!(libc.mappings.len() > 1);
        assert!(open_library(pid, &maps, |_| false).unwrap().is_none());
    }
}
