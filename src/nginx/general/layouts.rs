//! Where nginx's containers keep what (nginx `src/core/ngx_array.h`, `ngx_list.h`, `ngx_queue.h`, `ngx_rbtree.h`,
//! `ngx_hash.h`, `ngx_string.h`), by the debug info of the running binary.

use super::shapes::Shapes;
use crate::debug::{Layout, TypeKind};
use std::sync::Arc;

/// Offsets in containers, in bytes. One that the binary does not have is `None`: nothing is of its type then.
#[derive(Clone, Copy, Default)]
pub(super) struct Layouts {
    /// `elts`, `nelts`, `size`, `nalloc`, `pool` of `ngx_array_t`.
    pub(super) array: Option<[u64; 5]>,
    /// `part`, `size`, `pool` of `ngx_list_t`.
    pub(super) list: Option<[u64; 3]>,
    /// `elts`, `nelts`, `next` of `ngx_list_part_t`.
    pub(super) part: Option<[u64; 3]>,
    /// `prev`, `next` of `ngx_queue_t`.
    pub(super) queue: Option<[u64; 2]>,
    /// `root`, `sentinel` of `ngx_rbtree_t`.
    pub(super) tree: Option<[u64; 2]>,
    /// `left`, `right`, `parent` of `ngx_rbtree_node_t`.
    pub(super) node: Option<[u64; 3]>,
    /// `buckets`, `size` of `ngx_hash_t`.
    pub(super) hash: Option<[u64; 2]>,
    /// `value`, `len`, `name` of `ngx_hash_elt_t`.
    pub(super) element: Option<[u64; 3]>,
    /// `len`, `data` of `ngx_str_t`.
    pub(super) text: Option<[u64; 2]>,
    /// `connections`, `connection_n`, `free_connections` of `ngx_cycle_t`.
    pub(super) cycle: Option<[u64; 3]>,
    /// `data` of `ngx_connection_t`.
    pub(super) connection: Option<[u64; 1]>,
}

impl Layouts {
    /// Reads the layouts of all containers.
    pub(super) fn read(shapes: &Shapes<'_>) -> Layouts {
        Layouts {
            array: offsets(shapes, "ngx_array_t", ["elts", "nelts", "size", "nalloc", "pool"]),
            list: offsets(shapes, "ngx_list_t", ["part", "size", "pool"]),
            part: offsets(shapes, "ngx_list_part_s", ["elts", "nelts", "next"]),
            queue: offsets(shapes, "ngx_queue_s", ["prev", "next"]),
            tree: offsets(shapes, "ngx_rbtree_s", ["root", "sentinel"]),
            node: offsets(shapes, "ngx_rbtree_node_s", ["left", "right", "parent"]),
            hash: offsets(shapes, "ngx_hash_t", ["buckets", "size"]),
            element: offsets(shapes, "ngx_hash_elt_t", ["value", "len", "name"]),
            text: offsets(shapes, "ngx_str_t", ["len", "data"]),
            cycle: offsets(shapes, "ngx_cycle_s", ["connections", "connection_n", "free_connections"]),
            connection: offsets(shapes, "ngx_connection_s", ["data"]),
        }
    }
}

/// The layout of a structure by its name.
pub(super) fn layout(shapes: &Shapes<'_>, name: &str) -> Option<Arc<Layout>> {
    let found = shapes.named(name)?;
    let type_id = shapes.structure(found)?.type_id;
    match shapes.module(found.module)?.debug.type_kind(type_id) {
        Ok(TypeKind::Struct(layout)) => Some(layout),
        _ => None,
    }
}

/// The offsets of some fields; `None` if the structure or one of the fields is not there.
pub(super) fn offsets<const N: usize>(shapes: &Shapes<'_>, name: &str, fields: [&str; N]) -> Option<[u64; N]> {
    let layout = layout(shapes, name)?;
    let mut found = [0; N];
    for (place, field) in found.iter_mut().zip(fields) {
        *place = layout.offset(field).ok()?;
    }
    Some(found)
}
