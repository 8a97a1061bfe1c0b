//! The DWARF of one module, spread over its debug file, a supplement and split files, as one set of entries.

use super::choose::Sources;
use super::elf::ElfFile;
use super::error::DebugError;
use super::file::{DwarfFile, Slice};
use super::index::Known;
use super::locate::SearchOptions;
use super::split::Splits;
use super::supplement;
use super::types::{EntryId, Layout, Place, TypeId, TypeKind};
use super::unit::{Entry, Unit, string_at};
use gimli::{AttributeValue, DwAt, SectionId, UnitType};
use rustc_hash::FxHashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Index of the debug file itself.
pub(crate) const MAIN: u32 = 0;
/// Index of the supplement.
pub(crate) const SUPPLEMENT: u32 = 1;
/// Index of the first split file.
pub(crate) const FIRST_SPLIT: u32 = 2;

/// All files that describe one module.
#[derive(Debug)]
pub(crate) struct Dwarf {
    pub(crate) main: DwarfFile,
    supplement: Result<Option<DwarfFile>, DebugError>,
    splits: OnceLock<Result<Splits, DebugError>>,
    /// The paths of the binary and of its debug file, as seen from here: split files may lie beside them.
    beside: Vec<PathBuf>,
    root: Option<PathBuf>,
    type_units: Mutex<FxHashMap<Place, Arc<FxHashMap<u64, EntryId>>>>,
    pub(crate) layouts: Mutex<FxHashMap<EntryId, Arc<Layout>>>,
    pub(crate) kinds: Mutex<FxHashMap<TypeId, TypeKind>>,
    pub(crate) names: Known,
    pub(crate) sources: Sources,
}

impl Dwarf {
    /// Opens the DWARF of a debug file that was found at `shown`. Nothing is parsed yet.
    pub(crate) fn open(debug: Arc<ElfFile>, shown: &Path, binary: &Path, options: &SearchOptions) -> Dwarf {
        let supplement = supplement::load(&debug, shown, options);
        Dwarf {
            supplement,
            main: DwarfFile::linked(debug),
            splits: OnceLock::new(),
            beside: vec![binary.into(), shown.into()],
            root: options.root.clone(),
            type_units: Mutex::default(),
            layouts: Mutex::default(),
            kinds: Mutex::default(),
            names: Mutex::default(),
            sources: Mutex::default(),
        }
    }

    /// The supplement, if the debug file refers to one. That it is missing is an error only when it is needed.
    pub(crate) fn supplement(&self) -> Result<Option<&DwarfFile>, DebugError> {
        self.supplement.as_ref().map(Option::as_ref).map_err(Clone::clone)
    }

    /// The skeleton units of the debug file.
    pub(crate) fn splits(&self) -> Result<&Splits, DebugError> {
        let list = || Splits::list(&self.main, self.beside.clone(), self.root.clone());
        self.splits.get_or_init(list).as_ref().map_err(Clone::clone)
    }

    /// The contents of a split unit.
    pub(crate) fn split(&self, index: usize) -> Result<&DwarfFile, DebugError> {
        let splits = self.splits()?;
        splits.contents(index).map_err(|tried| DebugError::SplitMissing {
            path: self.main.path().into(),
            first: splits.units.get(index).map(|unit| unit.name.clone()).unwrap_or_default(),
            missing: (0..splits.units.len()).filter(|&index| splits.contents(index).is_err()).count(),
            total: splits.units.len(),
            tried: tried.to_vec(),
        })
    }

    /// The file that a place is in.
    pub(crate) fn file(&self, place: Place) -> Result<&DwarfFile, DebugError> {
        match place.file {
            MAIN => Ok(&self.main),
            SUPPLEMENT => self.supplement()?.ok_or_else(|| {
                self.main.damaged(false, "a reference into a supplementary file, of which there is none")
            }),
            split => self.split((split - FIRST_SPLIT) as usize),
        }
    }

    /// Opens the unit at a range of a place.
    pub(crate) fn unit(&self, place: Place, range: Range<usize>) -> Result<Unit<'_>, DebugError> {
        let mut unit = Unit::open(self.file(place)?, place, range)?;
        if place.file >= FIRST_SPLIT
            && let Some(skeleton) = self.splits()?.units.get((place.file - FIRST_SPLIT) as usize)
        {
            unit.addr_base = skeleton.addr_base;
        }
        Ok(unit)
    }

    /// Opens the unit that holds an entry.
    pub(crate) fn unit_of(&self, id: EntryId) -> Result<Unit<'_>, DebugError> {
        let range = self.file(id.place)?.unit_around(id.place.type_units, id.offset)?;
        self.unit(id.place, range)
    }

    /// Reads an entry, together with its unit.
    pub(crate) fn entry(&self, id: EntryId) -> Result<(Unit<'_>, Entry<'_>), DebugError> {
        let unit = self.unit_of(id)?;
        let entry = unit.entry(id)?;
        Ok((unit, entry))
    }

    /// What an attribute of an entry refers to; `None` if it has no such attribute or that is no reference.
    pub(crate) fn reference(
        &self,
        unit: &Unit<'_>,
        entry: &Entry<'_>,
        name: DwAt,
    ) -> Result<Option<EntryId>, DebugError> {
        let info = |file: u32, offset: usize| EntryId { place: Place { file, type_units: false }, offset };
        Ok(match entry.attr_value(name) {
            Some(AttributeValue::UnitRef(offset)) => {
                let offset = unit.range.start.checked_add(offset.0).filter(|offset| unit.range.contains(offset));
                let offset = offset.ok_or_else(|| unit.damaged("a reference leads out of its unit"))?;
                Some(EntryId { place: unit.place, offset })
            }
            Some(AttributeValue::DebugInfoRef(offset)) => Some(info(unit.place.file, offset.0)),
            Some(AttributeValue::DebugInfoRefSup(offset)) => Some(info(SUPPLEMENT, offset.0)),
            Some(AttributeValue::DebugTypesRef(signature)) => Some(self.type_unit(unit, signature.0)?),
            _ => None,
        })
    }

    /// The string of an attribute, from whichever file holds it.
    pub(crate) fn string<'a>(
        &'a self,
        unit: &Unit<'a>,
        value: AttributeValue<Slice<'a>>,
    ) -> Result<Option<&'a [u8]>, DebugError> {
        let AttributeValue::DebugStrRefSup(offset) = value else { return unit.string(value) };
        let strings = self.file(Place { file: SUPPLEMENT, type_units: false })?.section(SectionId::DebugStr)?;
        let string = string_at(strings, offset.0);
        string.map(Some).ok_or_else(|| unit.damaged("a string of the supplementary file is not there"))
    }

    /// A name as text; empty if there is none.
    pub(crate) fn text<'a>(&'a self, unit: &Unit<'a>, entry: &Entry<'a>, name: DwAt) -> Result<String, DebugError> {
        let string = entry.attr_value(name).map(|value| self.string(unit, value)).transpose()?.flatten();
        Ok(string.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default())
    }

    /// The entry that a type unit with that signature describes.
    fn type_unit(&self, unit: &Unit<'_>, signature: u64) -> Result<EntryId, DebugError> {
        for type_units in [false, true] {
            let place = Place { file: unit.place.file, type_units };
            if let Some(found) = self.signatures(place)?.get(&signature) {
                return Ok(*found);
            }
        }
        Err(unit.damaged(format!("the type unit {signature:016x} is not in this file")))
    }

    /// All type units of a place, by signature.
    fn signatures(&self, place: Place) -> Result<Arc<FxHashMap<u64, EntryId>>, DebugError> {
        let lock = || self.type_units.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(&place) {
            return Ok(known.clone());
        }
        let mut found = FxHashMap::default();
        for range in self.file(place)?.units(place.type_units)? {
            let unit = self.unit(place, range.clone())?;
            if let UnitType::Type { type_signature, type_offset }
            | UnitType::SplitType { type_signature, type_offset } = unit.header.type_()
            {
                found.insert(type_signature.0, EntryId { place, offset: range.start.saturating_add(type_offset.0) });
            }
        }
        let found = Arc::new(found);
        lock().insert(place, found.clone());
        Ok(found)
    }
}
