//! Chunks outside pools that a typed path leads to.

use super::index::GroupIndex;
use super::kinds::{NGINX, of_type};
use crate::addr::Addr;
use crate::attribution::{Attribution, Group};
use crate::malloc::heap::Heap;
use crate::nginx::owner::{OwnerKind, Trust};

/// A chunk that a path from a root leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypedChunk {
    /// What malloc returned for it.
    pub memory: Addr,
    /// The path from a root.
    pub path: String,
    /// True if a step of the path has a type that had to be inferred.
    pub inferred: bool,
    /// What the path says that it is.
    pub type_name: String,
    /// The nginx module that the path leads through, where there is one.
    pub module: Option<String>,
}

impl Attribution {
    /// Gives chunks that nobody has claimed to groups by what typed paths say. Paths to what is no chunk in use, or to the
    /// inside of one, are left out.
    pub fn claim_typed(&mut self, heap: &Heap, chunks: &[TypedChunk]) {
        let mut index = GroupIndex::of(&self.groups);
        for typed in chunks {
            let Some(id) = heap.find(typed.memory).filter(|id| heap.chunk(*id).state().is_in_use()) else { continue };
            if self.claim(id).is_some() {
                continue;
            }
            let (kind, name) = kind_and_name(typed);
            let trust = if typed.inferred { Trust::InferredPath } else { Trust::TypedPath };
            let number = index.add(&mut self.groups, Group { kind, name, trust, path: typed.path.clone() });
            self.claim_for_group(id, number);
        }
    }
}

fn kind_and_name(typed: &TypedChunk) -> (&'static OwnerKind, String) {
    if typed.type_name.contains("epoll_event") {
        return (&NGINX, "epoll event list".to_owned());
    }
    let kind = of_type(&typed.type_name);
    let last = typed.path.rsplit(['.', '>']).next().unwrap_or_default();
    let field = last.split('[').next().unwrap_or_default();
    let is_plain = typed.type_name.is_empty() || ["void", "char", "u_char"].contains(&typed.type_name.as_str());
    let name = match (kind == &NGINX && !field.is_empty(), is_plain) {
        (true, true) => field.to_owned(),
        (true, false) if ["connections", "read_events", "write_events", "files"].contains(&field) => field.to_owned(),
        _ => typed.type_name.clone(),
    };
    let name = match &typed.module {
        Some(module) if kind == &NGINX => format!("{name} ({module})"),
        _ => name,
    };
    (kind, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_chunk_is_called_comes_from_its_type_or_the_end_of_its_path() {
        let typed = |path: &str, type_name: &str| TypedChunk {
            memory: Addr(0x10),
            path: path.to_owned(),
            inferred: false,
            type_name: type_name.to_owned(),
            module: None,
        };
        let name = |path, type_name| kind_and_name(&typed(path, type_name));
        assert_eq!(name("ngx_cycle->read_events", "ngx_event_t"), (&NGINX, "read_events".to_owned()));
        assert_eq!(name("ngx_foo.cache[3]", "ngx_foo_node_t"), (&NGINX, "ngx_foo_node_t".to_owned()));
        assert_eq!(name("ngx_foo.text", "u_char"), (&NGINX, "text".to_owned()));
        assert_eq!(name("event_list", "struct epoll_event").1, "epoll event list");
        assert_eq!(name("c->ssl->session", "ssl_session_st").0.key, "openssl");
    }
}
