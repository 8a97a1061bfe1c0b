//! Which malloc the target uses. Only glibc's is walked; others are named.

use crate::target::maps::{Backing, Maps};
use std::path::Path;

/// An allocator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allocator {
    /// glibc, in the library at this path, or linked statically into the binary.
    Glibc,
    /// musl.
    Musl,
    /// Another library that takes malloc's place, by name.
    Replacement(&'static str),
    /// None that is known.
    Unknown,
}

impl Allocator {
    /// What it is called.
    pub fn name(&self) -> &'static str {
        match self {
            Allocator::Glibc => "glibc",
            Allocator::Musl => "musl",
            Allocator::Replacement(name) => name,
            Allocator::Unknown => "unknown",
        }
    }
}

/// Libraries that replace malloc when they are loaded, by a part of their file name.
const REPLACEMENTS: &[(&str, &str)] = &[
    ("libjemalloc", "jemalloc"),
    ("libtcmalloc", "tcmalloc"),
    ("libmimalloc", "mimalloc"),
    ("libsnmalloc", "snmalloc"),
    ("librpmalloc", "rpmalloc"),
    ("libhoard", "Hoard"),
];

/// Functions that only a binary has into which such an allocator was linked.
const REPLACEMENT_SYMBOLS: &[(&str, &str)] = &[
    ("mallocx", "jemalloc"),
    ("je_mallocx", "jemalloc"),
    ("tc_malloc", "tcmalloc"),
    ("TCMallocInternalMalloc", "tcmalloc"),
    ("mi_malloc", "mimalloc"),
];

/// Recognises the allocator by the libraries that are mapped, and by symbols of the binary (`has_symbol`).
pub fn recognise(maps: &Maps, has_symbol: impl Fn(&str) -> bool) -> Allocator {
    let mut libc = Allocator::Unknown;
    for mapping in &maps.0 {
        let Backing::File { path, .. } = &mapping.backing else { continue };
        let name = file_name(path);
        if let Some((_, allocator)) = REPLACEMENTS.iter().find(|(part, _)| name.starts_with(part)) {
            return Allocator::Replacement(allocator);
        }
        if is_glibc(path) {
            libc = Allocator::Glibc;
        } else if is_musl(path) {
            libc = Allocator::Musl;
        }
    }
    if let Some((_, allocator)) = REPLACEMENT_SYMBOLS.iter().find(|(symbol, _)| has_symbol(symbol)) {
        return Allocator::Replacement(allocator);
    }
    match libc {
        Allocator::Unknown if has_symbol("main_arena") => Allocator::Glibc,
        libc => libc,
    }
}

/// True for the path of glibc's library: `libc.so.6`, or `libc-2.31.so` in older releases.
pub fn is_glibc(path: &Path) -> bool {
    let name = file_name(path);
    name == "libc.so.6" || (name.starts_with("libc-2.") && name.ends_with(".so"))
}

/// True for musl's library, which is its loader as well. Alpine and others keep it as `/lib/ld-musl-ARCH.so.1`; Debian as
/// `/usr/lib/ARCH-linux-musl/libc.so`, to which that name is only a link.
fn is_musl(path: &Path) -> bool {
    let name = file_name(path);
    let in_folder_of_musl =
        path.components().any(|folder| folder.as_os_str().to_string_lossy().ends_with("-linux-musl"));
    name.starts_with("ld-musl-") || name.starts_with("libc.musl-") || (name == "libc.so" && in_folder_of_musl)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{Addr, AddrRange};
    use crate::target::maps::Mapping;

    fn maps(paths: &[&str]) -> Maps {
        let mapping = |path: &&str| Mapping {
            range: AddrRange::new(Addr(0), Addr(0x1000)),
            file_offset: 0,
            inode: 1,
            device: (0, 0),
            readable: true,
            writable: false,
            executable: true,
            backing: Backing::File { path: path.into(), deleted: false },
            resident: None,
            swapped: None,
        };
        Maps(paths.iter().map(mapping).collect())
    }

    #[test]
    fn a_preloaded_allocator_counts_more_than_the_libc_beside_it() {
        let both = maps(&["/usr/sbin/nginx", "/usr/lib/libjemalloc.so.2", "/lib/libc.so.6"]);
        assert_eq!(recognise(&both, |_| false), Allocator::Replacement("jemalloc"));
    }

    #[test]
    fn libraries_of_old_and_new_glibc_are_recognised() {
        assert_eq!(recognise(&maps(&["/lib/x86_64-linux-gnu/libc-2.31.so"]), |_| false), Allocator::Glibc);
        assert_eq!(recognise(&maps(&["/lib/x86_64-linux-gnu/libc.so.6"]), |_| false), Allocator::Glibc);
        assert_eq!(recognise(&maps(&["/lib/libcrypt.so.1"]), |_| false), Allocator::Unknown);
    }

    #[test]
    fn musl_and_static_binaries_are_recognised() {
        assert_eq!(recognise(&maps(&["/lib/ld-musl-x86_64.so.1"]), |_| false), Allocator::Musl);
        assert_eq!(recognise(&maps(&["/usr/lib/x86_64-linux-musl/libc.so"]), |_| false), Allocator::Musl);
        assert_eq!(recognise(&maps(&["/bin/a"]), |name| name == "main_arena"), Allocator::Glibc);
        assert_eq!(recognise(&maps(&["/lib/libc.so.6"]), |name| name == "tc_malloc").name(), "tcmalloc");
    }
}
