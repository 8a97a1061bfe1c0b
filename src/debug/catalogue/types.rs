//! The types of one unit, as far as it takes to tell which structure a pointer leads to.

use crate::debug::dwarf::Dwarf;
use crate::debug::reader::{DEEPEST, is_compound};
use crate::debug::types::EntryId;
use crate::debug::unit::{flag, unsigned};
use gimli::constants;

/// What an entry says of a type.
#[derive(Clone, Copy, Debug)]
pub(super) enum TypeEntry {
    /// A typedef or qualifier.
    Alias(Option<EntryId>),
    /// A pointer.
    Pointer(Option<EntryId>),
    /// A structure, by its place among those of the unit.
    Structure(u32),
}

/// Where a type leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Target {
    /// To a structure of this unit.
    Here(u32),
    /// To a structure that another unit describes.
    Elsewhere(EntryId),
}

/// The types of a unit in the order of their entries.
#[derive(Default)]
pub(super) struct Types {
    entries: Vec<(EntryId, TypeEntry)>,
}

impl Types {
    /// Adds an entry, which lies behind all that were added before.
    pub(super) fn add(&mut self, id: EntryId, entry: TypeEntry) {
        self.entries.push((id, entry));
    }

    fn get(&self, id: EntryId) -> Option<TypeEntry> {
        let index = self.entries.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.entries.get(index).map(|(_, entry)| *entry)
    }

    /// The structure that a typedef or qualified type comes down to at once, if it does.
    pub(super) fn structure(&self, id: EntryId) -> Option<u32> {
        match self.get(id)? {
            TypeEntry::Structure(index) => Some(index),
            TypeEntry::Alias(_) | TypeEntry::Pointer(_) => None,
        }
    }

    /// The structure that a pointer type leads to, and whether it does so through one more pointer.
    pub(super) fn pointee(&self, dwarf: &Dwarf, id: EntryId) -> Option<(Target, bool)> {
        let mut pointers = 0;
        let mut at = id;
        for _ in 0..DEEPEST {
            let entry = match self.get(at) {
                Some(entry) => entry,
                None => outside(dwarf, at)?,
            };
            at = match entry {
                TypeEntry::Alias(target) => target?,
                TypeEntry::Pointer(target) => {
                    pointers += 1;
                    target?
                }
                TypeEntry::Structure(u32::MAX) if (1..=2).contains(&pointers) => {
                    return Some((Target::Elsewhere(at), pointers == 2));
                }
                TypeEntry::Structure(index) if (1..=2).contains(&pointers) => {
                    return Some((Target::Here(index), pointers == 2));
                }
                TypeEntry::Structure(_) => return None,
            };
        }
        None
    }
}

/// What an entry of another unit says of a type: with dwz and link-time optimisation types are shared. A structure there is
/// given the number `u32::MAX`.
fn outside(dwarf: &Dwarf, id: EntryId) -> Option<TypeEntry> {
    let (unit, entry) = dwarf.entry(id).ok()?;
    let target = || dwarf.reference(&unit, &entry, constants::DW_AT_type).ok().flatten();
    match entry.tag() {
        tag if is_compound(tag) => Some(TypeEntry::Structure(u32::MAX)),
        constants::DW_TAG_pointer_type => Some(TypeEntry::Pointer(target())),
        tag if is_alias(tag) => Some(TypeEntry::Alias(target())),
        _ => None,
    }
}

/// A structure that another unit describes: its name and size.
pub(super) fn describe_outside(dwarf: &Dwarf, id: EntryId) -> Option<(String, Option<u64>)> {
    let (unit, entry) = dwarf.entry(id).ok()?;
    let name = dwarf.text(&unit, &entry, constants::DW_AT_name).ok()?;
    let declared = flag(&entry, constants::DW_AT_declaration);
    let size = unsigned(&entry, constants::DW_AT_byte_size).filter(|_| !declared);
    Some((name, size))
}

/// True for entries that stand for another type without changing it.
pub(super) fn is_alias(tag: gimli::DwTag) -> bool {
    matches!(
        tag,
        constants::DW_TAG_typedef
            | constants::DW_TAG_const_type
            | constants::DW_TAG_volatile_type
            | constants::DW_TAG_restrict_type
            | constants::DW_TAG_atomic_type
    )
}
