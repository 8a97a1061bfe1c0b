//! What matters of a structure to somebody who looks for pools: its pointers and containers, each at its offset.

use crate::debug::StructureId;

/// A structure of one of the modules.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct TypeRef {
    /// Index of the module among the input's.
    pub(super) module: u16,
    pub(super) structure: StructureId,
}

/// A shape by its place among all shapes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct ShapeId(pub(super) u32);

/// What a shape was made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    /// A structure.
    Structure(TypeRef),
    /// The variables of one unit: module and unit.
    Variable { module: u16, unit: u32 },
}

/// A structure, taken apart: embedded structures and arrays are replaced by their own members.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) id: ShapeId,
    /// The structure's name; for a variable that of the variable.
    pub(super) name: Box<str>,
    pub(super) origin: Origin,
    /// Size in bytes.
    pub(super) size: u64,
    pub(super) members: Vec<Member>,
    /// The member `handler`, if that points to a function: it tells apart what is of one type and used in many ways.
    pub(super) handler: Option<u64>,
    /// False if nothing in it can lead anywhere.
    pub(super) is_interesting: bool,
}

/// A member that matters.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Its name from the start of the structure, as C writes it: `headers_in.headers`, `slots[3].pool`.
    pub(super) name: Box<str>,
    /// Bytes from the start of the structure.
    pub(super) offset: u64,
    pub(super) what: What,
    /// True if it shares its bytes with other members of a union, so that it may hold something else.
    pub(super) in_union: bool,
}

/// A member that says how many elements another one has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Count {
    /// Bytes from the start of the structure.
    pub(super) offset: u64,
    /// Size in bytes.
    pub(super) size: u64,
    /// True if its name says whose count it is, and not only that it counts.
    pub(super) certain: bool,
}

/// What a member is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum What {
    /// `ngx_pool_t *`
    Pool,
    /// A pointer to a structure, or to the first of several.
    Structure(TypeRef, Option<Count>),
    /// A pointer to pointers to structures.
    Table(TypeRef, Option<Count>),
    /// A pointer to a structure that is defined nowhere, by its name: it belongs to another library.
    Opaque(Box<str>),
    /// A pointer to numbers or characters.
    Bytes,
    /// `void *`
    Void,
    /// `void **`, and with more stars.
    VoidTable,
    /// A pointer to a function.
    Function,
    /// `ngx_str_t`
    Text,
    /// One of nginx's containers.
    Container(Container, Held),
    /// `ngx_rbtree_node_t`
    TreeNode,
    /// A number; only for finding counts.
    Number(u64),
}

/// nginx's containers, none of which knows the type of its elements.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Container {
    /// `ngx_array_t`
    Array,
    /// `ngx_list_t`
    List,
    /// `ngx_queue_t`, the head of a queue or a link in one.
    Queue,
    /// `ngx_rbtree_t`
    Tree,
    /// `ngx_hash_t`
    Hash,
}

/// How a structure holds a container.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Held {
    /// As a part of itself.
    Embedded,
    /// By a pointer.
    Pointed,
}

impl Container {
    /// The container that a structure is, by its tag or typedef.
    pub(super) fn named(name: &str) -> Option<Container> {
        Some(match name {
            "ngx_array_t" => Container::Array,
            "ngx_list_t" => Container::List,
            "ngx_queue_s" => Container::Queue,
            "ngx_rbtree_s" => Container::Tree,
            "ngx_hash_t" => Container::Hash,
            _ => return None,
        })
    }
}

impl What {
    /// True if it can lead to a pool, to a structure, or to a chunk that is worth naming.
    pub(super) fn leads_on(&self) -> bool {
        !matches!(self, What::Function | What::Text | What::TreeNode | What::Number(_))
    }
}
