//! Variables at file scope: what type they have and where they live.

use super::choose::First;
use super::dwarf::Dwarf;
use super::error::DebugError;
use super::index::{self, Class, Hit};
use super::symbols::{Symbol, SymbolKind};
use super::types::{EntryId, TypeId};
use super::unit::{Entry, Unit};
use super::{Location, Variable};
use gimli::constants;

/// Finds a variable. Its type comes from its definition, or else from a declaration; its place from the definition, or
/// else from the symbol of its name, if that is visible outside its source file and so the only one.
pub(crate) fn find(
    dwarf: &Dwarf,
    symbol: impl FnOnce() -> Option<Symbol>,
    name: &str,
    unit: Option<&str>,
) -> Result<Option<Variable>, DebugError> {
    if let Some(unit) = unit
        && let Some(Hit::Entry(id)) = index::find_one(dwarf, Class::Variable, name, First::Source(unit))?
        && let (Some(location), type_id) = read(dwarf, id)?
    {
        return Ok(variable(name, Some(location), type_id));
    }
    let symbol = symbol();
    let place = symbol.as_ref().and_then(symbol_location);
    // An address is in far fewer units than the name of a variable that a header declares.
    let address = match (unit, place) {
        (None, Some(Location::Static(address))) => Some(address.0.to_le_bytes()),
        _ => None,
    };
    let first = match (unit, &address) {
        (Some(unit), _) => First::Source(unit),
        (None, Some(address)) => First::Containing(address),
        (None, None) => First::Any,
    };
    let global = symbol.is_some_and(|symbol| symbol.global);
    if let Some(Hit::Entry(id)) = index::find_one(dwarf, Class::Variable, name, first)? {
        let (location, type_id) = read(dwarf, id)?;
        let location = location.or(place);
        return Ok(variable(name, location, type_id));
    }
    if !global {
        return Ok(None);
    }
    match index::find_one(dwarf, Class::DeclaredVariable, name, first)? {
        Some(Hit::Entry(id)) => Ok(variable(name, place, read(dwarf, id)?.1)),
        _ => Ok(None),
    }
}

fn variable(name: &str, location: Option<Location>, type_id: Option<TypeId>) -> Option<Variable> {
    Some(Variable { name: name.to_string(), location: location?, type_id: type_id? })
}

fn symbol_location(symbol: &Symbol) -> Option<Location> {
    match symbol.kind {
        SymbolKind::Object | SymbolKind::Untyped => Some(Location::Static(symbol.address)),
        SymbolKind::ThreadLocal => Some(Location::ThreadLocal(symbol.address.0)),
        SymbolKind::Function => None,
    }
}

/// The place and type that an entry states. A definition leaves the type to the declaration that it refers to.
fn read(dwarf: &Dwarf, id: EntryId) -> Result<(Option<Location>, Option<TypeId>), DebugError> {
    let (unit, entry) = dwarf.entry(id)?;
    let location = dwarf.location(&unit, &entry)?;
    let type_id = match type_of(dwarf, &unit, &entry)? {
        Some(type_id) => Some(type_id),
        None => match dwarf.reference(&unit, &entry, constants::DW_AT_specification)? {
            Some(declaration) => {
                let (unit, entry) = dwarf.entry(declaration)?;
                type_of(dwarf, &unit, &entry)?
            }
            None => None,
        },
    };
    Ok((location, type_id))
}

fn type_of(dwarf: &Dwarf, unit: &Unit<'_>, entry: &Entry<'_>) -> Result<Option<TypeId>, DebugError> {
    Ok(dwarf.reference(unit, entry, constants::DW_AT_type)?.map(TypeId::from))
}
