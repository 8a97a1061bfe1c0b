//! Units put together: the same structure in several of them is one.

use super::types::{Target, describe_outside};
use super::unit::{RawFunction, RawPointer, RawStructure, RawUnit};
use super::{Catalogue, Function, FunctionId, PointerVariable, SourceUnit, StaticVariable, Structure, StructureId};
use crate::addr::FileAddr;
use crate::debug::dwarf::Dwarf;
use crate::debug::error::DebugError;
use crate::debug::types::EntryId;
use rustc_hash::FxHashMap;

/// Name, size and fields of a structure.
type Identity = (Vec<u8>, Option<u64>, u64);

struct Merge<'d> {
    dwarf: &'d Dwarf,
    catalogue: Catalogue,
    structures: FxHashMap<Identity, StructureId>,
    names: FxHashMap<&'d [u8], u32>,
    /// Functions by their entries, for bodies that lie in other units.
    functions: FxHashMap<EntryId, FunctionId>,
    bodies: Vec<(EntryId, FileAddr)>,
}

/// Makes one catalogue of all units. One that could not be read is a problem of the catalogue.
pub(super) fn merge<'d>(dwarf: &'d Dwarf, units: impl Iterator<Item = Result<RawUnit<'d>, DebugError>>) -> Catalogue {
    let mut merge = Merge {
        dwarf,
        catalogue: Catalogue::default(),
        structures: FxHashMap::default(),
        names: FxHashMap::default(),
        functions: FxHashMap::default(),
        bodies: Vec::new(),
    };
    for unit in units {
        match unit {
            Ok(unit) => merge.unit(unit),
            Err(error) => merge.catalogue.problems.push(error),
        }
    }
    merge.finish()
}

fn text(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(bytes).into()
}

impl<'d> Merge<'d> {
    fn unit(&mut self, unit: RawUnit<'d>) {
        let number = self.catalogue.units.len() as u32;
        let structures: Vec<StructureId> =
            unit.structures.iter().map(|structure| self.structure(structure, number)).collect();
        let functions = unit.functions.into_iter().enumerate();
        let functions: Vec<Function> = functions
            .map(|(index, function)| {
                self.functions.insert(function.id, FunctionId { unit: number, function: index as u32 });
                self.function(function, &structures)
            })
            .collect();
        self.bodies.extend(unit.bodies);
        let variables = unit.variables.into_iter().map(|variable| StaticVariable {
            name: text(variable.name),
            address: variable.address,
            type_id: variable.type_id,
            external: variable.external,
        });
        self.catalogue.units.push(SourceUnit {
            source: text(unit.source),
            variables: variables.collect(),
            functions: functions.into(),
        });
    }

    fn structure(&mut self, raw: &RawStructure<'d>, unit: u32) -> StructureId {
        let identity = (raw.name.to_vec(), raw.size, raw.fields);
        // Structures that have no name at all are told apart by where they stand.
        let known = if raw.name.is_empty() { None } else { self.structures.get(&identity).copied() };
        let id = known.unwrap_or_else(|| {
            let id = self.add(text(raw.name), raw.size, raw.id);
            self.structures.insert(identity, id);
            id
        });
        self.catalogue.by_entry.insert(raw.id, id);
        if raw.own
            && let Some(structure) = self.catalogue.structures.get_mut(id.0 as usize)
        {
            structure.unit.get_or_insert(unit);
        }
        id
    }

    fn add(&mut self, name: Box<str>, size: Option<u64>, entry: EntryId) -> StructureId {
        let id = StructureId(self.catalogue.structures.len() as u32);
        self.catalogue.structures.push(Structure { name, size, type_id: entry.into(), unit: None });
        id
    }

    fn function(&mut self, raw: RawFunction<'d>, structures: &[StructureId]) -> Function {
        let mut pointers: Vec<PointerVariable> = Vec::with_capacity(raw.pointers.len());
        for pointer in &raw.pointers {
            let Some(found) = self.pointer(pointer, structures) else { continue };
            // A parameter that is copied into a variable, or one of two variables of a type, adds nothing.
            let same = |known: &PointerVariable| {
                (known.structure, known.indirect, known.parameter) == (found.structure, found.indirect, found.parameter)
            };
            if !pointers.iter().any(same) {
                pointers.push(found);
            }
        }
        let returns = raw.returns.and_then(|target| self.target(target, structures));
        Function { name: text(raw.name), address: raw.address, pointers: pointers.into(), returns }
    }

    fn pointer(&mut self, raw: &RawPointer<'d>, structures: &[StructureId]) -> Option<PointerVariable> {
        let structure = self.target(raw.target, structures)?;
        let (names, texts) = (&mut self.names, &mut self.catalogue.names);
        let name = *names.entry(raw.name).or_insert_with(|| {
            texts.push(text(raw.name));
            texts.len() as u32 - 1
        });
        Some(PointerVariable { structure, name, indirect: raw.indirect, parameter: raw.parameter })
    }

    fn target(&mut self, target: Target, structures: &[StructureId]) -> Option<StructureId> {
        match target {
            Target::Here(index) => structures.get(index as usize).copied(),
            Target::Elsewhere(entry) => {
                if let Some(known) = self.catalogue.by_entry.get(&entry) {
                    return Some(*known);
                }
                let (name, size) = describe_outside(self.dwarf, entry)?;
                let id = self.add(name.into(), size, entry);
                self.catalogue.by_entry.insert(entry, id);
                Some(id)
            }
        }
    }

    fn finish(mut self) -> Catalogue {
        for (origin, address) in std::mem::take(&mut self.bodies) {
            if let Some(id) = self.functions.get(&origin)
                && let Some(unit) = self.catalogue.units.get_mut(id.unit as usize)
                && let Some(function) = unit.functions.get_mut(id.function as usize)
            {
                function.address.get_or_insert(address);
            }
        }
        let mut catalogue = self.catalogue;
        catalogue.index();
        catalogue
    }
}

impl Catalogue {
    /// Fills the tables that look-ups use.
    fn index(&mut self) {
        for (index, structure) in self.structures.iter().enumerate() {
            if !structure.name.is_empty() {
                self.by_name.entry(structure.name.clone()).or_default().push(StructureId(index as u32));
            }
        }
        let structures = &self.structures;
        let is_declared = |id: &StructureId| structures.get(id.0 as usize).is_none_or(|found| found.size.is_none());
        self.by_name.values_mut().for_each(|same| same.sort_by_key(|id| (is_declared(id), *id)));
        self.users = vec![Vec::new(); self.structures.len()];
        for (unit_index, unit) in self.units.iter().enumerate() {
            for (index, function) in unit.functions.iter().enumerate() {
                let id = FunctionId { unit: unit_index as u32, function: index as u32 };
                self.by_address.extend(function.address.map(|address| (address, id)));
                for pointer in &function.pointers {
                    if let Some(users) = self.users.get_mut(pointer.structure.0 as usize)
                        && users.last() != Some(&id)
                    {
                        users.push(id);
                    }
                }
            }
        }
        self.by_address.sort_unstable_by_key(|(address, id)| (*address, *id));
        self.by_address.dedup_by_key(|(address, _)| *address);
    }
}
