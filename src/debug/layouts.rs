//! Structure layouts: fields, bit-fields, and the members of anonymous structures and unions.

use super::dwarf::Dwarf;
use super::error::DebugError;
use super::reader::{DEEPEST, is_compound};
use super::types::{BitField, EntryId, Field, Found, Layout, TypeId};
use super::unit::{Entry, Unit, unsigned};
use gimli::{Operation, constants};
use std::sync::{Arc, PoisonError};

/// Structures larger than this many bytes are not believed: callers make room for a whole one.
const LARGEST: u64 = 16 << 20;

impl Dwarf {
    /// The layout of the structure that an entry defines. `typedef` names one without a tag. `outer` are the structures
    /// that are being read, which embed this one.
    pub(crate) fn layout(
        &self,
        id: EntryId,
        typedef: Option<String>,
        outer: &mut Vec<EntryId>,
    ) -> Result<Arc<Layout>, DebugError> {
        let layouts = || self.layouts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = layouts().get(&id) {
            return Ok(known.clone());
        }
        let (unit, entry) = self.entry(id)?;
        if outer.contains(&id) || outer.len() >= DEEPEST {
            return Err(unit.damaged("a structure contains itself"));
        }
        outer.push(id);
        let layout = self.read_layout(&unit, &entry, typedef, outer)?;
        outer.pop();
        let layout = Arc::new(layout);
        layouts().insert(id, layout.clone());
        Ok(layout)
    }

    fn read_layout<'a>(
        &'a self,
        unit: &Unit<'a>,
        entry: &Entry<'a>,
        typedef: Option<String>,
        outer: &mut Vec<EntryId>,
    ) -> Result<Layout, DebugError> {
        let tag = self.text(unit, entry, constants::DW_AT_name)?;
        let name = if tag.is_empty() { typedef.unwrap_or_default() } else { tag };
        let size = unsigned(entry, constants::DW_AT_byte_size).unwrap_or_default();
        if size > LARGEST {
            return Err(unit.damaged(format!("structure {name} is {size} bytes long")));
        }
        let mut members = Vec::new();
        unit.children(entry, |child| {
            let member = child.tag() == constants::DW_TAG_member || child.tag() == constants::DW_TAG_inheritance;
            // A static member of a class has no place in it.
            if member && child.attr(constants::DW_AT_external).is_none() {
                members.push(self.member(unit, child, size)?);
            }
            Ok(true)
        })?;
        if let Some(field) = members.iter().find(|field| field.offset > size) {
            return Err(unit.damaged(format!("field {} of {name} lies beyond its end", field.name)));
        }
        let mut found = Vec::new();
        for field in &members {
            let embedded = self.embedded(field.type_id, outer)?;
            match &embedded {
                Some(inner) if field.name.is_empty() => {
                    found.extend(inner.index.values().map(|f| moved(f, field.offset)))
                }
                _ => found.push(Found { field: field.clone(), embedded }),
            }
        }
        Ok(Layout::new(name, size, members, found))
    }

    /// The layout of a field that is itself a structure.
    fn embedded(&self, id: TypeId, outer: &mut Vec<EntryId>) -> Result<Option<Arc<Layout>>, DebugError> {
        let stripped = self.strip(id)?;
        let Some(below) = stripped.id else { return Ok(None) };
        let (unit, entry) = self.entry(below.entry)?;
        if !is_compound(entry.tag()) {
            return Ok(None);
        }
        let Some(definition) = self.definition(&unit, &entry)? else { return Ok(None) };
        self.layout(definition, stripped.typedef, outer).map(Some)
    }

    fn member<'a>(&'a self, unit: &Unit<'a>, entry: &Entry<'a>, structure: u64) -> Result<Field, DebugError> {
        let type_id = self.reference(unit, entry, constants::DW_AT_type)?.map(TypeId::from);
        let type_id = type_id.ok_or_else(|| unit.damaged("a field without a type"))?;
        let mut field = Field {
            name: match entry.tag() {
                constants::DW_TAG_inheritance => String::new(),
                _ => self.text(unit, entry, constants::DW_AT_name)?,
            },
            offset: member_offset(unit, entry)?,
            type_id,
            bits: None,
        };
        if let Some(width) = unsigned(entry, constants::DW_AT_bit_size) {
            let declared = match unsigned(entry, constants::DW_AT_byte_size) {
                Some(size) => Some(size),
                None => self.stated_size(type_id)?,
            };
            let first = first_bit(entry, field.offset, declared, width);
            let placed = first.and_then(|first| place_bits(first, width, declared.unwrap_or(1), structure));
            let (offset, bits) = placed.ok_or_else(|| unit.damaged("a bit-field that does not fit its structure"))?;
            field.offset = offset;
            field.bits = Some(bits);
        }
        Ok(field)
    }
}

/// A field of an anonymous member, as one of the outer structure.
fn moved(found: &Found, offset: u64) -> Found {
    let mut found = found.clone();
    found.field.offset = found.field.offset.wrapping_add(offset);
    found
}

/// The offset in bytes of a member. DWARF 2 wrote it as an expression that adds to the address of the structure. Members
/// of unions, and bit-fields that state `DW_AT_data_bit_offset`, have none.
fn member_offset(unit: &Unit<'_>, entry: &Entry<'_>) -> Result<u64, DebugError> {
    let Some(location) = entry.attr(constants::DW_AT_data_member_location) else { return Ok(0) };
    if let Some(offset) = location.udata_value() {
        return Ok(offset);
    }
    let first = match location.exprloc_value() {
        Some(expression) => expression.operations(unit.header.encoding()).next().map_err(|e| unit.damaged(e))?,
        None => None,
    };
    match first {
        Some(Operation::PlusConstant { value }) => Ok(value),
        Some(Operation::UnsignedConstant { value }) => Ok(value),
        _ => Err(unit.damaged("a field whose place must be computed")),
    }
}

/// The first bit of a bit-field, counted from the least significant bit of the structure's first byte.
/// `DW_AT_data_bit_offset` (DWARF 4 and 5) states it. `DW_AT_bit_offset` (up to DWARF 4) counts from the most significant
/// bit of a storage unit as large as the declared type.
fn first_bit(entry: &Entry<'_>, offset: u64, storage: Option<u64>, width: u64) -> Option<u64> {
    let start = offset.checked_mul(8)?;
    if let Some(bit) = unsigned(entry, constants::DW_AT_data_bit_offset) {
        return start.checked_add(bit);
    }
    let Some(from_top) = entry.attr(constants::DW_AT_bit_offset) else { return Some(start) };
    // Negative where a packed field begins above the storage unit that was stated.
    let from_top = match from_top.value() {
        gimli::AttributeValue::Sdata(value) => value,
        _ => i64::try_from(from_top.udata_value()?).ok()?,
    };
    let end = start.checked_add(storage?.checked_mul(8)?)?;
    u64::try_from(i64::try_from(end).ok()?.checked_sub(from_top)?.checked_sub(i64::try_from(width).ok()?)?).ok()
}

/// The unit to read a bit-field from: one as large as its declared type and aligned to it, if the field lies in one such
/// and that lies in the structure; else just the bytes that it touches.
fn place_bits(first: u64, width: u64, declared: u64, structure: u64) -> Option<(u64, BitField)> {
    let width = u32::try_from(width).ok().filter(|width| (1..=64).contains(width))?;
    let last_byte = first.checked_add(u64::from(width) - 1)? / 8;
    let aligned = (first / 8).checked_div(declared)?.checked_mul(declared)?;
    let fits = declared <= 8 && last_byte < aligned.checked_add(declared)? && aligned + declared <= structure;
    let (start, unit) = if fits { (aligned, declared) } else { (first / 8, last_byte - first / 8 + 1) };
    let bits =
        BitField { offset: u32::try_from(first - start * 8).ok()?, size: width, unit: u32::try_from(unit).ok()? };
    Some((start, bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_field_is_read_from_its_declared_type_or_from_the_bytes_it_touches() {
        let bits = |offset, size, unit| BitField { offset, size, unit };
        assert_eq!(place_bits(35, 3, 4, 16), Some((4, bits(3, 3, 4))));
        // Packed: it straddles two units of its type.
        assert_eq!(place_bits(30, 4, 4, 16), Some((3, bits(6, 4, 2))));
        // The last unit would reach past the end of a packed structure.
        assert_eq!(place_bits(34, 2, 4, 5), Some((4, bits(2, 2, 1))));
        // 64 bits that start inside a byte touch nine.
        assert_eq!(place_bits(1, 64, 8, 16), Some((0, bits(1, 64, 9))));
        assert_eq!(place_bits(0, 0, 4, 4), None);
        assert_eq!(place_bits(u64::MAX, 64, 4, 4), None);
        assert_eq!(place_bits(0, 8, 0, 4), None);
    }
}
