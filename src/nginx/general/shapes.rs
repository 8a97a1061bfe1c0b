//! Shapes of structures and variables, made from debug info when they are first met.

use super::companions::find_counts;
use super::shape::{Container, Held, Member, Origin, Shape, ShapeId, TypeRef, What};
use crate::addr::LoadBias;
use crate::debug::{Catalogue, DebugError, DebugInfo, Layout, Pointee, StaticVariable, Structure, TypeId, TypeKind};
use rustc_hash::FxHashMap;
use std::rc::Rc;

/// Most members of one shape: those of very long arrays are not all looked at.
const MAX_MEMBERS: usize = 4096;

/// Deepest nesting of structures and arrays that is taken apart.
const DEEPEST: usize = 16;

/// A module with its catalogue.
#[derive(Clone, Copy)]
pub(super) struct Module<'a> {
    pub(super) debug: &'a DebugInfo,
    pub(super) bias: LoadBias,
    pub(super) catalogue: &'a Catalogue,
}

/// All shapes that were met.
pub(super) struct Shapes<'a> {
    modules: Vec<Module<'a>>,
    known: FxHashMap<TypeRef, Option<ShapeId>>,
    shapes: Vec<Rc<Shape>>,
    /// The first type that could not be read, for the list of problems.
    pub(super) trouble: Option<DebugError>,
}

impl<'a> Shapes<'a> {
    pub(super) fn new(modules: Vec<Module<'a>>) -> Shapes<'a> {
        Shapes { modules, known: FxHashMap::default(), shapes: Vec::new(), trouble: None }
    }

    pub(super) fn modules(&self) -> &[Module<'a>] {
        &self.modules
    }

    pub(super) fn module(&self, index: u16) -> Option<Module<'a>> {
        self.modules.get(usize::from(index)).copied()
    }

    /// A shape that was met.
    pub(super) fn get(&self, id: ShapeId) -> Option<Rc<Shape>> {
        self.shapes.get(id.0 as usize).cloned()
    }

    /// What the catalogue says of a structure.
    pub(super) fn structure(&self, at: TypeRef) -> Option<&'a Structure> {
        self.module(at.module)?.catalogue.structure(at.structure)
    }

    /// The same structure as the first module knows it: `ngx_http_request_t` of a dynamic module is that of nginx.
    pub(super) fn canonical(&self, at: TypeRef) -> TypeRef {
        if at.module == 0 {
            return at;
        }
        let (Some(structure), Some(first)) = (self.structure(at), self.module(0)) else { return at };
        match first.catalogue.named(&structure.name) {
            [only] if first.catalogue.structure(*only).is_some_and(|found| found.size == structure.size) => {
                TypeRef { module: 0, structure: *only }
            }
            _ => at,
        }
    }

    /// The structure of that name in any module.
    pub(super) fn named(&self, name: &str) -> Option<TypeRef> {
        let mut modules = (0u16..).zip(&self.modules);
        modules.find_map(|(module, of)| Some(TypeRef { module, structure: of.catalogue.definition(name)? }))
    }

    /// The shape of a structure; `None` if it is not defined, or cannot be read.
    pub(super) fn of(&mut self, at: TypeRef) -> Option<Rc<Shape>> {
        let at = self.canonical(at);
        if let Some(known) = self.known.get(&at) {
            return known.and_then(|id| self.get(id));
        }
        let made = self.make(at);
        self.known.insert(at, made.as_ref().map(|shape| shape.id));
        made
    }

    fn make(&mut self, at: TypeRef) -> Option<Rc<Shape>> {
        let structure = self.structure(at).filter(|structure| structure.size.is_some_and(|size| size > 0))?;
        let debug = self.module(at.module)?.debug;
        let layout = match debug.type_kind(structure.type_id) {
            Ok(TypeKind::Struct(layout)) => layout,
            Ok(_) => return None,
            Err(error) => {
                self.trouble.get_or_insert(error);
                return None;
            }
        };
        let mut taker = Taker { debug, module: at.module, members: Vec::new(), trouble: None };
        match Container::named(&structure.name) {
            Some(container) => taker.add("", 0, What::Container(container, Held::Embedded), false),
            None => taker.fields(&layout, "", 0, false, 0),
        }
        self.note(taker.trouble.take());
        Some(self.add(structure.name.clone(), Origin::Structure(at), layout.size, taker.members))
    }

    /// The shape of a variable, in which the members bear the variable's name.
    pub(super) fn of_variable(&mut self, module: u16, unit: u32, variable: &StaticVariable) -> Option<Rc<Shape>> {
        let debug = self.module(module)?.debug;
        let mut taker = Taker { debug, module, members: Vec::new(), trouble: None };
        taker.member(variable.type_id, &variable.name, 0, false, 0);
        let size = debug.type_size(variable.type_id);
        self.note(taker.trouble.take().or(size.as_ref().err().cloned()));
        let size = size.ok().flatten()?;
        let members = taker.members;
        members
            .iter()
            .any(|member| member.what.leads_on())
            .then(|| self.add(variable.name.clone(), Origin::Variable { module, unit }, size, members))
    }

    fn note(&mut self, trouble: Option<DebugError>) {
        if self.trouble.is_none() {
            self.trouble = trouble;
        }
    }

    fn add(&mut self, name: Box<str>, origin: Origin, size: u64, mut members: Vec<Member>) -> Rc<Shape> {
        find_counts(&mut members);
        let handler = members.iter().find(|member| member.what == What::Function && &*member.name == "handler");
        let shape = Rc::new(Shape {
            id: ShapeId(self.shapes.len() as u32),
            handler: handler.map(|member| member.offset),
            is_interesting: members.iter().any(|member| member.what.leads_on()),
            name,
            origin,
            size,
            members,
        });
        self.shapes.push(shape.clone());
        shape
    }
}

/// Takes a type apart.
struct Taker<'a> {
    debug: &'a DebugInfo,
    module: u16,
    members: Vec<Member>,
    trouble: Option<DebugError>,
}

impl Taker<'_> {
    fn fields(&mut self, layout: &Layout, prefix: &str, base: u64, in_union: bool, depth: usize) {
        // DWARF tells unions from structures by tag alone, which a layout does not keep: in a union all is at the start.
        let is_union = layout.fields.len() > 1 && layout.fields.iter().all(|field| field.offset == 0);
        for field in layout.fields.iter().filter(|field| field.bits.is_none()) {
            let name = match (prefix.is_empty(), field.name.is_empty()) {
                (true, _) => field.name.clone(),
                (false, true) => prefix.to_owned(),
                (false, false) => format!("{prefix}.{}", field.name),
            };
            self.member(field.type_id, &name, base.wrapping_add(field.offset), in_union || is_union, depth + 1);
        }
    }

    fn member(&mut self, type_id: TypeId, name: &str, offset: u64, in_union: bool, depth: usize) {
        if depth > DEEPEST || self.members.len() >= MAX_MEMBERS {
            return;
        }
        match self.debug.type_kind(type_id) {
            Ok(TypeKind::Struct(layout)) => self.embedded(&layout, name, offset, in_union, depth),
            Ok(TypeKind::Pointer(target)) => match self.pointer(target) {
                Ok(what) => self.add(name, offset, what, in_union),
                Err(error) => self.trouble = self.trouble.take().or(Some(error)),
            },
            Ok(TypeKind::Array { element, count: Some(count) }) => {
                self.elements(element, count, name, offset, in_union, depth);
            }
            Ok(TypeKind::Base { size, .. }) => self.add(name, offset, What::Number(size), in_union),
            Ok(_) => {}
            Err(error) => self.trouble = self.trouble.take().or(Some(error)),
        }
    }

    fn embedded(&mut self, layout: &Layout, name: &str, offset: u64, in_union: bool, depth: usize) {
        match layout.name.as_str() {
            "ngx_str_t" => self.add(name, offset, What::Text, in_union),
            "ngx_rbtree_node_s" => self.add(name, offset, What::TreeNode, in_union),
            // What a hash was built from lies in a pool that is gone when it is built; the pointers stay (nginx
            // `src/core/ngx_hash.c`, `ngx_hash_keys_array_init`).
            "ngx_hash_keys_arrays_t" => {}
            other => match Container::named(other) {
                Some(container) => self.add(name, offset, What::Container(container, Held::Embedded), in_union),
                None => self.fields(layout, name, offset, in_union, depth),
            },
        }
    }

    fn elements(&mut self, element: TypeId, count: u64, name: &str, offset: u64, in_union: bool, depth: usize) {
        let is_plain = matches!(self.debug.type_kind(element), Ok(TypeKind::Base { .. } | TypeKind::Enum { .. }));
        let Ok(Some(size)) = self.debug.type_size(element) else { return };
        if is_plain {
            return;
        }
        for index in 0..count {
            let before = self.members.len();
            let at = offset.wrapping_add(index.wrapping_mul(size));
            self.member(element, &format!("{name}[{index}]"), at, in_union, depth + 1);
            // What one element has not, none has.
            if self.members.len() == before {
                break;
            }
        }
    }

    fn pointer(&self, target: Option<TypeId>) -> Result<What, DebugError> {
        Ok(match self.debug.pointee(target)? {
            Pointee::Void => What::Void,
            Pointee::Function => What::Function,
            Pointee::Data => What::Bytes,
            Pointee::Structure(structure) => self.structure(TypeRef { module: self.module, structure }, false)?,
            Pointee::Pointer(pointer) => match self.debug.type_kind(pointer)? {
                TypeKind::Pointer(target) => match self.debug.pointee(target)? {
                    Pointee::Structure(to) => self.structure(TypeRef { module: self.module, structure: to }, true)?,
                    Pointee::Void | Pointee::Pointer(_) => What::VoidTable,
                    Pointee::Function | Pointee::Data => What::Bytes,
                },
                _ => What::Bytes,
            },
        })
    }

    fn structure(&self, to: TypeRef, is_table: bool) -> Result<What, DebugError> {
        let Some(structure) = self.debug.catalogue()?.structure(to.structure) else { return Ok(What::Bytes) };
        Ok(match (&*structure.name, is_table) {
            ("ngx_pool_s", false) => What::Pool,
            ("ngx_str_t", false) => What::Bytes,
            (name, _) if structure.size.is_none() => What::Opaque(name.into()),
            (_, true) => What::Table(to, None),
            (name, false) => match Container::named(name) {
                Some(container) => What::Container(container, Held::Pointed),
                None => What::Structure(to, None),
            },
        })
    }

    fn add(&mut self, name: &str, offset: u64, what: What, in_union: bool) {
        if self.members.len() < MAX_MEMBERS {
            self.members.push(Member { name: name.into(), offset, what, in_union });
        }
    }
}
