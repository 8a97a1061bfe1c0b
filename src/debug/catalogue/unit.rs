//! One pass over the entries of a unit.

use super::types::{Target, TypeEntry, Types, is_alias};
use crate::addr::FileAddr;
use crate::debug::dwarf::Dwarf;
use crate::debug::error::DebugError;
use crate::debug::reader::is_compound;
use crate::debug::types::{EntryId, Place};
use crate::debug::unit::{Entry, Unit, flag, unsigned};
use crate::debug::{Location, types::TypeId};
use gimli::{DwTag, constants};
use rustc_hash::{FxHashMap, FxHasher};
use std::hash::{Hash, Hasher};
use std::ops::Range;

/// What a unit holds, before structures are matched with those of other units. Names are borrowed from the sections.
pub(super) struct RawUnit<'d> {
    pub(super) source: &'d [u8],
    pub(super) variables: Vec<RawVariable<'d>>,
    pub(super) functions: Vec<RawFunction<'d>>,
    /// Addresses of functions whose entries are in another unit.
    pub(super) bodies: Vec<(EntryId, FileAddr)>,
    pub(super) structures: Vec<RawStructure<'d>>,
}

pub(super) struct RawVariable<'d> {
    pub(super) name: &'d [u8],
    pub(super) address: FileAddr,
    pub(super) type_id: TypeId,
    pub(super) external: bool,
}

pub(super) struct RawFunction<'d> {
    pub(super) id: EntryId,
    pub(super) name: &'d [u8],
    pub(super) address: Option<FileAddr>,
    pub(super) pointers: Vec<RawPointer<'d>>,
    pub(super) returns: Option<Target>,
}

pub(super) struct RawPointer<'d> {
    pub(super) name: &'d [u8],
    pub(super) target: Target,
    pub(super) indirect: bool,
    pub(super) parameter: bool,
}

pub(super) struct RawStructure<'d> {
    pub(super) id: EntryId,
    pub(super) name: &'d [u8],
    pub(super) size: Option<u64>,
    /// A number that differs where the fields do.
    pub(super) fields: u64,
    /// True if the unit's own source file defines it.
    pub(super) own: bool,
}

/// Reads one unit.
pub(super) fn read<'d>(dwarf: &'d Dwarf, place: Place, range: Range<usize>) -> Result<RawUnit<'d>, DebugError> {
    let unit = dwarf.unit(place, range)?;
    let root = unit.root()?;
    let source = string(dwarf, &unit, &root, constants::DW_AT_name)?.unwrap_or_default();
    let mut pass = Pass::new(dwarf, &unit);
    unit.all_entries(|entry, depth| pass.entry(entry, depth))?;
    pass.finish(source)
}

/// A function while its entries are read.
struct OpenFunction<'d> {
    depth: isize,
    /// `None` for code whose variables are described elsewhere.
    function: Option<RawFunction<'d>>,
    variables: Variables<'d>,
}

/// The variables of a function before their types are known, and the type that it returns.
#[derive(Default)]
struct Variables<'d> {
    /// Name, type, and whether it is a parameter.
    all: Vec<(&'d [u8], EntryId, bool)>,
    returns: Option<EntryId>,
}

struct Pass<'p, 'd> {
    dwarf: &'d Dwarf,
    unit: &'p Unit<'d>,
    types: Types,
    /// Typedefs and what they name, for structures without a tag.
    typedefs: Vec<(&'d [u8], EntryId)>,
    structures: Vec<RawStructure<'d>>,
    variables: Vec<RawVariable<'d>>,
    functions: Vec<(RawFunction<'d>, Variables<'d>)>,
    bodies: Vec<(EntryId, FileAddr)>,
    open: Option<OpenFunction<'d>>,
    /// Depth of the inlined call that is being passed over.
    inlined: Option<isize>,
    /// The structure whose fields come next, and its depth.
    structure: Option<(usize, isize)>,
}

impl<'p, 'd> Pass<'p, 'd> {
    fn new(dwarf: &'d Dwarf, unit: &'p Unit<'d>) -> Pass<'p, 'd> {
        Pass {
            dwarf,
            unit,
            types: Types::default(),
            typedefs: Vec::new(),
            structures: Vec::new(),
            variables: Vec::new(),
            functions: Vec::new(),
            bodies: Vec::new(),
            open: None,
            inlined: None,
            structure: None,
        }
    }

    fn entry(&mut self, entry: &Entry<'d>, depth: isize) -> Result<(), DebugError> {
        self.leave(depth);
        match entry.tag() {
            constants::DW_TAG_subprogram if self.open.is_none() => self.function(entry, depth)?,
            constants::DW_TAG_inlined_subroutine if self.inlined.is_none() => self.inlined = Some(depth),
            constants::DW_TAG_formal_parameter | constants::DW_TAG_variable if self.open.is_some() => {
                self.local(entry)?;
            }
            constants::DW_TAG_variable => self.variable(entry)?,
            constants::DW_TAG_member => self.member(entry, depth),
            tag => self.type_entry(tag, entry, depth)?,
        }
        Ok(())
    }

    /// Closes what the entry at that depth lies outside of.
    fn leave(&mut self, depth: isize) {
        if self.inlined.is_some_and(|inlined| depth <= inlined) {
            self.inlined = None;
        }
        if self.structure.is_some_and(|(_, structure)| depth <= structure) {
            self.structure = None;
        }
        if self.open.as_ref().is_some_and(|open| depth <= open.depth)
            && let Some(OpenFunction { function: Some(function), variables, .. }) = self.open.take()
        {
            self.functions.push((function, variables));
        }
    }

    fn function(&mut self, entry: &Entry<'d>, depth: isize) -> Result<(), DebugError> {
        let address = self.dwarf.address(self.unit, entry, constants::DW_AT_low_pc)?.map(FileAddr);
        let id = self.unit.id_of(entry);
        let mut open = OpenFunction { depth, function: None, variables: Variables::default() };
        // A body that was made out of line, or that link-time optimisation moved, names its function in another entry.
        let origin = self.dwarf.reference(self.unit, entry, constants::DW_AT_abstract_origin)?;
        if let Some(origin) = origin {
            self.bodies.extend(address.map(|address| (origin, address)));
        } else if !flag(entry, constants::DW_AT_declaration) {
            let name = string(self.dwarf, self.unit, entry, constants::DW_AT_name)?.unwrap_or_default();
            open.variables.returns = self.dwarf.reference(self.unit, entry, constants::DW_AT_type)?;
            open.function = Some(RawFunction { id, name, address, pointers: Vec::new(), returns: None });
        }
        self.open = Some(open);
        Ok(())
    }

    fn local(&mut self, entry: &Entry<'d>) -> Result<(), DebugError> {
        if self.inlined.is_some() {
            return Ok(());
        }
        let Some(type_id) = self.dwarf.reference(self.unit, entry, constants::DW_AT_type)? else { return Ok(()) };
        let name = string(self.dwarf, self.unit, entry, constants::DW_AT_name)?.unwrap_or_default();
        // A variable that keeps its value between calls lies where those at file scope do.
        if entry.tag() == constants::DW_TAG_variable && entry.attr(constants::DW_AT_location).is_some() {
            self.variable(entry)?;
        }
        if let Some(open) = &mut self.open
            && open.function.is_some()
        {
            open.variables.all.push((name, type_id, entry.tag() == constants::DW_TAG_formal_parameter));
        }
        Ok(())
    }

    /// A variable with an address. Its name and type may be in the entry that declares it.
    fn variable(&mut self, entry: &Entry<'d>) -> Result<(), DebugError> {
        let Some(Location::Static(address)) = self.dwarf.location(self.unit, entry)? else { return Ok(()) };
        let reference = |name| self.dwarf.reference(self.unit, entry, name);
        let stated = reference(constants::DW_AT_type)?;
        let declaration = match reference(constants::DW_AT_specification)? {
            Some(declaration) => Some(declaration),
            None => reference(constants::DW_AT_abstract_origin)?,
        };
        let (mut name, mut type_id) = (string(self.dwarf, self.unit, entry, constants::DW_AT_name)?, stated);
        let mut external = flag(entry, constants::DW_AT_external);
        if let Some(declaration) = declaration {
            let (unit, entry) = self.dwarf.entry(declaration)?;
            name = name.or(string(self.dwarf, &unit, &entry, constants::DW_AT_name)?);
            type_id = type_id.or(self.dwarf.reference(&unit, &entry, constants::DW_AT_type)?);
            external |= flag(&entry, constants::DW_AT_external);
        }
        if let (Some(name), Some(type_id)) = (name, type_id) {
            self.variables.push(RawVariable { name, address, type_id: type_id.into(), external });
        }
        Ok(())
    }

    fn type_entry(&mut self, tag: DwTag, entry: &Entry<'d>, depth: isize) -> Result<(), DebugError> {
        let id = self.unit.id_of(entry);
        let target = || self.dwarf.reference(self.unit, entry, constants::DW_AT_type);
        let known = match tag {
            tag if is_compound(tag) => self.structure(entry, depth)?,
            constants::DW_TAG_pointer_type => TypeEntry::Pointer(target()?),
            tag if is_alias(tag) => {
                let target = target()?;
                if let (constants::DW_TAG_typedef, Some(target)) = (tag, target) {
                    let name = string(self.dwarf, self.unit, entry, constants::DW_AT_name)?;
                    self.typedefs.extend(name.map(|name| (name, target)));
                }
                TypeEntry::Alias(target)
            }
            _ => return Ok(()),
        };
        self.types.add(id, known);
        Ok(())
    }

    fn structure(&mut self, entry: &Entry<'d>, depth: isize) -> Result<TypeEntry, DebugError> {
        let declared = flag(entry, constants::DW_AT_declaration);
        let index = self.structures.len();
        self.structures.push(RawStructure {
            id: self.unit.id_of(entry),
            name: string(self.dwarf, self.unit, entry, constants::DW_AT_name)?.unwrap_or_default(),
            size: unsigned(entry, constants::DW_AT_byte_size).filter(|_| !declared),
            fields: 0,
            // The first file of a unit's line table is the source file itself (gcc and clang; from DWARF 5 on it is
            // numbered 0 as well).
            own: !declared && unsigned(entry, constants::DW_AT_decl_file).is_some_and(|file| file <= 1),
        });
        self.structure = Some((index, depth));
        Ok(TypeEntry::Structure(index as u32))
    }

    /// Fields tell structures of one name and size apart.
    fn member(&mut self, entry: &Entry<'d>, depth: isize) {
        let Some((index, structure)) = self.structure else { return };
        if depth == structure + 1
            && let Some(found) = self.structures.get_mut(index)
        {
            let mut hasher = FxHasher::default();
            found.fields.hash(&mut hasher);
            unsigned(entry, constants::DW_AT_data_member_location).hash(&mut hasher);
            let name = entry.attr_value(constants::DW_AT_name).map(|name| self.dwarf.string(self.unit, name));
            name.and_then(Result::ok).flatten().hash(&mut hasher);
            found.fields = hasher.finish();
        }
    }

    fn finish(mut self, source: &'d [u8]) -> Result<RawUnit<'d>, DebugError> {
        self.leave(0);
        for (name, target) in &self.typedefs {
            if let Some(index) = self.types.structure(*target)
                && let Some(structure) = self.structures.get_mut(index as usize)
                && structure.name.is_empty()
            {
                structure.name = name;
            }
        }
        let mut known = FxHashMap::default();
        let (dwarf, types) = (self.dwarf, &self.types);
        let mut pointee = |id: EntryId| *known.entry(id).or_insert_with(|| types.pointee(dwarf, id));
        let mut functions = Vec::with_capacity(self.functions.len());
        for (mut function, Variables { all, returns }) in self.functions {
            for (name, type_id, parameter) in all {
                let target = pointee(type_id);
                function.pointers.extend(target.map(|(target, indirect)| RawPointer {
                    name,
                    target,
                    indirect,
                    parameter,
                }));
            }
            function.returns =
                returns.and_then(&mut pointee).filter(|(_, indirect)| !indirect).map(|(target, _)| target);
            functions.push(function);
        }
        Ok(RawUnit { source, variables: self.variables, functions, bodies: self.bodies, structures: self.structures })
    }
}

fn string<'d>(
    dwarf: &'d Dwarf,
    unit: &Unit<'d>,
    entry: &Entry<'d>,
    name: gimli::DwAt,
) -> Result<Option<&'d [u8]>, DebugError> {
    Ok(entry.attr_value(name).map(|value| dwarf.string(unit, value)).transpose()?.flatten())
}
