//! One file with DWARF in it: its sections, inflated when first used, and its units.

use super::bytes::Bytes;
use super::elf::ElfFile;
use super::error::DebugError;
use gimli::{Abbreviations, DebugAbbrevOffset, EndianSlice, LittleEndian, SectionId};
use rustc_hash::FxHashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

/// What DWARF is parsed from: bytes borrowed from a [`DwarfFile`].
pub(crate) type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// The sections that are ever read. A section's place here is its place in [`DwarfFile::sections`].
const SECTIONS: [SectionId; 14] = [
    SectionId::DebugInfo,
    SectionId::DebugAbbrev,
    SectionId::DebugStr,
    SectionId::DebugLineStr,
    SectionId::DebugStrOffsets,
    SectionId::DebugTypes,
    SectionId::DebugAddr,
    SectionId::DebugAranges,
    SectionId::DebugLine,
    SectionId::DebugRanges,
    SectionId::DebugRngLists,
    SectionId::DebugLoc,
    SectionId::DebugLocLists,
    SectionId::DebugCuIndex,
];

/// The sections that a search for types by name reads.
pub(crate) const TYPE_SECTIONS: [SectionId; 4] =
    [SectionId::DebugInfo, SectionId::DebugAbbrev, SectionId::DebugStr, SectionId::DebugLineStr];

/// Where the sections of a file come from.
#[derive(Debug)]
enum Source {
    /// An ELF file that is linked, or a supplement.
    Linked(Arc<ElfFile>),
    /// A `.dwo` or `.dwp` file: section names end in `.dwo`.
    Split(Arc<ElfFile>),
    /// Given one by one: the parts of a `.dwp` file that belong to one unit.
    Parts(FxHashMap<SectionId, Bytes>),
}

/// A file with DWARF: the debug file, the supplement that dwz makes, or a split file.
#[derive(Debug)]
pub(crate) struct DwarfFile {
    path: PathBuf,
    source: Source,
    sections: [OnceLock<Result<Bytes, DebugError>>; SECTIONS.len()],
    units: OnceLock<Result<Vec<Range<usize>>, DebugError>>,
    type_units: OnceLock<Result<Vec<Range<usize>>, DebugError>>,
    abbreviations: Mutex<FxHashMap<usize, Arc<Abbreviations>>>,
    has_bases: OnceLock<bool>,
}

impl DwarfFile {
    pub(crate) fn linked(elf: Arc<ElfFile>) -> DwarfFile {
        DwarfFile::new(elf.path().into(), Source::Linked(elf))
    }

    pub(crate) fn split(elf: Arc<ElfFile>) -> DwarfFile {
        DwarfFile::new(elf.path().into(), Source::Split(elf))
    }

    pub(crate) fn parts(path: &Path, parts: FxHashMap<SectionId, Bytes>) -> DwarfFile {
        DwarfFile::new(path.into(), Source::Parts(parts))
    }

    fn new(path: PathBuf, source: Source) -> DwarfFile {
        DwarfFile {
            path,
            source,
            sections: Default::default(),
            units: OnceLock::new(),
            type_units: OnceLock::new(),
            abbreviations: Mutex::default(),
            has_bases: OnceLock::new(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// True for the contents of a `.dwo` or `.dwp` file.
    pub(crate) fn is_split(&self) -> bool {
        !matches!(self.source, Source::Linked(_))
    }

    /// A section's bytes, inflated when first asked for; none if the file has no such section.
    pub(crate) fn section(&self, id: SectionId) -> Result<&Bytes, DebugError> {
        static NOTHING: OnceLock<Bytes> = OnceLock::new();
        let slot = SECTIONS.iter().position(|known| *known == id).and_then(|index| self.sections.get(index));
        match slot {
            Some(slot) => slot.get_or_init(|| self.load(id)).as_ref().map_err(Clone::clone),
            None => Ok(NOTHING.get_or_init(Bytes::default)),
        }
    }

    /// True if the file has the section, which is not inflated for that.
    pub(crate) fn has(&self, id: SectionId) -> bool {
        match &self.source {
            Source::Linked(elf) => elf.has_section(id.name()),
            Source::Split(elf) => id.dwo_name().is_some_and(|name| elf.has_section(name)),
            Source::Parts(parts) => parts.get(&id).is_some_and(|bytes| !bytes.is_empty()),
        }
    }

    /// True if units may say where their part of a section of numbered strings or addresses starts. Without such sections
    /// nobody asks for that, and a unit's own entry need not be read to open it.
    pub(crate) fn has_bases(&self) -> bool {
        *self.has_bases.get_or_init(|| self.has(SectionId::DebugStrOffsets) || self.has(SectionId::DebugAddr))
    }

    /// Inflates several sections at the same time. Failures show when the section is used.
    pub(crate) fn prefetch(&self, ids: &[SectionId]) {
        thread::scope(|scope| {
            for id in ids.iter().filter(|id| self.is_compressed(**id)) {
                // Without another thread it is inflated when it is asked for.
                let _ = thread::Builder::new().spawn_scoped(scope, || self.section(*id).is_ok());
            }
        });
    }

    fn is_compressed(&self, id: SectionId) -> bool {
        match &self.source {
            Source::Linked(elf) => elf.is_compressed(id.name()),
            Source::Split(elf) => id.dwo_name().is_some_and(|name| elf.is_compressed(name)),
            Source::Parts(_) => false,
        }
    }

    fn load(&self, id: SectionId) -> Result<Bytes, DebugError> {
        match &self.source {
            Source::Linked(elf) => elf.section(id.name()),
            Source::Split(elf) => id.dwo_name().map_or(Ok(Bytes::default()), |name| elf.section(name)),
            Source::Parts(parts) => Ok(parts.get(&id).cloned().unwrap_or_default()),
        }
    }

    /// A section, ready to be parsed.
    pub(crate) fn slice(&self, id: SectionId) -> Result<Slice<'_>, DebugError> {
        self.section(id).map(|bytes| EndianSlice::new(bytes, LittleEndian))
    }

    /// The section that holds the entries of a place.
    pub(crate) fn entries_section(type_units: bool) -> SectionId {
        if type_units { SectionId::DebugTypes } else { SectionId::DebugInfo }
    }

    /// Where each unit of `.debug_info` (or of `.debug_types`) starts and ends, in order.
    pub(crate) fn units(&self, type_units: bool) -> Result<&[Range<usize>], DebugError> {
        let slot = if type_units { &self.type_units } else { &self.units };
        slot.get_or_init(|| self.list_units(type_units)).as_deref().map_err(Clone::clone)
    }

    fn list_units(&self, type_units: bool) -> Result<Vec<Range<usize>>, DebugError> {
        let section = self.section(DwarfFile::entries_section(type_units))?;
        let mut ranges = Vec::new();
        let mut start = 0;
        while let Some(rest) = section.get(start..).filter(|rest| !rest.is_empty()) {
            let length = unit_length(rest).ok_or_else(|| {
                self.damaged(type_units, format!("the unit at {start:#x} reaches past the end of the section"))
            })?;
            ranges.push(start..start + length);
            start += length;
        }
        Ok(ranges)
    }

    /// The bytes of a unit.
    pub(crate) fn unit_bytes(&self, type_units: bool, range: Range<usize>) -> Result<&[u8], DebugError> {
        Ok(self.section(DwarfFile::entries_section(type_units))?.get(range).unwrap_or_default())
    }

    /// The unit that holds the entry at an offset.
    pub(crate) fn unit_around(&self, type_units: bool, offset: usize) -> Result<Range<usize>, DebugError> {
        let units = self.units(type_units)?;
        let after = units.partition_point(|unit| unit.start <= offset);
        let found = after.checked_sub(1).and_then(|index| units.get(index)).filter(|unit| offset < unit.end);
        found
            .cloned()
            .ok_or_else(|| self.damaged(type_units, format!("a reference to {offset:#x} leads out of all units")))
    }

    /// A table of abbreviations, parsed once.
    pub(crate) fn abbreviations(&self, offset: usize) -> Result<Arc<Abbreviations>, DebugError> {
        let mut known = self.abbreviations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(&offset) {
            return Ok(found.clone());
        }
        let section = gimli::DebugAbbrev::from(self.slice(SectionId::DebugAbbrev)?);
        let parsed = section
            .abbreviations(DebugAbbrevOffset(offset))
            .map_err(|error| DebugError::malformed(&self.path, ".debug_abbrev", error))?;
        let parsed = Arc::new(parsed);
        known.insert(offset, parsed.clone());
        Ok(parsed)
    }

    /// The error for entries that contradict themselves.
    pub(crate) fn damaged(&self, type_units: bool, reason: impl std::fmt::Display) -> DebugError {
        DebugError::malformed(&self.path, DwarfFile::entries_section(type_units).name(), reason)
    }
}

/// Length of the unit at the start of `bytes`, its length field included; `None` if it is not all there.
fn unit_length(bytes: &[u8]) -> Option<usize> {
    let (&short, rest) = bytes.split_first_chunk::<4>()?;
    let length = match u32::from_le_bytes(short) {
        // The escape to 64-bit DWARF; lengths above it are reserved.
        u32::MAX => usize::try_from(u64::from_le_bytes(*rest.first_chunk::<8>()?)).ok()?.checked_add(12)?,
        0xffff_fff0.. => return None,
        length => length as usize + 4,
    };
    (length <= bytes.len()).then_some(length)
}
