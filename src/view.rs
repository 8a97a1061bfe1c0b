//! Typed values in a target's memory: read a field, follow a pointer, index an array, as the debug info lays them out.

use crate::addr::Addr;
use crate::debug::{BitField, DebugError, DebugInfo, Encoding, Layout, MissingField, TypeId, TypeKind};
use crate::target::memory::{Fault, Memory};
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// Why a typed value could not be read. Each names the expression that was read, such as `ngx_cycle->pool`.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ViewError {
    /// The memory is not there.
    #[error("cannot read {path} at {address}: {fault}")]
    Fault {
        /// The expression.
        path: String,
        /// Where it would be.
        address: Addr,
        /// What the target's memory said.
        fault: Fault,
    },
    /// The structure has no such field.
    #[error("cannot read {path}: {missing}")]
    MissingField {
        /// The expression.
        path: String,
        /// The field and its structure.
        missing: MissingField,
    },
    /// The value is not of the kind that was asked for.
    #[error("{path} is {found}, not {wanted}")]
    WrongKind {
        /// The expression.
        path: String,
        /// What was asked for.
        wanted: &'static str,
        /// The type that it has.
        found: String,
    },
    /// A null pointer was followed.
    #[error("{path} is a null pointer")]
    Null {
        /// The expression.
        path: String,
    },
    /// An array was indexed past its end.
    #[error("{path} has {count} elements, so there is no element {index}")]
    OutOfBounds {
        /// The expression.
        path: String,
        /// How many elements the array has.
        count: u64,
        /// The index asked for.
        index: u64,
    },
    /// The debug info failed.
    #[error("cannot read {path}: {source}")]
    Debug {
        /// The expression.
        path: String,
        /// Why.
        source: DebugError,
    },
}

/// A value of a known type at an address. Cheap to make and to clone; nothing is read before a value is asked for.
#[derive(Clone)]
pub struct View<'a> {
    memory: &'a dyn Memory,
    debug: &'a DebugInfo,
    address: Addr,
    shape: Shape,
    path: String,
}

/// The type of a view: an entry of the debug info, a bit-field of such a type, or a structure asked for by name.
#[derive(Clone)]
enum Shape {
    Type(TypeId),
    Bits(TypeId, BitField),
    Struct(Arc<Layout>),
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.path, self.address)
    }
}

impl<'a> View<'a> {
    /// The structure `name` (tag or typedef) at `address`.
    pub fn of(memory: &'a dyn Memory, debug: &'a DebugInfo, name: &str, address: Addr) -> Result<View<'a>, ViewError> {
        let path = format!("({name} *) {address}");
        match debug.layout(name) {
            Ok(layout) => Ok(View { memory, debug, address, shape: Shape::Struct(layout), path }),
            Err(source) => Err(ViewError::Debug { path, source }),
        }
    }

    /// A structure whose layout is at hand.
    pub fn of_layout(memory: &'a dyn Memory, debug: &'a DebugInfo, layout: Arc<Layout>, address: Addr) -> View<'a> {
        let path = format!("({} *) {address}", layout.name);
        View { memory, debug, address, shape: Shape::Struct(layout), path }
    }

    /// A value of a type at hand, such as a variable's; `path` is what messages call it.
    pub fn of_type(
        memory: &'a dyn Memory,
        debug: &'a DebugInfo,
        type_id: TypeId,
        address: Addr,
        path: impl Into<String>,
    ) -> View<'a> {
        View { memory, debug, address, shape: Shape::Type(type_id), path: path.into() }
    }

    /// Where the value is. For a bit-field: the unit that holds it.
    pub fn address(&self) -> Addr {
        self.address
    }

    /// The expression that led here.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The type of the value, typedefs looked through.
    pub fn kind(&self) -> Result<TypeKind, ViewError> {
        match &self.shape {
            Shape::Type(id) | Shape::Bits(id, _) => self.debug.type_kind(*id).map_err(|source| self.failed(source)),
            Shape::Struct(layout) => Ok(TypeKind::Struct(layout.clone())),
        }
    }

    /// The layout of the structure that the value is.
    pub fn layout(&self) -> Result<Arc<Layout>, ViewError> {
        match self.kind()? {
            TypeKind::Struct(layout) => Ok(layout),
            _ => Err(self.wrong_kind("a structure")),
        }
    }

    /// Size in bytes of the value; for a bit-field, of the unit that holds it.
    pub fn size(&self) -> Result<u64, ViewError> {
        let size = match &self.shape {
            Shape::Struct(layout) => Some(layout.size),
            Shape::Bits(_, bits) => Some(bits.unit.into()),
            Shape::Type(id) => self.debug.type_size(*id).map_err(|source| self.failed(source))?,
        };
        size.ok_or_else(|| self.wrong_kind("of a known size"))
    }

    /// The field at a dotted path through embedded structures: `d.last`. Pointers are not followed.
    pub fn field(&self, path: &str) -> Result<View<'a>, ViewError> {
        let field = self
            .layout()?
            .field_at(path)
            .map_err(|missing| ViewError::MissingField { path: self.path.clone(), missing })?;
        let shape = match field.bits {
            Some(bits) => Shape::Bits(field.type_id, bits),
            None => Shape::Type(field.type_id),
        };
        Ok(self.at(self.address + field.offset, shape, format!("{}{path}", self.prefix())))
    }

    /// The 64 bits at the address, whatever the type.
    pub fn u64(&self) -> Result<u64, ViewError> {
        self.memory.read_u64(self.address).map_err(|fault| self.fault(fault))
    }

    /// The 32 bits at the address, whatever the type.
    pub fn u32(&self) -> Result<u32, ViewError> {
        self.memory.read_u32(self.address).map_err(|fault| self.fault(fault))
    }

    /// The value as an unsigned number, as wide as its own type (up to 8 bytes) or bit-field is. Enumerations, booleans
    /// and pointers count as numbers.
    pub fn unsigned(&self) -> Result<u64, ViewError> {
        self.number().map(|(value, _)| value)
    }

    /// The value as a signed number, sign-extended from its own type or bit-field.
    pub fn signed(&self) -> Result<i64, ViewError> {
        self.number().map(|(value, width)| {
            let unused = 64 - width.clamp(1, 64);
            ((value << unused) as i64) >> unused
        })
    }

    /// The pointer's value, which may be null.
    pub fn pointer(&self) -> Result<Addr, ViewError> {
        match self.kind()? {
            TypeKind::Pointer(_) => self.u64().map(Addr),
            _ => Err(self.wrong_kind("a pointer")),
        }
    }

    /// What the pointer points to. A null pointer and one to `void` are errors.
    pub fn deref(&self) -> Result<View<'a>, ViewError> {
        let TypeKind::Pointer(Some(target)) = self.kind()? else { return Err(self.wrong_kind("a typed pointer")) };
        Ok(self.at(self.target()?, Shape::Type(target), format!("*{}", self.path)))
    }

    /// What the pointer points to, taken for a structure by tag or typedef: for `void *` fields. A null pointer is an
    /// error.
    pub fn deref_as(&self, name: &str) -> Result<View<'a>, ViewError> {
        self.at(self.target()?, self.shape.clone(), format!("*{}", self.path)).cast(name)
    }

    /// The same address as a structure of another type, by tag or typedef; a pointer is not followed.
    pub fn cast(&self, name: &str) -> Result<View<'a>, ViewError> {
        let layout = self.debug.layout(name).map_err(|source| self.failed(source))?;
        Ok(self.at(self.address, Shape::Struct(layout), format!("(({name}) {})", self.path)))
    }

    /// The element of an array, or what lies `index` elements past what a pointer points to.
    pub fn index(&self, index: u64) -> Result<View<'a>, ViewError> {
        let (start, element) = match self.kind()? {
            TypeKind::Array { count: Some(count), .. } if index >= count => {
                return Err(ViewError::OutOfBounds { path: self.path.clone(), count, index });
            }
            TypeKind::Array { element, .. } => (self.address, element),
            TypeKind::Pointer(Some(target)) => (self.target()?, target),
            _ => return Err(self.wrong_kind("an array")),
        };
        let view = self.at(start, Shape::Type(element), format!("{}[{index}]", self.path));
        let size = view.size()?;
        Ok(View { address: start + index.wrapping_mul(size), ..view })
    }

    fn at(&self, address: Addr, shape: Shape, path: String) -> View<'a> {
        View { memory: self.memory, debug: self.debug, address, shape, path }
    }

    /// The path up to and with the operator that a field name follows.
    fn prefix(&self) -> String {
        match self.path.strip_prefix('*') {
            Some(pointer) => format!("{pointer}->"),
            None if self.path.starts_with('(') && !self.path.ends_with(')') => format!("({})->", self.path),
            None => format!("{}.", self.path),
        }
    }

    fn target(&self) -> Result<Addr, ViewError> {
        let target = self.pointer()?;
        if target.is_null() { Err(ViewError::Null { path: self.path.clone() }) } else { Ok(target) }
    }

    /// The value's bits and how many there are.
    fn number(&self) -> Result<(u64, u32), ViewError> {
        if let Shape::Bits(_, bits) = &self.shape {
            let unit = self.integer(u64::from(bits.unit))?;
            let mask = u64::MAX >> (64 - bits.size.clamp(1, 64));
            return Ok(((unit >> bits.offset.min(127)) as u64 & mask, bits.size));
        }
        let size = match self.kind()? {
            TypeKind::Base { encoding: Encoding::Float | Encoding::Other, .. } => {
                return Err(self.wrong_kind("a number"));
            }
            TypeKind::Base { size, .. } | TypeKind::Enum { size, .. } if (1..=8).contains(&size) => size,
            TypeKind::Pointer(_) => 8,
            _ => return Err(self.wrong_kind("a number of at most 8 bytes")),
        };
        Ok((self.integer(size)? as u64, size as u32 * 8))
    }

    /// The little-endian integer of that many bytes (16 at most) at the address.
    fn integer(&self, size: u64) -> Result<u128, ViewError> {
        let mut bytes = [0; 16];
        let used = bytes.get_mut(..size as usize).ok_or_else(|| self.wrong_kind("a number of at most 16 bytes"))?;
        self.memory.read(self.address, used).map_err(|fault| self.fault(fault))?;
        Ok(u128::from_le_bytes(bytes))
    }

    fn fault(&self, fault: Fault) -> ViewError {
        ViewError::Fault { path: self.path.clone(), address: self.address, fault }
    }

    fn failed(&self, source: DebugError) -> ViewError {
        ViewError::Debug { path: self.path.clone(), source }
    }

    fn wrong_kind(&self, wanted: &'static str) -> ViewError {
        let found = match &self.shape {
            Shape::Struct(layout) => Ok(format!("struct {}", layout.name)),
            Shape::Type(id) | Shape::Bits(id, _) => self.debug.type_name(*id),
        };
        let found = found.unwrap_or_else(|_| "of an unknown type".to_string());
        ViewError::WrongKind { path: self.path.clone(), wanted, found }
    }
}
