//! The owned model of C types: what DWARF says of structures, fields, pointers and arrays, free of any parser state.

use rustc_hash::FxHashMap;
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// Which type. Meaningful only to the [`DebugInfo`](super::DebugInfo) that gave it out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TypeId {
    pub(crate) entry: EntryId,
    /// For an array of arrays, which DWARF describes by one entry: how many dimensions an element has lost.
    pub(crate) dimension: u8,
}

impl From<EntryId> for TypeId {
    fn from(entry: EntryId) -> TypeId {
        TypeId { entry, dimension: 0 }
    }
}

/// Which debugging entry: the file and section that holds it, and its offset there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct EntryId {
    pub(crate) place: Place,
    pub(crate) offset: usize,
}

/// A section that holds debugging entries. One module can have several: its own, that of the file that dwz shares
/// between several modules, and one for each split file. Offsets of one say nothing in another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Place {
    /// Index of the file in the module's list of files.
    pub(crate) file: u32,
    /// True for `.debug_types` (DWARF 4 type units), false for `.debug_info`.
    pub(crate) type_units: bool,
}

/// How a base type's bits are to be read, from `DW_AT_encoding`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Encoding {
    /// An unsigned integer, a character of an unsigned type, or a machine address.
    Unsigned,
    /// A two's complement integer.
    Signed,
    /// True or false.
    Boolean,
    /// A floating-point number.
    Float,
    /// Anything else (complex numbers, decimal floats…).
    Other,
}

/// What a type is, once typedefs and qualifiers (const, volatile, restrict, atomic) are looked through.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TypeKind {
    /// A number or a character.
    Base {
        /// Its name in the source, such as `long unsigned int`.
        name: String,
        /// Size in bytes.
        size: u64,
        /// How to read the bits.
        encoding: Encoding,
    },
    /// A pointer, with what it points to; `None` for `void *`.
    Pointer(Option<TypeId>),
    /// A structure, a union or a class.
    Struct(Arc<Layout>),
    /// A structure that the debug info only declares: it is used by pointer, its definition was never compiled in.
    Declared {
        /// Its tag.
        name: String,
    },
    /// An array. An array of arrays is one whose element is an array.
    Array {
        /// What it holds.
        element: TypeId,
        /// How many, or `None` for a flexible array member and for one of variable length.
        count: Option<u64>,
    },
    /// An enumeration.
    Enum {
        /// Its tag, empty if it has none.
        name: String,
        /// Size in bytes.
        size: u64,
        /// Names and values, in source order.
        enumerators: Arc<[Enumerator]>,
    },
    /// A function (as the target of a pointer).
    Function,
    /// `void`, as the target of a typedef or qualifier.
    Void,
    /// A kind of type that C does not have.
    Other,
}

/// One constant of an enumeration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Enumerator {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: i128,
}

/// The layout of a structure, union or class, as the compiler of the running binary laid it out.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Its tag (`ngx_pool_s`), or the typedef that names it if it has no tag; empty if it has neither.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// Fields in source order. A member without a name (an anonymous struct or union) stands here as one field with an
    /// empty name.
    pub fields: Vec<Field>,
    pub(crate) index: FxHashMap<String, Found>,
}

/// A field of a structure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    /// Its name; empty for an anonymous struct or union.
    pub name: String,
    /// Bytes from the start of the structure. For a bit-field: where the unit that is to be read starts.
    pub offset: u64,
    /// Its type, typedefs kept.
    pub type_id: TypeId,
    /// Which bits of the unit at `offset` it has, if it is a bit-field.
    pub bits: Option<BitField>,
}

/// Where a bit-field lies in the little-endian unit at its field's offset.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BitField {
    /// Bits to the right of it, from the least significant one.
    pub offset: u32,
    /// Width in bits.
    pub size: u32,
    /// Size in bytes of the unit: that of the declared type, or as few bytes as hold it where it straddles two of these
    /// (in a packed structure), which is 9 at most.
    pub unit: u32,
}

/// What the lookup table of a layout holds: the field itself, its place in the outer structure already added up for
/// those that come from anonymous members, and the layout of structures that it embeds.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) field: Field,
    pub(crate) embedded: Option<Arc<Layout>>,
}

/// The type of a field of which only the place is known: no file has that number.
const UNKNOWN: TypeId =
    TypeId { entry: EntryId { place: Place { file: u32::MAX, type_units: false }, offset: usize::MAX }, dimension: 0 };

/// A structure has no such field: the running binary was built from another source than expected.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("structure {structure} has no field {field} in the debug info of this build")]
pub struct MissingField {
    /// The structure that was looked in.
    pub structure: String,
    /// The field, or the step of a dotted path, that it lacks.
    pub field: String,
}

impl Layout {
    pub(crate) fn new(name: String, size: u64, fields: Vec<Field>, found: Vec<Found>) -> Layout {
        let mut index = FxHashMap::default();
        for found in found {
            index.entry(found.field.name.clone()).or_insert(found);
        }
        Layout { name, size, fields, index }
    }

    /// A layout of which only places are known, not types: for builds without debug info. A name can be a dotted path.
    /// Asked for the kind of such a field's type, any [`DebugInfo`](super::DebugInfo) gives an error.
    pub fn of_places<'a>(
        name: &str,
        size: u64,
        places: impl IntoIterator<Item = (&'a str, u64, Option<BitField>)>,
    ) -> Layout {
        let field = |(name, offset, bits): (&str, u64, Option<BitField>)| Field {
            name: name.to_owned(),
            offset,
            type_id: UNKNOWN,
            bits,
        };
        let fields: Vec<Field> = places.into_iter().map(field).collect();
        let found = fields.iter().map(|field| Found { field: field.clone(), embedded: None }).collect();
        Layout::new(name.to_owned(), size, fields, found)
    }

    /// The field of that name. Those of anonymous members count as the structure's own, as they do in C, with offsets
    /// from the start of this structure.
    pub fn field(&self, name: &str) -> Result<&Field, MissingField> {
        self.index.get(name).map(|found| &found.field).ok_or_else(|| self.missing(name))
    }

    /// The field at a dotted path through embedded structures (`d.last`), with its offset from the start of this one.
    pub fn field_at(&self, path: &str) -> Result<Field, MissingField> {
        if let Some(found) = self.index.get(path) {
            return Ok(found.field.clone());
        }
        let (first, rest) = match path.split_once('.') {
            Some((first, rest)) => (first, Some(rest)),
            None => (path, None),
        };
        let found = self.index.get(first).ok_or_else(|| self.missing(first))?;
        let Some(rest) = rest else { return Ok(found.field.clone()) };
        let embedded = found.embedded.as_ref().ok_or_else(|| self.missing(path))?;
        let mut field = embedded.field_at(rest)?;
        field.offset = field.offset.wrapping_add(found.field.offset);
        Ok(field)
    }

    /// The offset in bytes of the field at a dotted path through embedded structures, such as `d.last` in
    /// `ngx_pool_t`. A bit-field has no byte offset of its own: what is given is that of the unit it is in.
    pub fn offset(&self, path: &str) -> Result<u64, MissingField> {
        self.field_at(path).map(|field| field.offset)
    }

    /// True if it has the field at that dotted path.
    pub fn has(&self, path: &str) -> bool {
        self.field_at(path).is_ok()
    }

    /// The layout of the structure embedded at a dotted path, if what is there is one.
    pub fn embedded(&self, path: &str) -> Result<Arc<Layout>, MissingField> {
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        let found = self.index.get(first).ok_or_else(|| self.missing(first))?;
        let embedded = found.embedded.clone().ok_or_else(|| self.missing(path))?;
        if rest.is_empty() { Ok(embedded) } else { embedded.embedded(rest) }
    }

    fn missing(&self, field: &str) -> MissingField {
        MissingField { structure: self.display_name().to_string(), field: field.to_string() }
    }

    fn display_name(&self) -> &str {
        if self.name.is_empty() { "(anonymous)" } else { &self.name }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.display_name(), self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_by_name_and_by_dotted_path() {
        let layout = Layout::of_places("ngx_event_s", 96, [("data", 0, None), ("timer.left", 48, None)]);
        assert_eq!(layout.offset("timer.left"), Ok(48));
        assert_eq!(layout.offset("data"), Ok(0));
        assert!(layout.offset("timer").is_err() && layout.offset("data.x").is_err());
    }
}
