//! Split DWARF (`-gsplit-dwarf`): the `.dwo` files, or the `.dwp` package, that hold what skeleton units stand for.

use super::elf::ElfFile;
use super::error::DebugError;
use super::file::{DwarfFile, Slice};
use super::locate::{Candidate, Refusal, Tried};
use super::types::Place;
use super::unit::Unit;
use gimli::{AttributeValue, DebugAddrBase, DwoId, SectionId, constants};
use rustc_hash::FxHashMap;
use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// A unit that the linked file only stands in for.
#[derive(Debug)]
pub(crate) struct SplitUnit {
    /// Ties the skeleton to the split unit.
    pub(crate) id: DwoId,
    /// The split file as the compiler named it.
    pub(crate) name: PathBuf,
    /// The directory of the compilation, which `name` is relative to.
    directory: PathBuf,
    /// The part of the linked file's `.debug_addr` that the unit's addresses are numbered in.
    pub(crate) addr_base: DebugAddrBase<usize>,
    contents: OnceLock<Result<DwarfFile, Vec<Tried>>>,
}

/// All split units of a linked file.
#[derive(Debug)]
pub(crate) struct Splits {
    pub(crate) units: Vec<SplitUnit>,
    /// Where a package may lie, as seen from here.
    beside: Vec<PathBuf>,
    root: Option<PathBuf>,
    package: OnceLock<Result<DwarfFile, Vec<Tried>>>,
}

impl Splits {
    /// Lists the skeleton units of a linked file. `beside` are the paths of the binary and its debug file.
    pub(crate) fn list(main: &DwarfFile, beside: Vec<PathBuf>, root: Option<PathBuf>) -> Result<Splits, DebugError> {
        let mut units = Vec::new();
        // Before DWARF 5 only an attribute tells a skeleton; those have their addresses in .debug_addr.
        let older = main.has(SectionId::DebugAddr);
        for range in main.units(false)? {
            if let Some(unit) = skeleton(main, range.clone(), older)? {
                units.push(unit);
            }
        }
        Ok(Splits { units, beside, root, package: OnceLock::new() })
    }

    /// The contents of a split unit, opened when first asked for; else the places that were looked at.
    pub(crate) fn contents(&self, index: usize) -> Result<&DwarfFile, &[Tried]> {
        let Some(unit) = self.units.get(index) else { return Err(&[]) };
        unit.contents.get_or_init(|| self.open(unit)).as_ref().map_err(Vec::as_slice)
    }

    fn open(&self, unit: &SplitUnit) -> Result<DwarfFile, Vec<Tried>> {
        let package = self.package.get_or_init(|| self.find_package());
        let mut tried = match package {
            Ok(package) => match from_package(package, unit.id) {
                Ok(contents) => return Ok(contents),
                Err(refusal) => vec![Tried { path: package.path().into(), refusal }],
            },
            Err(tried) => tried.clone(),
        };
        for candidate in self.candidates(unit) {
            match candidate.open().and_then(|elf| verify(elf, unit.id)) {
                Ok(contents) => return Ok(contents),
                Err(refusal) => tried.push(Tried { path: candidate.display_path(), refusal }),
            }
        }
        Err(tried)
    }

    fn find_package(&self) -> Result<DwarfFile, Vec<Tried>> {
        let mut tried = Vec::new();
        for beside in &self.beside {
            let mut name = OsString::from(beside);
            name.push(".dwp");
            let candidate = Candidate { root: None, path: name.into() };
            match candidate.open() {
                Ok(elf) => return Ok(DwarfFile::split(Arc::new(elf))),
                Err(refusal) => tried.push(Tried { path: candidate.path, refusal }),
            }
        }
        Err(tried)
    }

    /// Where a `.dwo` file may be: where it was compiled, or moved beside the binary or its debug file.
    fn candidates(&self, unit: &SplitUnit) -> Vec<Candidate<'_>> {
        let compiled = unit.directory.join(&unit.name);
        let mut found = vec![Candidate { root: self.root.as_deref(), path: compiled.clone() }];
        if self.root.is_some() {
            found.push(Candidate { root: None, path: compiled });
        }
        for beside in &self.beside {
            let directory = beside.parent().unwrap_or(Path::new("/"));
            let names = [Some(unit.name.as_os_str()).filter(|_| unit.name.is_relative()), unit.name.file_name()];
            for path in names.into_iter().flatten().map(|name| directory.join(name)) {
                let candidate = Candidate { root: None, path };
                if !found.contains(&candidate) {
                    found.push(candidate);
                }
            }
        }
        found
    }
}

/// What a unit stands for, if it is a skeleton.
fn skeleton(main: &DwarfFile, range: Range<usize>, older: bool) -> Result<Option<SplitUnit>, DebugError> {
    let place = Place { file: 0, type_units: false };
    let section = main.section(SectionId::DebugInfo)?;
    if !may_be_skeleton(section.get(range.clone()).unwrap_or_default(), older) {
        return Ok(None);
    }
    let unit = Unit::open(main, place, range)?;
    let root = unit.root()?;
    let name = root.attr_value(constants::DW_AT_dwo_name).or_else(|| root.attr_value(constants::DW_AT_GNU_dwo_name));
    let (Some(name), Some(id)) = (name, unit.dwo_id(&root)) else { return Ok(None) };
    Ok(Some(SplitUnit {
        id,
        name: path(&unit, Some(name))?,
        directory: path(&unit, root.attr_value(constants::DW_AT_comp_dir))?,
        addr_base: unit.addr_base,
        contents: OnceLock::new(),
    }))
}

fn path<'a>(unit: &Unit<'a>, value: Option<AttributeValue<Slice<'a>>>) -> Result<PathBuf, DebugError> {
    let string = value.map(|value| unit.string(value)).transpose()?.flatten();
    Ok(PathBuf::from(OsStr::from_bytes(string.unwrap_or_default())))
}

/// A look at the header alone: DWARF 5 states the kind of unit there, in the byte after the version.
fn may_be_skeleton(unit: &[u8], older: bool) -> bool {
    const DW_UT_SKELETON: u8 = 4;
    let after_length = if unit.starts_with(&[0xff; 4]) { 12 } else { 4 };
    match unit.get(after_length..after_length + 3) {
        Some([5, 0, kind]) => *kind == DW_UT_SKELETON,
        Some([2..=4, 0, _]) => older,
        _ => false,
    }
}

/// Accepts a `.dwo` file if it holds the unit with that identifier.
fn verify(elf: ElfFile, id: DwoId) -> Result<DwarfFile, Refusal> {
    let file = DwarfFile::split(Arc::new(elf));
    if !file.has(SectionId::DebugInfo) {
        return Err(Refusal::NoDebugInfo);
    }
    let unusable = |error: DebugError| Refusal::Unusable(error.to_string());
    let place = Place { file: 0, type_units: false };
    for range in file.units(false).map_err(unusable)? {
        let unit = Unit::open(&file, place, range.clone()).map_err(unusable)?;
        if unit.dwo_id(&unit.root().map_err(unusable)?) == Some(id) {
            drop(unit);
            return Ok(file);
        }
    }
    Err(Refusal::OtherSplit { wanted: id.0 })
}

/// The parts of a package (DWARF 5, 7.3.5) that belong to the unit with that identifier.
fn from_package(package: &DwarfFile, id: DwoId) -> Result<DwarfFile, Refusal> {
    let unusable = |reason: String| Refusal::Unusable(reason);
    let index = package.slice(SectionId::DebugCuIndex).map_err(|error| unusable(error.to_string()))?;
    let index = gimli::DebugCuIndex::from(index).index().map_err(|error| unusable(error.to_string()))?;
    let row = index.find(id.0).ok_or(Refusal::OtherSplit { wanted: id.0 })?;
    let mut parts = FxHashMap::default();
    for part in index.sections(row).map_err(|error| unusable(error.to_string()))? {
        let section = part.section.section_id();
        let whole = package.section(section).map_err(|error| unusable(error.to_string()))?;
        let start = part.offset as usize;
        let bytes = whole.slice(start..start.saturating_add(part.size as usize));
        let bytes = bytes.ok_or_else(|| unusable(format!("its index reaches past the end of {}", section.name())))?;
        parts.insert(section, bytes);
    }
    let strings = package.section(SectionId::DebugStr).map_err(|error| unusable(error.to_string()))?;
    parts.insert(SectionId::DebugStr, strings.clone());
    Ok(DwarfFile::parts(package.path(), parts))
}
