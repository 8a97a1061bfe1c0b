//! Call sites of a function, with the arguments that the compiler knew to be constant.
//!
//! `ngx_create_pool(512, log)` compiles to a `mov` and a `call`; gcc records with `DW_TAG_call_site` where the call is and
//! that the first argument's register holds 512 there. So a pool of 512 bytes can be told from its debug info to come
//! from one line of one module.

use super::choose;
use super::dwarf::{Dwarf, FIRST_SPLIT, MAIN, SUPPLEMENT};
use super::error::DebugError;
use super::expressions;
use super::needles::{Needles, Offsets};
use super::types::{EntryId, Place};
use super::unit::{Entry, Unit};
use crate::addr::FileAddr;
use gimli::{DwTag, SectionId, constants};
use object::elf;
use rustc_hash::{FxHashMap, FxHashSet};
use std::ops::Range;

/// A call, before its source line is looked up.
#[derive(Debug)]
pub(crate) struct Call {
    /// An address within the call instruction.
    pub(crate) address: FileAddr,
    pub(crate) arguments: Vec<Option<u64>>,
}

/// Longest chain from a concrete function to the entry that names it.
const DEEPEST_ORIGIN: usize = 8;

/// Every call of `callee`, in address order, in the units of one source file or in all.
pub(crate) fn find(dwarf: &Dwarf, machine: u16, callee: &str, source: Option<&str>) -> Result<Vec<Call>, DebugError> {
    let mut search = Calls {
        dwarf,
        registers: argument_registers(machine),
        callee: callee.as_bytes(),
        origins: FxHashMap::default(),
        found: Vec::new(),
    };
    for place in places(dwarf)? {
        for range in units(dwarf, place, callee, source)? {
            search.unit(&dwarf.unit(place, range)?)?;
        }
    }
    search.found.sort_by_key(|call| call.address);
    search.found.dedup_by_key(|call| call.address);
    Ok(search.found)
}

struct Calls<'d> {
    dwarf: &'d Dwarf,
    /// DWARF numbers of the registers that pass integer arguments, in order.
    registers: &'static [u16],
    callee: &'d [u8],
    /// Which functions were already found to be the callee, or not.
    origins: FxHashMap<EntryId, bool>,
    found: Vec<Call>,
}

impl<'d> Calls<'d> {
    fn unit(&mut self, unit: &Unit<'d>) -> Result<(), DebugError> {
        // The depth of the call whose parameters are being read.
        let mut current: Option<isize> = None;
        unit.all_entries(|entry, depth| {
            if current.is_some_and(|call| depth <= call) {
                current = None;
            }
            if is_call(entry.tag()) {
                current = self.call(unit, entry)?.then_some(depth);
            } else if current == Some(depth - 1) && is_parameter(entry.tag()) {
                self.parameter(unit, entry)?;
            }
            Ok(())
        })
    }

    fn call(&mut self, unit: &Unit<'d>, entry: &Entry<'d>) -> Result<bool, DebugError> {
        let origin = match self.dwarf.reference(unit, entry, constants::DW_AT_call_origin)? {
            Some(origin) => Some(origin),
            None => self.dwarf.reference(unit, entry, constants::DW_AT_abstract_origin)?,
        };
        let Some(origin) = origin else { return Ok(false) };
        if !self.is_callee(origin)? {
            return Ok(false);
        }
        let Some(address) = self.address(unit, entry)? else { return Ok(false) };
        self.found.push(Call { address: FileAddr(address), arguments: Vec::new() });
        Ok(true)
    }

    /// An address in the call instruction: its own, or the byte before the one that it returns to.
    fn address(&self, unit: &Unit<'d>, entry: &Entry<'d>) -> Result<Option<u64>, DebugError> {
        for name in [constants::DW_AT_call_return_pc, constants::DW_AT_low_pc] {
            if let Some(after) = self.dwarf.address(unit, entry, name)? {
                return Ok(after.checked_sub(1));
            }
        }
        self.dwarf.address(unit, entry, constants::DW_AT_call_pc)
    }

    fn parameter(&mut self, unit: &Unit<'d>, entry: &Entry<'d>) -> Result<(), DebugError> {
        let register = expressions::register(unit, entry, constants::DW_AT_location)?;
        let position = register.and_then(|register| self.registers.iter().position(|&known| known == register));
        let value = match expressions::constant(unit, entry, constants::DW_AT_call_value)? {
            Some(value) => Some(value),
            None => expressions::constant(unit, entry, constants::DW_AT_GNU_call_site_value)?,
        };
        if let (Some(position), Some(value), Some(call)) = (position, value, self.found.last_mut()) {
            if call.arguments.len() <= position {
                call.arguments.resize(position + 1, None);
            }
            if let Some(argument) = call.arguments.get_mut(position) {
                *argument = Some(value);
            }
        }
        Ok(())
    }

    /// True if that function bears the callee's name, itself or through the entries that it refers to for it.
    fn is_callee(&mut self, origin: EntryId) -> Result<bool, DebugError> {
        if let Some(known) = self.origins.get(&origin) {
            return Ok(*known);
        }
        let mut id = Some(origin);
        let mut is_callee = false;
        for _ in 0..DEEPEST_ORIGIN {
            let Some(here) = id else { break };
            let (unit, entry) = self.dwarf.entry(here)?;
            if let Some(name) = entry.attr_value(constants::DW_AT_name) {
                is_callee = self.dwarf.string(&unit, name)? == Some(self.callee);
                break;
            }
            id = match self.dwarf.reference(&unit, &entry, constants::DW_AT_abstract_origin)? {
                Some(origin) => Some(origin),
                None => self.dwarf.reference(&unit, &entry, constants::DW_AT_specification)?,
            };
        }
        self.origins.insert(origin, is_callee);
        Ok(is_callee)
    }
}

/// The places that hold code: the debug file, and the split files that are there.
pub(crate) fn places(dwarf: &Dwarf) -> Result<Vec<Place>, DebugError> {
    let place = |file| Place { file, type_units: false };
    let splits = dwarf.splits()?.units.len();
    let there = (0..splits).filter(|&index| dwarf.split(index).is_ok());
    Ok([place(MAIN)].into_iter().chain(there.map(|index| place(FIRST_SPLIT + index as u32))).collect())
}

/// The units that can hold calls: those of the source file, or those that name the callee or refer to an entry in another
/// unit that does (after dwz and link-time optimisation they do).
fn units(dwarf: &Dwarf, place: Place, callee: &str, source: Option<&str>) -> Result<Vec<Range<usize>>, DebugError> {
    if let Some(source) = source {
        return choose::units_named(dwarf, place, source);
    }
    let file = dwarf.file(place)?;
    if file.has(SectionId::DebugStrOffsets) {
        return Ok(file.units(false)?.to_vec());
    }
    let mut offsets = Offsets::default();
    let names = offsets.needles(dwarf, place, [callee].into_iter())?;
    let mut entries = FxHashSet::default();
    let shared = Place { file: SUPPLEMENT, type_units: false };
    let shared = if place.file == MAIN && dwarf.supplement()?.is_some() { Some(shared) } else { None };
    for place in [Some(place), shared].into_iter().flatten() {
        let names = offsets.needles(dwarf, place, [callee].into_iter())?;
        for range in mentioning(dwarf, place, &names)? {
            functions_named(dwarf, place, range, callee, &mut entries)?;
        }
    }
    let references = Needles::new(entries);
    let wanted = |bytes: &[u8]| names.occur_in(bytes) || references.occur_in(bytes);
    let mut found = Vec::new();
    for range in file.units(false)? {
        if wanted(file.unit_bytes(false, range.clone())?) {
            found.push(range.clone());
        }
    }
    Ok(found)
}

fn mentioning(dwarf: &Dwarf, place: Place, names: &Needles) -> Result<Vec<Range<usize>>, DebugError> {
    let file = dwarf.file(place)?;
    let mut found = Vec::new();
    for range in file.units(place.type_units)? {
        if names.occur_in(file.unit_bytes(place.type_units, range.clone())?) {
            found.push(range.clone());
        }
    }
    Ok(found)
}

/// Adds the section offsets of the functions of that name at file scope of a unit.
fn functions_named(
    dwarf: &Dwarf,
    place: Place,
    range: Range<usize>,
    name: &str,
    found: &mut FxHashSet<u32>,
) -> Result<(), DebugError> {
    let unit = dwarf.unit(place, range)?;
    unit.file_scope(
        |tag| tag == constants::DW_TAG_subprogram,
        |entry| {
            if let Some(value) = entry.attr_value(constants::DW_AT_name)
                && dwarf.string(&unit, value)? == Some(name.as_bytes())
            {
                found.extend(u32::try_from(unit.id_of(entry).offset).ok());
            }
            Ok(true)
        },
    )
}

fn is_call(tag: DwTag) -> bool {
    tag == constants::DW_TAG_call_site || tag == constants::DW_TAG_GNU_call_site
}

fn is_parameter(tag: DwTag) -> bool {
    tag == constants::DW_TAG_call_site_parameter || tag == constants::DW_TAG_GNU_call_site_parameter
}

/// The registers that pass integer arguments, by the DWARF numbers of each machine's ABI.
fn argument_registers(machine: u16) -> &'static [u16] {
    match elf::Machine(machine) {
        // rdi, rsi, rdx, rcx, r8, r9
        elf::EM_X86_64 => &[5, 4, 1, 2, 8, 9],
        // x0 to x7
        elf::EM_AARCH64 => &[0, 1, 2, 3, 4, 5, 6, 7],
        _ => &[],
    }
}
