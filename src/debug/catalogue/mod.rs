//! What the source files of a module work with: their variables, their functions, and the structures that each function
//! has pointers to.
//!
//! C hides types: an `ngx_array_t` has no element type, a `void *` has none at all. The code that uses such a value does
//! know the type, and says so in its local variables: `duscf = dumcf->dy_upstreams.elts` stands in a function that has a
//! variable `ngx_http_dyups_srv_conf_t *duscf`. A catalogue holds just that, collected in one pass over all units, and
//! nothing of the parser. Types are resolved to a [`Layout`](super::Layout) only when somebody asks for one.

mod merge;
mod pointee;
mod types;
mod unit;

use super::calls;
use super::dwarf::{Dwarf, MAIN, SUPPLEMENT};
use super::error::DebugError;
use super::needles::Offsets;
use super::types::{EntryId, Place, TypeId};
use crate::addr::FileAddr;
use gimli::SectionId;
pub use pointee::Pointee;
use rustc_hash::FxHashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use unit::RawUnit;

/// Structures that nearly every source file of nginx refers to, if only through another structure. A unit that names none
/// of them belongs to a library that is linked in, such as OpenSSL or LuaJIT.
const MARKS: [&str; 5] = ["ngx_str_t", "ngx_pool_s", "ngx_pool_t", "ngx_module_s", "ngx_log_s"];

/// Most threads that parse units. More do not help: the work is shorter than their start.
const MAX_THREADS: usize = 4;

/// A structure by its place in [`Catalogue::structures`]. Meaningful only to the catalogue that gave it out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StructureId(pub(crate) u32);

/// A structure that some source file of the module defines or declares. The same definition in several units counts once.
#[derive(Clone, Debug)]
pub struct Structure {
    /// Its tag, or the typedef that names it if it has no tag.
    pub name: Box<str>,
    /// Its size in bytes; `None` if the module only declares it, as it does with those of other libraries (`ssl_st`).
    pub size: Option<u64>,
    /// Its type, for [`DebugInfo::type_kind`](super::DebugInfo::type_kind).
    pub type_id: TypeId,
    /// The unit whose own source file (not a header) defines it, by its place in [`Catalogue::units`].
    pub unit: Option<u32>,
}

/// A variable at file scope that has an address.
#[derive(Clone, Debug)]
pub struct StaticVariable {
    /// Its name.
    pub name: Box<str>,
    /// Where it lies in the module.
    pub address: FileAddr,
    /// Its type.
    pub type_id: TypeId,
    /// True if it can be named from other source files.
    pub external: bool,
}

/// A local variable or parameter that points to a structure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PointerVariable {
    /// What it points to.
    pub structure: StructureId,
    name: u32,
    /// True if it points to a pointer to the structure (`T **`), as those do that walk a table of pointers.
    pub indirect: bool,
    /// True for a parameter.
    pub parameter: bool,
}

/// A function, whether it has code of its own or was only inlined.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name.
    pub name: Box<str>,
    /// Its first instruction; `None` if all its calls were inlined.
    pub address: Option<FileAddr>,
    /// Its parameters and local variables that point to structures, in source order; nested blocks included, functions
    /// that are inlined into it not.
    pub pointers: Box<[PointerVariable]>,
    /// The structure that it returns a pointer to.
    pub returns: Option<StructureId>,
}

/// One source file.
#[derive(Clone, Debug)]
pub struct SourceUnit {
    /// Its path, as the compiler was given it.
    pub source: Box<str>,
    /// Its variables at file scope.
    pub variables: Box<[StaticVariable]>,
    /// Its functions.
    pub functions: Box<[Function]>,
}

impl SourceUnit {
    /// The file's name without its folder.
    pub fn file_name(&self) -> &str {
        self.source.rsplit('/').next().unwrap_or_default()
    }
}

/// A function by its place: index of the unit, and in the unit's functions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FunctionId {
    /// Index into [`Catalogue::units`].
    pub unit: u32,
    /// Index into [`SourceUnit::functions`].
    pub function: u32,
}

/// Variables, functions and structures of all source files of a module.
#[derive(Debug, Default)]
pub struct Catalogue {
    units: Vec<SourceUnit>,
    structures: Vec<Structure>,
    names: Vec<Box<str>>,
    by_name: FxHashMap<Box<str>, Vec<StructureId>>,
    /// Structures by the entries that define or declare them.
    by_entry: FxHashMap<EntryId, StructureId>,
    /// Functions with code, by address.
    by_address: Vec<(FileAddr, FunctionId)>,
    /// For each structure the functions that have a pointer to it.
    users: Vec<Vec<FunctionId>>,
    problems: Vec<DebugError>,
}

impl Catalogue {
    /// All source files that name one of nginx's own structures.
    pub fn units(&self) -> &[SourceUnit] {
        &self.units
    }

    /// Everything that could not be read. What is missing for it is not in the catalogue.
    pub fn problems(&self) -> &[DebugError] {
        &self.problems
    }

    /// A structure.
    pub fn structure(&self, id: StructureId) -> Option<&Structure> {
        self.structures.get(id.0 as usize)
    }

    /// All structures.
    pub fn structures(&self) -> impl Iterator<Item = (StructureId, &Structure)> {
        self.structures.iter().enumerate().map(|(index, structure)| (StructureId(index as u32), structure))
    }

    /// The structures of that name, those that are defined first. There can be several: a name that is not in a header
    /// belongs to its source file alone.
    pub fn named(&self, name: &str) -> &[StructureId] {
        self.by_name.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// A definition for the name of a structure, if there is one.
    pub fn definition(&self, name: &str) -> Option<StructureId> {
        self.named(name).iter().copied().find(|id| self.structure(*id).is_some_and(|found| found.size.is_some()))
    }

    /// The structure that a type's own entry is, typedefs not looked through.
    pub fn structure_of(&self, type_id: TypeId) -> Option<StructureId> {
        self.by_entry.get(&type_id.entry).copied()
    }

    /// A function.
    pub fn function(&self, id: FunctionId) -> Option<&Function> {
        self.units.get(id.unit as usize)?.functions.get(id.function as usize)
    }

    /// The function that starts at an address.
    pub fn function_at(&self, address: FileAddr) -> Option<FunctionId> {
        let index = self.by_address.binary_search_by_key(&address, |(start, _)| *start).ok()?;
        self.by_address.get(index).map(|(_, id)| *id)
    }

    /// The functions that have a pointer to a structure, as a local variable or parameter.
    pub fn users(&self, structure: StructureId) -> &[FunctionId] {
        self.users.get(structure.0 as usize).map(Vec::as_slice).unwrap_or_default()
    }

    /// The name of a local variable or parameter.
    pub fn name(&self, variable: &PointerVariable) -> &str {
        self.names.get(variable.name as usize).map(AsRef::as_ref).unwrap_or_default()
    }

    /// Parses all units that look like nginx's or its modules'.
    pub(crate) fn read(dwarf: &Dwarf) -> Result<Catalogue, DebugError> {
        let wanted = wanted_units(dwarf)?;
        let (next, threads) = (AtomicUsize::new(0), thread_count(wanted.len()));
        let work = || {
            let mut done: Vec<(usize, Result<RawUnit<'_>, DebugError>)> = Vec::new();
            while let index = next.fetch_add(1, Ordering::Relaxed)
                && let Some((place, range)) = wanted.get(index)
            {
                done.push((index, unit::read(dwarf, *place, range.clone())));
            }
            done
        };
        let mut read = thread::scope(|scope| {
            let start = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
            let helpers: Vec<_> = (1..threads).filter_map(start).collect();
            let mut read = work();
            // A helper that panicked leaves its units out; what it would have said is not known.
            read.extend(helpers.into_iter().filter_map(|helper| helper.join().ok()).flatten());
            read
        });
        read.sort_by_key(|(index, _)| *index);
        Ok(merge::merge(dwarf, read.into_iter().map(|(_, unit)| unit)))
    }
}

fn thread_count(units: usize) -> usize {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    processors.min(MAX_THREADS).min(units.div_ceil(8)).max(1)
}

/// The units that name one of nginx's structures.
fn wanted_units(dwarf: &Dwarf) -> Result<Vec<(Place, Range<usize>)>, DebugError> {
    let mut offsets = Offsets::default();
    let mut wanted = Vec::new();
    for place in calls::places(dwarf)? {
        let file = dwarf.file(place)?;
        // Strings that are numbered, or that lie in a file shared with others, cannot be told from the unit's bytes alone.
        let by_number = file.has(SectionId::DebugStrOffsets) || (place.file == MAIN && has_supplement(dwarf));
        let marks = offsets.needles(dwarf, place, MARKS.into_iter())?;
        for range in file.units(false)? {
            if by_number || marks.occur_in(file.unit_bytes(false, range.clone())?) {
                wanted.push((place, range.clone()));
            }
        }
    }
    Ok(wanted)
}

fn has_supplement(dwarf: &Dwarf) -> bool {
    let shared = Place { file: SUPPLEMENT, type_units: false };
    dwarf.file(shared).is_ok()
}
