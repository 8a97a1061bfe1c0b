//! The dynamic loader's own list of what it has loaded (`struct r_debug` and `struct link_map` of glibc's `link.h`).

use super::Core;
use super::header::ProgramHeader;
use super::image::table_at;
use crate::addr::Addr;
use crate::target::memory::Memory;
use object::elf;
use rustc_hash::FxHashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// `AT_…` of the auxiliary vector: where the binary's program headers are in memory, and how many.
pub(super) const AT_PHDR: u64 = 3;
const AT_PHNUM: u64 = 5;

/// Most entries of the binary's dynamic section that are looked at.
const MAX_DYNAMIC: u64 = 4096;

/// Most loaded modules that are listed.
const MAX_MODULES: usize = 4096;

/// Longest path, as in Linux.
const MAX_PATH: usize = 4096;

/// Offsets of `r_map` in `struct r_debug`, and of `l_name`, `l_ld` and `l_next` in `struct link_map`; `l_addr` comes first.
const R_MAP: u64 = 8;
const L_NAME: u64 = 8;
const L_LD: u64 = 16;
const L_NEXT: u64 = 24;

/// One entry of the list.
pub(super) struct Loaded {
    /// What was added to the module's addresses (`l_addr`).
    pub(super) bias: u64,
    /// True for the binary itself: it comes first.
    pub(super) is_executable: bool,
    /// Its path; empty for the binary itself.
    pub(super) path: PathBuf,
    /// Its dynamic section, which lies in its memory.
    pub(super) dynamic: Addr,
}

/// The binary's program headers and what was added to its addresses.
pub(super) fn executable(core: &Core) -> Option<(Vec<ProgramHeader>, u64)> {
    let address = core.auxiliary(AT_PHDR).map(Addr)?;
    let programs = table_at(core, address, core.auxiliary(AT_PHNUM)?)?;
    // A binary without PT_PHDR is linked at a fixed address.
    let own = programs.iter().find(|program| program.kind == elf::PT_PHDR.0);
    let bias = own.map_or(0, |own| address.0.wrapping_sub(own.address));
    Some((programs, bias))
}

/// The list of loaded modules, the binary first. Empty if it cannot be found: in a static binary, and where the binary's
/// headers are not saved and nobody has added the binary yet.
pub(super) fn read(core: &Core) -> Vec<Loaded> {
    let mut found = Vec::new();
    let mut seen = FxHashSet::default();
    let mut next = first_entry(core);
    while let Some(entry) = next.filter(|entry| !entry.is_null() && seen.insert(entry.0) && seen.len() <= MAX_MODULES) {
        found.extend(loaded(core, entry, seen.len() == 1));
        next = core.read_pointer(entry + L_NEXT).ok();
    }
    found
}

fn loaded(core: &Core, entry: Addr, is_executable: bool) -> Option<Loaded> {
    Some(Loaded {
        bias: core.read_u64(entry).ok()?,
        is_executable,
        path: text(core, core.read_pointer(entry + L_NAME).ok()?),
        dynamic: core.read_pointer(entry + L_LD).ok()?,
    })
}

/// `DT_DEBUG` of the binary's dynamic section leads to `struct r_debug`, and that to the first entry.
fn first_entry(core: &Core) -> Option<Addr> {
    let (programs, bias) = executable(core)?;
    let dynamic = programs.iter().find(|program| program.kind == elf::PT_DYNAMIC.0)?;
    let start = Addr(dynamic.address.wrapping_add(bias));
    let count = (dynamic.memory_size / 16).min(MAX_DYNAMIC);
    let entries = (0..count).map_while(|index| {
        let entry = start + index * 16;
        let (tag, value) = (core.read_u64(entry).ok()?, core.read_u64(entry + 8).ok()?);
        (tag != elf::DT_NULL.0 as u64).then_some((tag, value))
    });
    let mut entries = entries.filter(|(tag, _)| *tag == elf::DT_DEBUG.0 as u64);
    let (_, debug) = entries.next().filter(|(_, debug)| *debug != 0)?;
    core.read_pointer(Addr(debug) + R_MAP).ok()
}

/// The text at `address` up to its zero byte; none if that byte is out of reach.
pub(super) fn text(core: &Core, address: Addr) -> PathBuf {
    let mut text = Vec::new();
    let mut piece = [0; 64];
    let mut size = piece.len();
    while text.len() < MAX_PATH {
        let at = address + text.len() as u64;
        let bytes = piece.get_mut(..size).unwrap_or_default();
        match core.read(at, bytes) {
            Ok(()) => {
                let end = bytes.iter().position(|byte| *byte == 0);
                text.extend(bytes.iter().take(end.unwrap_or(size)));
                if end.is_some() {
                    return PathBuf::from(OsStr::from_bytes(&text));
                }
            }
            // It lies near the end of what is saved.
            Err(_) if size > 1 => size = 1,
            Err(_) => break,
        }
    }
    PathBuf::new()
}
