//! What a pointer leads to, told without reading the layout of what is there.

use super::{Catalogue, StructureId};
use crate::debug::dwarf::Dwarf;
use crate::debug::error::DebugError;
use crate::debug::reader::is_compound;
use crate::debug::types::TypeId;
use gimli::constants;

/// What a pointer leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pointee {
    /// `void`: something whose type only the code knows.
    Void,
    /// A function.
    Function,
    /// A structure of the catalogue; its definition, if the module has one.
    Structure(StructureId),
    /// Another pointer, by its type.
    Pointer(TypeId),
    /// Numbers, characters, arrays, or a structure that the catalogue does not hold.
    Data,
}

impl Catalogue {
    /// What a pointer with that target leads to, typedefs and qualifiers looked through. `None` is `void`.
    pub(crate) fn pointee(&self, dwarf: &Dwarf, target: Option<TypeId>) -> Result<Pointee, DebugError> {
        let Some(target) = target else { return Ok(Pointee::Void) };
        let stripped = dwarf.strip(target)?;
        let Some(below) = stripped.id else { return Ok(Pointee::Void) };
        if let Some(known) = self.structure_of(below) {
            return Ok(Pointee::Structure(self.defined(known)));
        }
        let (unit, entry) = dwarf.entry(below.entry)?;
        Ok(match entry.tag() {
            constants::DW_TAG_subroutine_type => Pointee::Function,
            constants::DW_TAG_pointer_type => Pointee::Pointer(below),
            tag if is_compound(tag) => {
                let tag = dwarf.text(&unit, &entry, constants::DW_AT_name)?;
                let name = if tag.is_empty() { stripped.typedef.unwrap_or_default() } else { tag };
                let known = self.named(&name).first().copied();
                known.map_or(Pointee::Data, |known| Pointee::Structure(self.defined(known)))
            }
            _ => Pointee::Data,
        })
    }

    /// The definition of a structure that is only declared where it was met.
    fn defined(&self, id: StructureId) -> StructureId {
        match self.structure(id) {
            Some(structure) if structure.size.is_none() => self.definition(&structure.name).unwrap_or(id),
            _ => id,
        }
    }
}
