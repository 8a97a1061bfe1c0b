//! The few DWARF expressions that need no machine state: fixed addresses, TLS offsets, constants, register names.

use super::Location;
use super::dwarf::Dwarf;
use super::error::DebugError;
use super::file::Slice;
use super::unit::{Entry, Unit};
use crate::addr::FileAddr;
use gimli::{AttributeValue, DebugAddrIndex, DwAt, Operation, SectionId};

/// Most operations that an expression may have before it is taken for something that is not a plain location.
const LONGEST: usize = 8;

impl Dwarf {
    /// Where a variable lives, if that is the same at all times.
    pub(crate) fn location<'a>(&self, unit: &Unit<'a>, entry: &Entry<'a>) -> Result<Option<Location>, DebugError> {
        let mut value = None;
        for operation in operations(unit, entry, gimli::constants::DW_AT_location)? {
            value = match (operation, value) {
                (Operation::Address { address }, None) => Some(Location::Static(FileAddr(address))),
                (Operation::AddressIndex { index }, None) => {
                    Some(Location::Static(FileAddr(self.indexed_address(unit, index)?)))
                }
                (Operation::UnsignedConstant { value }, None) => Some(Location::ThreadLocal(value)),
                // The TLS offset of a variable in a split file is in .debug_addr. gcc 12 puts the address of the variable's
                // initial value there instead, so it is not believed: the symbol has the offset.
                (Operation::ConstantIndex { .. }, None) => return Ok(None),
                (Operation::TLS, Some(Location::ThreadLocal(offset))) => {
                    return Ok(Some(Location::ThreadLocal(offset)));
                }
                (Operation::PlusConstant { value }, Some(Location::Static(address))) => {
                    Some(Location::Static(FileAddr(address.0.wrapping_add(value))))
                }
                _ => return Ok(None),
            };
        }
        // A constant that no TLS operation follows is an absolute address of something else than a variable.
        Ok(value.filter(|location| matches!(location, Location::Static(_))))
    }

    /// An attribute that holds an address, itself or by its number in `.debug_addr`.
    pub(crate) fn address(&self, unit: &Unit<'_>, entry: &Entry<'_>, name: DwAt) -> Result<Option<u64>, DebugError> {
        match entry.attr_value(name) {
            Some(AttributeValue::Addr(address)) => Ok(Some(address)),
            Some(AttributeValue::DebugAddrIndex(index)) => self.indexed_address(unit, index).map(Some),
            _ => Ok(None),
        }
    }

    /// An address by its number. A split unit's addresses are in the linked file.
    fn indexed_address(&self, unit: &Unit<'_>, index: DebugAddrIndex<usize>) -> Result<u64, DebugError> {
        let file = if unit.file.is_split() { &self.main } else { unit.file };
        let addresses = gimli::DebugAddr::from(file.slice(SectionId::DebugAddr)?);
        let address = addresses.get_address(unit.header.address_size(), unit.addr_base, index);
        address.map_err(|error| DebugError::malformed(file.path(), ".debug_addr", error))
    }
}

/// The number that an expression always yields, if it does.
pub(crate) fn constant<'a>(unit: &Unit<'a>, entry: &Entry<'a>, name: DwAt) -> Result<Option<u64>, DebugError> {
    Ok(match operations(unit, entry, name)?.as_slice() {
        [Operation::UnsignedConstant { value }] => Some(*value),
        [Operation::SignedConstant { value }] => Some(*value as u64),
        _ => None,
    })
}

/// The number of the register that an expression names, if that is all it does.
pub(crate) fn register<'a>(unit: &Unit<'a>, entry: &Entry<'a>, name: DwAt) -> Result<Option<u16>, DebugError> {
    Ok(match operations(unit, entry, name)?.as_slice() {
        [Operation::Register { register }] => Some(register.0),
        _ => None,
    })
}

fn operations<'a>(unit: &Unit<'a>, entry: &Entry<'a>, name: DwAt) -> Result<Vec<Operation<Slice<'a>>>, DebugError> {
    let Some(expression) = entry.attr(name).and_then(|attribute| attribute.exprloc_value()) else {
        return Ok(Vec::new());
    };
    let mut operations = expression.operations(unit.header.encoding());
    let mut found = Vec::new();
    while let Some(operation) = operations.next().map_err(|error| unit.damaged(error))? {
        found.push(operation);
        if found.len() > LONGEST {
            return Ok(Vec::new());
        }
    }
    Ok(found)
}
