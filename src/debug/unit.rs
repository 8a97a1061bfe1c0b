//! One unit of debugging entries, opened: entries by offset, walks over them, and the values of their attributes.

use super::error::DebugError;
use super::file::{DwarfFile, Slice};
use super::types::{EntryId, Place};
use gimli::{
    Abbreviations, Attribute, AttributeValue, DebugAddrBase, DebugInfoOffset, DebugStrOffsetsBase, DwAt, DwTag,
    DwarfFileType, DwoId, EntriesRaw, SectionId, UnitHeader, UnitOffset, UnitType, constants,
};
use std::ops::Range;
use std::sync::Arc;

/// A debugging entry with its attributes.
pub(crate) type Entry<'a> = gimli::DebuggingInformationEntry<Slice<'a>>;

/// A unit, opened.
pub(crate) struct Unit<'a> {
    pub(crate) file: &'a DwarfFile,
    pub(crate) place: Place,
    /// Where the unit lies in its section.
    pub(crate) range: Range<usize>,
    pub(crate) header: UnitHeader<Slice<'a>>,
    abbreviations: Arc<Abbreviations>,
    pub(crate) str_offsets_base: DebugStrOffsetsBase<usize>,
    pub(crate) addr_base: DebugAddrBase<usize>,
}

impl<'a> Unit<'a> {
    /// Opens the unit that lies at `range` of the place's section.
    pub(crate) fn open(file: &'a DwarfFile, place: Place, range: Range<usize>) -> Result<Unit<'a>, DebugError> {
        let section = file.slice(DwarfFile::entries_section(place.type_units))?;
        let damaged = |error: gimli::Error| file.damaged(place.type_units, error);
        let header = if place.type_units {
            let bytes = section.slice().get(range.clone()).unwrap_or_default();
            let mut units = gimli::DebugTypes::new(bytes, gimli::LittleEndian).units();
            units.next().map_err(damaged)?.ok_or_else(|| damaged(gimli::Error::MissingUnitDie))?
        } else {
            gimli::DebugInfo::from(section).header_from_offset(DebugInfoOffset(range.start)).map_err(damaged)?
        };
        let abbreviations = file.abbreviations(header.debug_abbrev_offset().0)?;
        let file_type = if file.is_split() { DwarfFileType::Dwo } else { DwarfFileType::Main };
        let mut unit = Unit {
            str_offsets_base: DebugStrOffsetsBase::default_for_encoding_and_file(header.encoding(), file_type),
            addr_base: DebugAddrBase(0),
            file,
            place,
            range,
            header,
            abbreviations,
        };
        // A skeleton tells a base of addresses that its split unit uses; it lies in a file that has such sections.
        if !file.has_bases() {
            return Ok(unit);
        }
        for attribute in unit.root()?.attrs() {
            match attribute.value() {
                AttributeValue::DebugStrOffsetsBase(base) => unit.str_offsets_base = base,
                AttributeValue::DebugAddrBase(base) => unit.addr_base = base,
                _ => {}
            }
        }
        Ok(unit)
    }

    /// The unit's own entry.
    pub(crate) fn root(&self) -> Result<Entry<'a>, DebugError> {
        self.entry_at(self.header.root_offset())
    }

    /// The entry at an offset of the section.
    pub(crate) fn entry(&self, id: EntryId) -> Result<Entry<'a>, DebugError> {
        let offset = id.offset.checked_sub(self.range.start).filter(|_| self.range.contains(&id.offset));
        let offset = offset.ok_or_else(|| self.damaged("a reference leads out of its unit"))?;
        self.entry_at(UnitOffset(offset))
    }

    fn entry_at(&self, offset: UnitOffset) -> Result<Entry<'a>, DebugError> {
        let entry = self.header.entry(&self.abbreviations, offset).map_err(|error| self.damaged(error))?;
        if entry.is_null() { Err(self.damaged("a reference leads to no entry")) } else { Ok(entry) }
    }

    /// The identity of one of its entries.
    pub(crate) fn id_of(&self, entry: &Entry<'_>) -> EntryId {
        EntryId { place: self.place, offset: self.range.start + entry.offset().0 }
    }

    /// Calls `visit` for each child of an entry, until it says that it has seen enough by returning false.
    pub(crate) fn children(
        &self,
        parent: &Entry<'_>,
        mut visit: impl FnMut(&Entry<'a>) -> Result<bool, DebugError>,
    ) -> Result<(), DebugError> {
        let damaged = |error| self.damaged(error);
        let mut tree = self.header.entries_tree(&self.abbreviations, Some(parent.offset())).map_err(damaged)?;
        let mut children = tree.root().map_err(damaged)?.children();
        while let Some(child) = children.next().map_err(damaged)? {
            if !visit(child.entry())? {
                break;
            }
        }
        Ok(())
    }

    /// Walks the entries at file scope (those in namespaces count as such), skipping what lies below them. `visit` sees
    /// those with a wanted tag, and ends the walk by returning false.
    pub(crate) fn file_scope(
        &self,
        wanted: impl Fn(DwTag) -> bool,
        mut visit: impl FnMut(&Entry<'a>) -> Result<bool, DebugError>,
    ) -> Result<(), DebugError> {
        let mut walk = Walk { raw: self.raw(None)?, outer: 0, open_namespaces: 0 };
        let mut entry = Entry::null();
        walk.raw.read_entry(&mut entry).map_err(|error| self.damaged(error))?;
        while !walk.raw.is_empty() {
            let Some(()) = walk.next(&mut entry, &wanted).map_err(|error| self.damaged(error))? else {
                if walk.depth() <= 0 {
                    break;
                }
                continue;
            };
            if wanted(entry.tag()) && !visit(&entry)? {
                break;
            }
            walk.skip_children(self, &entry)?;
        }
        Ok(())
    }

    /// Walks all entries of the unit in order, with the depth of each (1 at file scope).
    pub(crate) fn all_entries(
        &self,
        mut visit: impl FnMut(&Entry<'a>, isize) -> Result<(), DebugError>,
    ) -> Result<(), DebugError> {
        let mut raw = self.raw(None)?;
        let mut entry = Entry::null();
        while !raw.is_empty() {
            if raw.read_entry(&mut entry).map_err(|error| self.damaged(error))? {
                visit(&entry, entry.depth())?;
            }
        }
        Ok(())
    }

    fn raw(&self, offset: Option<UnitOffset>) -> Result<EntriesRaw<'_, Slice<'a>>, DebugError> {
        self.header.entries_raw(&self.abbreviations, offset).map_err(|error| self.damaged(error))
    }

    /// The bytes of the unit.
    pub(crate) fn bytes(&self) -> Result<&'a [u8], DebugError> {
        self.file.unit_bytes(self.place.type_units, self.range.clone())
    }

    /// The unit's part of `.debug_str_offsets`; nothing if it does not number its strings. Before DWARF 5 the part has
    /// no header that tells its length, so that all that follows its start is given.
    pub(crate) fn string_offsets(&self) -> Result<&'a [u8], DebugError> {
        let section = self.file.section(SectionId::DebugStrOffsets)?;
        let start = self.str_offsets_base.0;
        let rest = section.get(start..).unwrap_or_default();
        if self.header.version() < 5 {
            return Ok(rest);
        }
        // In front of the first offset stand 4 bytes of version and padding, and in front of these the length.
        let length =
            start.checked_sub(8).and_then(|at| section.get(at..at + 4)).and_then(|bytes| bytes.try_into().ok());
        let length = length.map(u32::from_le_bytes).and_then(|length| (length as usize).checked_sub(4));
        Ok(length.and_then(|length| rest.get(..length)).unwrap_or(rest))
    }

    /// The string of an attribute, where it lies in this file. Not for strings in the supplement.
    pub(crate) fn string(&self, value: AttributeValue<Slice<'a>>) -> Result<Option<&'a [u8]>, DebugError> {
        let in_section = |id: SectionId, offset: usize| -> Result<Option<&'a [u8]>, DebugError> {
            string_at(self.file.section(id)?, offset)
                .map(Some)
                .ok_or_else(|| self.damaged(format!("a string at {offset:#x} of {} is not there", id.name())))
        };
        match value {
            AttributeValue::String(string) => Ok(Some(string.slice())),
            AttributeValue::DebugStrRef(offset) => in_section(SectionId::DebugStr, offset.0),
            AttributeValue::DebugLineStrRef(offset) => in_section(SectionId::DebugLineStr, offset.0),
            AttributeValue::DebugStrOffsetsIndex(index) => {
                let offsets = gimli::DebugStrOffsets::from(self.file.slice(SectionId::DebugStrOffsets)?);
                let offset = offsets
                    .get_str_offset(self.header.format(), self.str_offsets_base, index)
                    .map_err(|error| self.damaged(error))?;
                in_section(SectionId::DebugStr, offset.0)
            }
            _ => Ok(None),
        }
    }

    /// The identifier that ties a skeleton to its split unit.
    pub(crate) fn dwo_id(&self, root: &Entry<'a>) -> Option<DwoId> {
        match self.header.type_() {
            UnitType::Skeleton(id) | UnitType::SplitCompilation(id) => Some(id),
            _ => match root.attr_value(constants::DW_AT_GNU_dwo_id) {
                Some(AttributeValue::DwoId(id)) => Some(id),
                _ => None,
            },
        }
    }

    pub(crate) fn damaged(&self, reason: impl std::fmt::Display) -> DebugError {
        self.file.damaged(self.place.type_units, format!("unit at {:#x}: {reason}", self.range.start))
    }
}

/// The state of a walk over the entries at file scope.
struct Walk<'u, 'a> {
    raw: EntriesRaw<'u, Slice<'a>>,
    /// Depth at which `raw` was started.
    outer: isize,
    open_namespaces: isize,
}

impl<'u, 'a> Walk<'u, 'a> {
    fn depth(&self) -> isize {
        self.outer + self.raw.next_depth()
    }

    /// Reads one entry. `None` for the end of a list of children. Attributes are read where the entry is at file scope
    /// and is wanted or has children, and else skipped.
    fn next(&mut self, entry: &mut Entry<'a>, wanted: impl Fn(DwTag) -> bool) -> Result<Option<()>, gimli::Error> {
        let at_file_scope = self.depth() == 1 + self.open_namespaces;
        let start = self.raw.clone();
        let Some(abbreviation) = self.raw.read_abbreviation()? else {
            if at_file_scope && self.open_namespaces > 0 {
                self.open_namespaces -= 1;
            }
            return Ok(None);
        };
        if at_file_scope && (abbreviation.has_children() || wanted(abbreviation.tag())) {
            self.raw = start;
            self.raw.read_entry(entry)?;
        } else {
            self.raw.skip_attributes(abbreviation.attributes())?;
            entry.set_null();
        }
        Ok(Some(()))
    }

    /// Goes past the children of an entry at file scope, if the compiler left a reference to what follows them.
    fn skip_children(&mut self, unit: &'u Unit<'a>, entry: &Entry<'a>) -> Result<(), DebugError> {
        if !entry.has_children() {
            return Ok(());
        }
        if entry.tag() == constants::DW_TAG_namespace {
            self.open_namespaces += 1;
            return Ok(());
        }
        if let Some(AttributeValue::UnitRef(next)) = entry.attr_value(constants::DW_AT_sibling)
            && next > entry.offset()
            && next >= self.raw.next_offset()
        {
            self.outer = 1 + self.open_namespaces;
            self.raw = unit.raw(Some(next))?;
        }
        Ok(())
    }
}

/// The string that starts at `offset`, without its terminator; `None` if it is not all there.
pub(crate) fn string_at(section: &[u8], offset: usize) -> Option<&[u8]> {
    let tail = section.get(offset..)?;
    Some(&tail[..memchr::memchr(0, tail)?])
}

/// An unsigned number, however it is encoded.
pub(crate) fn unsigned(entry: &Entry<'_>, name: DwAt) -> Option<u64> {
    entry.attr(name).and_then(Attribute::udata_value)
}

/// True if the flag is there and set.
pub(crate) fn flag(entry: &Entry<'_>, name: DwAt) -> bool {
    matches!(entry.attr_value(name), Some(AttributeValue::Flag(true)))
}
