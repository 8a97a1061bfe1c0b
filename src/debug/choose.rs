//! Which units to look at first, by what the caller knows of where a name is defined.

use super::dwarf::{Dwarf, FIRST_SPLIT, MAIN, SUPPLEMENT};
use super::error::DebugError;
use super::file::DwarfFile;
use super::needles;
use super::types::Place;
use gimli::{SectionId, constants};
use memchr::memmem;
use rustc_hash::FxHashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Which units are looked at before all others.
#[derive(Clone, Copy, Debug)]
pub(crate) enum First<'a> {
    /// None in particular.
    Any,
    /// Those of a source file, by its name or the end of its path.
    Source(&'a str),
    /// Those whose bytes hold this pattern, such as an address.
    Containing(&'a [u8]),
}

impl<'a> First<'a> {
    /// Those of a source file, if one is given.
    pub(crate) fn source(source: Option<&'a str>) -> First<'a> {
        source.map_or(First::Any, First::Source)
    }
}

/// The units found for each place and source file.
pub(crate) type Sources = Mutex<FxHashMap<(Place, String), Vec<Range<usize>>>>;

/// The units of a place that were compiled from the source file `hint` (its name, or the end of its path). They are
/// looked for once.
pub(crate) fn units_named(dwarf: &Dwarf, place: Place, hint: &str) -> Result<Vec<Range<usize>>, DebugError> {
    let key = (place, hint.to_string());
    let sources = || dwarf.sources.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = sources().get(&key) {
        return Ok(known.clone());
    }
    let found = find_units_named(dwarf, place, hint)?;
    sources().insert(key, found.clone());
    Ok(found)
}

fn find_units_named(dwarf: &Dwarf, place: Place, hint: &str) -> Result<Vec<Range<usize>>, DebugError> {
    /// A unit's own entry lies at its start, and is seldom longer than this with its strings inline.
    const ROOT_REACH: usize = 512;
    let file = dwarf.file(place)?;
    let needles = needles::unit_name_needles(file, hint)?;
    let inline = needles::terminated(hint);
    let indexed = file.has(SectionId::DebugStrOffsets) || place.file == SUPPLEMENT;
    let shared = place.file == MAIN && dwarf.supplement().ok().flatten().is_some();
    let mut found = Vec::new();
    for range in file.units(place.type_units)? {
        let bytes = file.unit_bytes(place.type_units, range.clone())?;
        let start = bytes.get(..ROOT_REACH).unwrap_or(bytes);
        if indexed || shared || needles.occur_in(start) || memmem::find(start, &inline).is_some() {
            let unit = dwarf.unit(place, range.clone())?;
            let name = dwarf.text(&unit, &unit.root()?, constants::DW_AT_name)?;
            if name.strip_suffix(hint).is_some_and(|before| before.is_empty() || before.ends_with('/')) {
                found.push(range.clone());
            }
        }
    }
    Ok(found)
}

/// The units whose bytes hold a pattern.
pub(crate) fn units_containing(dwarf: &Dwarf, place: Place, pattern: &[u8]) -> Result<Vec<Range<usize>>, DebugError> {
    let file = dwarf.file(place)?;
    let section = file.section(DwarfFile::entries_section(place.type_units))?;
    let mut found: Vec<Range<usize>> = Vec::new();
    for offset in memmem::find_iter(section, pattern) {
        if found.last().is_none_or(|last| !last.contains(&offset)) {
            found.push(file.unit_around(place.type_units, offset)?);
        }
    }
    Ok(found)
}

/// The split files, those of the hinted source file first: `malloc.dwo` is made from `malloc.c`.
pub(crate) fn split_order(dwarf: &Dwarf, count: u32, first: First<'_>) -> Vec<Place> {
    let stem = match first {
        First::Source(source) => Path::new(source).file_stem(),
        First::Any | First::Containing(_) => None,
    };
    let names = dwarf.splits().map(|splits| splits.units.as_slice()).unwrap_or_default();
    let mut order: Vec<u32> = (0..count).collect();
    order.sort_by_key(|&index| {
        let name = names.get(index as usize).and_then(|unit| unit.name.file_stem());
        // gcc names the file after the object file, which can end in `.o` or carry a prefix (`a-malloc.dwo`).
        stem.is_none()
            || !name.is_some_and(|name| name.to_string_lossy().contains(&*stem.unwrap_or_default().to_string_lossy()))
    });
    order.into_iter().map(|index| Place { file: FIRST_SPLIT + index, type_units: false }).collect()
}
