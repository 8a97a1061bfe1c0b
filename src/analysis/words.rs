//! What single words are called: fields of typed chunks and of variables, as expressions of C.

use super::evidence::Evidence;
use super::known::is_array;
use super::prepared::Prepared;
use crate::addr::Addr;
use crate::debug::{DebugInfo, TypeId, TypeKind};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Types and variables that are looked up: each takes some milliseconds at worst.
const MOST_LOOKED_UP: usize = 64;

/// Structures and arrays in one another that are gone through.
const MOST_STEPS: usize = 16;

/// What the elements of a chunk are.
#[derive(Clone)]
enum Element {
    /// A pointer to anything.
    Pointer,
    /// A type of that debug info, with its size in bytes.
    Typed(Arc<DebugInfo>, TypeId, u64),
}

/// Names words.
pub struct Words<'a> {
    prepared: &'a Prepared,
    evidence: &'a Evidence,
    types: FxHashMap<String, Option<Element>>,
    variables: FxHashMap<(String, u64), Option<TypeId>>,
}

impl<'a> Words<'a> {
    /// Names words of a target.
    pub fn new(prepared: &'a Prepared, evidence: &'a Evidence) -> Words<'a> {
        Words { prepared, evidence, types: FxHashMap::default(), variables: FxHashMap::default() }
    }

    /// The path of the byte `offset` into the chunk at `memory`: `ngx_cycle->connections[17].data`. `None` if no typed path
    /// leads to the chunk.
    pub fn in_chunk(&mut self, memory: Addr, offset: u64) -> Option<String> {
        let evidence = self.evidence;
        let typed = evidence.typed_at(memory)?;
        // A variable that only one file knows has that file's name behind its path.
        let (path, file) = match typed.path.rfind(" (").filter(|_| typed.path.ends_with(')')) {
            Some(at) => typed.path.split_at(at),
            None => (typed.path.as_str(), ""),
        };
        let element = self.element(&typed.type_name);
        let text = match (element, is_array(path)) {
            (Some(Element::Pointer), true) => format!("{path}[{}]{}", offset / 8, rest(offset % 8)),
            (Some(Element::Typed(debug, type_id, size)), true) if size > 0 => {
                format!("{path}[{}]{}", offset / size, member(&debug, type_id, offset % size))
            }
            (Some(Element::Typed(debug, type_id, size)), false) if offset < size => {
                let member = member(&debug, type_id, offset);
                match member.strip_prefix('.') {
                    Some(field) => format!("{path}->{field}"),
                    None => format!("{path}{member}"),
                }
            }
            _ => format!("{path}{}", rest(offset)),
        };
        Some(text + file)
    }

    /// The field of a variable that lies at an address: `ngx_http_core_module_ctx.postconfiguration`. `None` if it is a
    /// variable without fields, or of a type that is not known.
    pub fn in_variable(&mut self, address: Addr) -> Option<String> {
        let (symbol, offset, module) = self.prepared.symbol_at(address)?;
        module.debug.source()?;
        let key = (symbol.name.clone(), symbol.address.0);
        let is_known = self.variables.contains_key(&key);
        if !is_known && self.variables.len() >= MOST_LOOKED_UP {
            return None;
        }
        let type_id = *self.variables.entry(key).or_insert_with(|| {
            let variable = module.debug.variable(&symbol.name, None).ok().flatten()?;
            // Several files can each have a variable of that name to themselves.
            (variable.address() == Some(symbol.address)).then_some(variable.type_id)
        });
        let member = member(&module.debug, type_id?, offset);
        member.starts_with(['.', '[']).then(|| format!("{}{member}", symbol.name))
    }

    fn element(&mut self, type_name: &str) -> Option<Element> {
        if type_name.ends_with('*') {
            return Some(Element::Pointer);
        }
        let is_known = self.types.contains_key(type_name);
        if !is_known && self.types.len() >= MOST_LOOKED_UP {
            return None;
        }
        let prepared = self.prepared;
        let lookup = || {
            let name = type_name.strip_prefix("struct ").unwrap_or(type_name);
            let is_plain = ["", "void", "char", "u_char"].contains(&name);
            let of_module = |debug: &Arc<DebugInfo>| {
                debug.source()?;
                let type_id = debug.type_named(name, None).ok()??;
                let size = debug.type_size(type_id).ok()??;
                Some(Element::Typed(Arc::clone(debug), type_id, size))
            };
            let mut modules = std::iter::once(&prepared.binary).chain(&prepared.others);
            (!is_plain).then(|| modules.find_map(|module| of_module(&module.debug)))?
        };
        self.types.entry(type_name.to_owned()).or_insert_with(lookup).clone()
    }
}

/// The field at `offset` of a type, such as `.d.last` or `[3].ptr`; what is left of the offset is added as it
/// is.
fn member(debug: &DebugInfo, mut type_id: TypeId, mut offset: u64) -> String {
    let mut path = String::new();
    let size = |type_id: TypeId| debug.type_size(type_id).ok().flatten().unwrap_or(0);
    for _ in 0..MOST_STEPS {
        match debug.type_kind(type_id) {
            Ok(TypeKind::Struct(layout)) => {
                let covers = |at: u64, type_id| offset.checked_sub(at).is_some_and(|within| within < size(type_id));
                let whole = layout.fields.iter().filter(|field| field.bits.is_none());
                let Some(field) = whole.into_iter().find(|field| covers(field.offset, field.type_id)) else { break };
                if !field.name.is_empty() {
                    path = format!("{path}.{}", field.name);
                }
                (offset, type_id) = (offset - field.offset, field.type_id);
            }
            Ok(TypeKind::Array { element, .. }) => {
                let Some(number) = offset.checked_div(size(element)) else { break };
                path = format!("{path}[{number}]");
                (offset, type_id) = (offset % size(element), element);
            }
            _ => break,
        }
    }
    path + &rest(offset)
}

fn rest(offset: u64) -> String {
    if offset == 0 { String::new() } else { format!("+{offset:#x}") }
}
