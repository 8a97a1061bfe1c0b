//! The binaries that were mapped: from `NT_FILE`, and from the dynamic loader's list where that is missing.

use super::link_map::{self, AT_PHDR, Loaded};
use super::{Core, image};
use crate::addr::{Addr, AddrRange};
use crate::target::maps::{Backing, file_backing};
use rustc_hash::FxHashMap;
use std::path::{Path, PathBuf};

/// `AT_…` of the auxiliary vector.
const AT_ENTRY: u64 = 9;
const AT_EXECFN: u64 = 31;
const AT_SYSINFO_EHDR: u64 = 33;

/// A binary or a library that the process ran from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreModule {
    /// Its path in the process's mount namespace, without the kernel's ` (deleted)`.
    pub path: PathBuf,
    /// Its build-id, from its first page in memory; `None` if that is not saved, or it was linked without one.
    pub build_id: Option<Vec<u8>>,
    /// Where parts of it are mapped, and from which offset in the file, in bytes: what [`Core::add_file`] takes.
    pub ranges: Vec<(AddrRange, u64)>,
    /// True for the program itself.
    pub is_executable: bool,
    /// What the dynamic loader added to its addresses (`l_addr`), where the loader's list could be read.
    pub link_map_bias: Option<u64>,
}

impl CoreModule {
    /// Where parts of it start in memory, and at which offset in the file.
    pub fn mappings(&self) -> Vec<(Addr, u64)> {
        self.ranges.iter().map(|(range, offset)| (range.start, *offset)).collect()
    }

    fn new(path: &Path) -> CoreModule {
        CoreModule { path: path.into(), build_id: None, ranges: Vec::new(), is_executable: false, link_map_bias: None }
    }

    fn contains(&self, address: Addr) -> bool {
        self.ranges.iter().any(|(range, _)| range.contains(address))
    }
}

impl Core {
    /// The binaries that were mapped, in the order of their addresses. What the core does not hold of them can be answered from
    /// files ([`Core::add_file`]); after that more may be known: gcore does not save the binary's headers, by which the
    /// loader's list is found.
    pub fn modules(&self) -> Vec<CoreModule> {
        let mut modules = self.mapped_files();
        let executable = self.mark_executable(&mut modules);
        for loaded in link_map::read(self) {
            self.add_loaded(loaded, executable, &mut modules);
        }
        for module in &mut modules {
            module.build_id = image::build_id(self, &module.ranges);
        }
        modules.retain(|module| self.is_binary(module));
        modules.sort_by_key(|module| module.ranges.first().map(|(range, _)| range.start));
        modules
    }

    /// All files of `NT_FILE` that are no shared memory.
    fn mapped_files(&self) -> Vec<CoreModule> {
        let mut modules: Vec<CoreModule> = Vec::new();
        let mut by_path: FxHashMap<PathBuf, usize> = FxHashMap::default();
        for file in &self.notes.files {
            let Backing::File { path, .. } = file_backing(&file.path, true) else { continue };
            let index = by_path.get(&path).copied().unwrap_or(modules.len());
            if index == modules.len() {
                modules.push(CoreModule::new(&path));
                by_path.insert(path, index);
            }
            if let Some(module) = modules.get_mut(index) {
                module.ranges.push((file.range, file.offset));
            }
        }
        modules
    }

    /// Marks the program itself, and adds it where `NT_FILE` does not list it. Its place in the list.
    fn mark_executable(&self, modules: &mut Vec<CoreModule>) -> Option<usize> {
        let known = [self.auxiliary(AT_ENTRY), self.auxiliary(AT_PHDR)];
        let holds = |module: &CoreModule| known.iter().flatten().any(|address| module.contains(Addr(*address)));
        let index = match modules.iter().position(holds) {
            Some(index) => index,
            None => {
                modules.push(self.unlisted_executable()?);
                modules.len() - 1
            }
        };
        modules.get_mut(index)?.is_executable = true;
        Some(index)
    }

    fn unlisted_executable(&self) -> Option<CoreModule> {
        let (programs, bias) = link_map::executable(self)?;
        let path = link_map::text(self, Addr(self.auxiliary(AT_EXECFN).unwrap_or(0)));
        let path = if path.as_os_str().is_empty() { PathBuf::from(&self.process().name) } else { path };
        let ranges = image::ranges_of(&programs, bias, self.page_size);
        Some(CoreModule { ranges, ..CoreModule::new(&path) })
    }

    /// Adds what the loader knows to the module whose memory holds its dynamic section, or a new module.
    fn add_loaded(&self, loaded: Loaded, executable: Option<usize>, modules: &mut Vec<CoreModule>) {
        let vdso = self.auxiliary(AT_SYSINFO_EHDR).and_then(|address| self.segments.at(Addr(address)));
        if vdso.is_some_and(|vdso| vdso.range.contains(loaded.dynamic)) {
            return;
        }
        let is_same = |module: &CoreModule| module.contains(loaded.dynamic) || module.path == loaded.path;
        let index = match executable.filter(|_| loaded.is_executable) {
            Some(index) => Some(index),
            None => modules.iter().position(is_same),
        };
        match index.and_then(|index| modules.get_mut(index)) {
            Some(module) => module.link_map_bias = Some(loaded.bias),
            None if loaded.path.as_os_str().is_empty() => {}
            None => modules.push(CoreModule {
                ranges: self.loaded_ranges(loaded.bias),
                link_map_bias: Some(loaded.bias),
                ..CoreModule::new(&loaded.path)
            }),
        }
    }

    /// Where a library lies that was loaded with `bias`: by its own headers, or at least its first segment.
    fn loaded_ranges(&self, bias: u64) -> Vec<(AddrRange, u64)> {
        if let Some(programs) = image::programs(self, Addr(bias)) {
            return image::ranges_of(&programs, bias, self.page_size);
        }
        self.segments.at(Addr(bias)).map(|segment| (segment.range, 0)).into_iter().collect()
    }

    /// Fonts, locales and caches are mapped too, but nothing of them runs.
    fn is_binary(&self, module: &CoreModule) -> bool {
        let runs = |range: &AddrRange| self.segments.at(range.start).is_some_and(|segment| segment.executable);
        let is_loaded = module.is_executable || module.link_map_bias.is_some() || module.build_id.is_some();
        is_loaded || module.ranges.iter().any(|(range, _)| runs(range))
    }
}
