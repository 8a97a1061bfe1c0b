//! Turning debugging entries of types into the owned model.

use super::choose::First;
use super::dwarf::Dwarf;
use super::error::DebugError;
use super::index::{self, Class, Hit};
use super::types::{Encoding, EntryId, Enumerator, TypeId, TypeKind};
use super::unit::{Entry, Unit, flag, unsigned};
use gimli::{AttributeValue, DwTag, constants};
use std::sync::PoisonError;

/// Longest chain of typedefs and qualifiers, and deepest nesting of structures, that is followed. Real code stays below
/// ten; a longer one is a cycle in corrupt debug info.
pub(crate) const DEEPEST: usize = 64;

/// What is left of a type when typedefs and qualifiers are taken off.
pub(crate) struct Stripped {
    /// The type below; `None` for `void`.
    pub(crate) id: Option<TypeId>,
    /// The innermost typedef on the way.
    pub(crate) typedef: Option<String>,
}

impl Dwarf {
    /// Looks through typedefs and qualifiers.
    pub(crate) fn strip(&self, id: TypeId) -> Result<Stripped, DebugError> {
        let mut stripped = Stripped { id: Some(id), typedef: None };
        for _ in 0..DEEPEST {
            let Some(id) = stripped.id else { return Ok(stripped) };
            let (unit, entry) = self.entry(id.entry)?;
            match entry.tag() {
                constants::DW_TAG_typedef => {
                    stripped.typedef = Some(self.text(&unit, &entry, constants::DW_AT_name)?)
                }
                tag if is_qualifier(tag) => {}
                _ => return Ok(stripped),
            }
            stripped.id = self.reference(&unit, &entry, constants::DW_AT_type)?.map(TypeId::from);
        }
        Err(self.file(id.entry.place)?.damaged(id.entry.place.type_units, "typedefs refer to each other in a circle"))
    }

    /// The tag of the structure that a type comes down to, if that structure is only declared there.
    pub(crate) fn declared_tag(&self, id: TypeId) -> Result<Option<String>, DebugError> {
        let Some(id) = self.strip(id)?.id else { return Ok(None) };
        let (unit, entry) = self.entry(id.entry)?;
        let elsewhere = entry.attr(constants::DW_AT_signature).is_some();
        if !is_compound(entry.tag()) || !flag(&entry, constants::DW_AT_declaration) || elsewhere {
            return Ok(None);
        }
        let name = self.text(&unit, &entry, constants::DW_AT_name)?;
        Ok(Some(name).filter(|name| !name.is_empty()))
    }

    /// What a type is.
    pub(crate) fn kind(&self, id: TypeId) -> Result<TypeKind, DebugError> {
        let kinds = || self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kind) = kinds().get(&id) {
            return Ok(kind.clone());
        }
        let kind = self.read_kind(id)?;
        kinds().insert(id, kind.clone());
        Ok(kind)
    }

    fn read_kind(&self, id: TypeId) -> Result<TypeKind, DebugError> {
        let stripped = self.strip(id)?;
        let Some(below) = stripped.id else { return Ok(TypeKind::Void) };
        let (unit, entry) = self.entry(below.entry)?;
        match entry.tag() {
            tag if is_compound(tag) => self.compound(&unit, &entry, stripped.typedef),
            constants::DW_TAG_base_type => self.base(&unit, &entry),
            constants::DW_TAG_pointer_type | constants::DW_TAG_reference_type => {
                Ok(TypeKind::Pointer(self.reference(&unit, &entry, constants::DW_AT_type)?.map(TypeId::from)))
            }
            constants::DW_TAG_array_type => self.array(&unit, &entry, below),
            constants::DW_TAG_enumeration_type => self.enumeration(&unit, &entry),
            constants::DW_TAG_subroutine_type => Ok(TypeKind::Function),
            _ => Ok(TypeKind::Other),
        }
    }

    fn compound(&self, unit: &Unit<'_>, entry: &Entry<'_>, typedef: Option<String>) -> Result<TypeKind, DebugError> {
        match self.definition(unit, entry)? {
            Some(definition) => Ok(TypeKind::Struct(self.layout(definition, typedef, &mut Vec::new())?)),
            None => {
                let (unit, entry) = self.entry(unit.id_of(entry))?;
                Ok(TypeKind::Declared { name: self.text(&unit, &entry, constants::DW_AT_name)? })
            }
        }
    }

    /// The entry that defines a structure which may be only declared here: in a type unit, or in another unit.
    pub(crate) fn definition(&self, unit: &Unit<'_>, entry: &Entry<'_>) -> Result<Option<EntryId>, DebugError> {
        if let Some(definition) = self.reference(unit, entry, constants::DW_AT_signature)? {
            return Ok(Some(definition));
        }
        let here = unit.id_of(entry);
        if !flag(entry, constants::DW_AT_declaration) {
            return Ok(Some(here));
        }
        let Some(name) = self.declared_tag(here.into())? else { return Ok(None) };
        match index::find_one(self, Class::Tag, &name, First::Any)? {
            Some(Hit::Entry(definition)) => Ok(Some(definition)),
            _ => Ok(None),
        }
    }

    fn base<'a>(&'a self, unit: &Unit<'a>, entry: &Entry<'a>) -> Result<TypeKind, DebugError> {
        let encoding = match entry.attr_value(constants::DW_AT_encoding) {
            Some(AttributeValue::Encoding(encoding)) => match encoding {
                constants::DW_ATE_unsigned
                | constants::DW_ATE_unsigned_char
                | constants::DW_ATE_address
                | constants::DW_ATE_UTF => Encoding::Unsigned,
                constants::DW_ATE_signed | constants::DW_ATE_signed_char => Encoding::Signed,
                constants::DW_ATE_boolean => Encoding::Boolean,
                constants::DW_ATE_float => Encoding::Float,
                _ => Encoding::Other,
            },
            _ => Encoding::Other,
        };
        let size = unsigned(entry, constants::DW_AT_byte_size).unwrap_or_default();
        Ok(TypeKind::Base { name: self.text(unit, entry, constants::DW_AT_name)?, size, encoding })
    }

    fn array(&self, unit: &Unit<'_>, entry: &Entry<'_>, id: TypeId) -> Result<TypeKind, DebugError> {
        let counts = self.dimensions(unit, entry)?;
        let dimension = usize::from(id.dimension);
        let element = if dimension + 1 < counts.len() {
            Some(TypeId { dimension: id.dimension.saturating_add(1), ..id })
        } else {
            self.reference(unit, entry, constants::DW_AT_type)?.map(TypeId::from)
        };
        let element = element.ok_or_else(|| unit.damaged("an array without an element type"))?;
        Ok(TypeKind::Array { element, count: counts.get(dimension).copied().flatten() })
    }

    /// The number of elements of each dimension.
    fn dimensions(&self, unit: &Unit<'_>, entry: &Entry<'_>) -> Result<Vec<Option<u64>>, DebugError> {
        let mut counts = Vec::new();
        unit.children(entry, |child| {
            if child.tag() == constants::DW_TAG_subrange_type {
                counts.push(element_count(child));
            }
            // A type id counts dimensions in a byte.
            Ok(counts.len() < usize::from(u8::MAX))
        })?;
        Ok(counts)
    }

    fn enumeration<'a>(&'a self, unit: &Unit<'a>, entry: &Entry<'a>) -> Result<TypeKind, DebugError> {
        let mut enumerators = Vec::new();
        unit.children(entry, |child| {
            if let (constants::DW_TAG_enumerator, Some(value)) = (child.tag(), constant(child)) {
                enumerators.push(Enumerator { name: self.text(unit, child, constants::DW_AT_name)?, value });
            }
            Ok(true)
        })?;
        let size = match unsigned(entry, constants::DW_AT_byte_size) {
            Some(size) => size,
            None => match self.reference(unit, entry, constants::DW_AT_type)? {
                Some(underlying) => self.stated_size(underlying.into())?.unwrap_or_default(),
                None => 0,
            },
        };
        let name = self.text(unit, entry, constants::DW_AT_name)?;
        Ok(TypeKind::Enum { name, size, enumerators: enumerators.into() })
    }

    /// The size in bytes that a type's own entry states. Base types do; it needs no look at any other structure, and so
    /// cannot be led in a circle.
    pub(crate) fn stated_size(&self, id: TypeId) -> Result<Option<u64>, DebugError> {
        let Some(below) = self.strip(id)?.id else { return Ok(None) };
        Ok(unsigned(&self.entry(below.entry)?.1, constants::DW_AT_byte_size))
    }

    /// Size in bytes of a value of a type; `None` where there is none.
    pub(crate) fn size(&self, id: TypeId) -> Result<Option<u64>, DebugError> {
        let mut id = id;
        let mut count = 1u64;
        for _ in 0..DEEPEST {
            let size = match self.kind(id)? {
                TypeKind::Base { size, .. } | TypeKind::Enum { size, .. } => size,
                TypeKind::Pointer(_) => 8,
                TypeKind::Struct(layout) => layout.size,
                TypeKind::Array { element, count: Some(elements) } => {
                    let Some(product) = count.checked_mul(elements) else { return Ok(None) };
                    (id, count) = (element, product);
                    continue;
                }
                _ => return Ok(None),
            };
            return Ok(count.checked_mul(size));
        }
        Ok(None)
    }

    /// A type's name as C writes it.
    pub(crate) fn type_name(&self, id: Option<TypeId>) -> Result<String, DebugError> {
        self.spell(id, 0)
    }

    fn spell(&self, id: Option<TypeId>, depth: usize) -> Result<String, DebugError> {
        let Some(id) = id else { return Ok("void".into()) };
        if depth > DEEPEST {
            return Ok("…".into());
        }
        let (unit, entry) = self.entry(id.entry)?;
        let target = || -> Result<String, DebugError> {
            let target = self.reference(&unit, &entry, constants::DW_AT_type)?;
            self.spell(target.map(TypeId::from), depth + 1)
        };
        let name = self.text(&unit, &entry, constants::DW_AT_name)?;
        let tagged = |keyword: &str| {
            if name.is_empty() { format!("{keyword} (anonymous)") } else { format!("{keyword} {name}") }
        };
        Ok(match entry.tag() {
            constants::DW_TAG_structure_type => tagged("struct"),
            constants::DW_TAG_class_type => tagged("class"),
            constants::DW_TAG_union_type => tagged("union"),
            constants::DW_TAG_enumeration_type => tagged("enum"),
            constants::DW_TAG_pointer_type => pointer_to(&target()?),
            constants::DW_TAG_const_type => format!("const {}", target()?),
            constants::DW_TAG_volatile_type => format!("volatile {}", target()?),
            tag if is_qualifier(tag) && tag != constants::DW_TAG_typedef => target()?,
            constants::DW_TAG_subroutine_type => format!("{} ()", target()?),
            constants::DW_TAG_array_type => {
                let counts = self.dimensions(&unit, &entry)?;
                let bounds = counts.iter().skip(usize::from(id.dimension));
                let bounds = bounds.map(|count| count.map_or("[]".into(), |count| format!("[{count}]")));
                format!("{} {}", target()?, bounds.collect::<String>())
            }
            _ => name,
        })
    }
}

fn pointer_to(target: &str) -> String {
    match target.strip_suffix("()") {
        Some(result) => format!("{result}(*)()"),
        None if target.ends_with('*') => format!("{target}*"),
        None => format!("{target} *"),
    }
}

/// The number of elements that a subrange states: by its count, or by its upper bound, which starts from zero in C.
/// `None` for flexible arrays, and for those whose bound is computed at run time.
fn element_count(subrange: &Entry<'_>) -> Option<u64> {
    if let Some(count) = unsigned(subrange, constants::DW_AT_count) {
        return Some(count);
    }
    let upper = subrange.attr(constants::DW_AT_upper_bound)?;
    // The upper bound of an array without elements is -1, in whatever form.
    if upper.sdata_value() == Some(-1) && !matches!(upper.value(), AttributeValue::Data1(_) | AttributeValue::Data2(_))
    {
        return Some(0);
    }
    upper.udata_value()?.checked_add(1)
}

/// The value of an enumeration constant.
pub(crate) fn constant(entry: &Entry<'_>) -> Option<i128> {
    match entry.attr(constants::DW_AT_const_value)?.value() {
        AttributeValue::Sdata(value) => Some(value.into()),
        AttributeValue::Data16(value) => i128::try_from(value).ok(),
        _ => unsigned(entry, constants::DW_AT_const_value).map(i128::from),
    }
}

pub(crate) fn is_compound(tag: DwTag) -> bool {
    matches!(tag, constants::DW_TAG_structure_type | constants::DW_TAG_union_type | constants::DW_TAG_class_type)
}

fn is_qualifier(tag: DwTag) -> bool {
    matches!(
        tag,
        constants::DW_TAG_typedef
            | constants::DW_TAG_const_type
            | constants::DW_TAG_volatile_type
            | constants::DW_TAG_restrict_type
            | constants::DW_TAG_atomic_type
            | constants::DW_TAG_packed_type
            | constants::DW_TAG_shared_type
            | constants::DW_TAG_immutable_type
    )
}
