//! What each kind of member leads to.

use super::Place;
use super::candidates::{Fit, Question};
use super::explorer::Explorer;
use super::found::{ChunkEntry, Pointer, PoolEntry};
use super::graph::{How, NO_INDEX, Node, NodeId, Step};
use super::shape::{Count, Held, Member, Shape, What};
use crate::addr::Addr;
use crate::target::memory::{Memory, word_at};
use std::rc::Rc;

/// Objects larger than this are not read: only tables of static data are.
pub(super) const LARGEST: u64 = 4 << 20;

/// More elements than this are not believed.
pub(super) const MAX_ELEMENTS: u64 = 1 << 20;

/// A table without a count ends with a null pointer, or here.
const MAX_UNCOUNTED: u64 = 1024;

/// Functions beside a `void *` that are looked at, and structures beside it that may have a handler.
const MAX_BESIDE: usize = 6;

/// What malloc may have added to a request: the rest of 16 bytes.
const ROUNDING: u64 = 16;

/// An object while it is visited.
pub(super) struct Visit<'v> {
    pub(super) id: NodeId,
    pub(super) node: Node,
    pub(super) shape: &'v Rc<Shape>,
    pub(super) bytes: &'v [u8],
}

impl Visit<'_> {
    /// The pointer that a member is.
    fn pointer(&self, index: u32, member: &Member) -> Pointer {
        let inferred = self.node.inferred || member.in_union;
        Pointer { node: self.id, member: index, index: NO_INDEX, inferred }
    }

    fn word(&self, member: &Member) -> Addr {
        Addr(word_at(self.bytes, member.offset))
    }
}

impl Explorer<'_> {
    /// Looks at all members of an object.
    pub(super) fn visit(&mut self, id: NodeId) {
        let Some(node) = self.graph.node(id) else { return };
        let Some(shape) = self.shapes.get(node.shape).filter(|shape| shape.size <= LARGEST) else { return };
        let mut bytes = vec![0; shape.size as usize];
        if self.memory.read(node.address, &mut bytes).is_err() {
            return;
        }
        let visit = Visit { id, node, shape: &shape, bytes: &bytes };
        for (index, member) in (0u32..).zip(&shape.members) {
            self.member(&visit, index, member);
        }
    }

    fn member(&mut self, visit: &Visit<'_>, index: u32, member: &Member) {
        let value = visit.word(member);
        if let What::Container(container, held) = &member.what {
            return match held {
                Held::Embedded => self.container(visit, index, *container, visit.node.address + member.offset),
                Held::Pointed if self.is_followed(value) && value.is_aligned(8) => {
                    self.arrive(visit.pointer(index, member), value, "void");
                    self.container(visit, index, *container, value);
                }
                Held::Pointed => {}
            };
        }
        if value.is_null() {
            return;
        }
        let pointer = visit.pointer(index, member);
        match &member.what {
            What::Pool => self.pool(pointer, value, false),
            What::Structure(to, count) => {
                let Some(name) = self.shapes.structure(*to).map(|found| &*found.name) else { return };
                if value.is_aligned(8) && self.arrive(pointer, value, name) {
                    let Some(shape) = self.shapes.of(*to) else { return };
                    self.structures(visit, index, member, value, &shape, *count);
                }
            }
            What::Table(to, count) => {
                let Some(name) = self.shapes.structure(*to).map(|found| &*found.name) else { return };
                if value.is_aligned(8) && self.arrive(pointer, value, "void") {
                    let Some(shape) = self.shapes.of(*to) else { return };
                    self.table(visit, pointer, value, (name, &shape), *count);
                }
            }
            What::Opaque(name) => drop(self.arrive(pointer, value, name)),
            What::Bytes => drop(self.arrive(pointer, value, "char")),
            What::Void => self.void(visit, index, member, value),
            What::VoidTable => {
                if self.arrive(pointer, value, "void") {
                    self.table_of_modules(visit, index, value);
                }
            }
            What::Text => {
                if let Some([_, data]) = self.layouts.text {
                    self.arrive(pointer, Addr(word_at(visit.bytes, member.offset + data)), "char");
                }
            }
            What::Function | What::TreeNode | What::Number(_) | What::Container(..) => {}
        }
    }

    /// A pointer that is declared to lead to a pool.
    pub(super) fn pool(&mut self, pointer: Pointer, value: Addr, by_container: bool) {
        if let Some(index) = self.places.pool_at(value)
            && self.found.pool(index, PoolEntry { pool: value, pointer, by_container })
        {
            self.graph.found_at(pointer.node);
        }
    }

    /// Where a pointer leads. A chunk outside pools is noted. False if what is there is not to be looked at.
    pub(super) fn arrive(&mut self, pointer: Pointer, value: Addr, type_name: &str) -> bool {
        match self.places.at(value) {
            Place::Pool { .. } | Place::Static => true,
            Place::Chunk { start, .. } => {
                let entry = ChunkEntry { pointer, type_name: type_name.into(), interior: start != value };
                if self.found.chunk(start, entry) {
                    self.graph.found_at(pointer.node);
                }
                true
            }
            Place::Other => false,
        }
    }

    /// True for addresses that are followed.
    pub(super) fn is_followed(&self, value: Addr) -> bool {
        !value.is_null() && !matches!(self.places.at(value), Place::Other)
    }

    /// Adds the object that a step leads to.
    pub(super) fn follow(&mut self, visit: &Visit<'_>, step: Step, to: Addr, shape: &Rc<Shape>, owner: u32) {
        if !shape.is_interesting || self.free_connections.contains(&to) && &*shape.name == "ngx_connection_s" {
            return;
        }
        let variant = shape.handler.and_then(|offset| self.word(to + offset)).unwrap_or_default();
        self.graph.add(visit.id, step, (to, shape.id), owner, variant);
    }

    /// The structure that a member points to, or all of them if there are several.
    fn structures(
        &mut self,
        visit: &Visit<'_>,
        index: u32,
        member: &Member,
        value: Addr,
        shape: &Rc<Shape>,
        count: Option<Count>,
    ) {
        let owner = visit.node.owner;
        let Some((elements, is_certain)) = self.how_many(visit, value, shape, count) else {
            if member.in_union && self.evidence(shape, value).is_none_or(|weight| weight <= 0) {
                return;
            }
            let step = Step { member: index, index: NO_INDEX, how: How::Pointer, inferred: member.in_union };
            return self.follow(visit, step, value, shape, owner);
        };
        if !shape.is_interesting || member.in_union {
            return;
        }
        for element in 0..elements {
            let at = value + element * shape.size;
            let is_guess = !is_certain && element > 0;
            if is_guess && self.evidence(shape, at).is_none() {
                break;
            }
            let step = Step { member: index, index: element as u32, how: How::Element, inferred: is_guess };
            self.follow(visit, step, at, shape, owner);
        }
    }

    /// How many structures a pointer leads to, and whether that is certain; `None` if it is one.
    fn how_many(&self, visit: &Visit<'_>, value: Addr, shape: &Shape, count: Option<Count>) -> Option<(u64, bool)> {
        let place = self.places.at(value);
        let room = match place {
            Place::Chunk { start, size } => start.0.saturating_add(size).saturating_sub(value.0) / shape.size.max(1),
            _ => MAX_ELEMENTS,
        };
        let counted = count.map(|count| number(visit.bytes, count));
        let fits = |counted: u64| {
            let length = counted.saturating_mul(shape.size);
            counted <= room && self.is_one_place(value, value + length.saturating_sub(u64::from(length > 0)))
        };
        match (count, counted) {
            (Some(Count { certain: true, .. }), Some(counted)) if fits(counted) => return Some((counted, true)),
            // A chain whose length is counted is no array.
            (Some(_), Some(counted)) if counted > 1 && fits(counted) && !is_chained(shape) => {
                return Some((counted, false));
            }
            _ => {}
        }
        match place {
            // Events are in arrays beside that of their connections, which lead to those that are in use.
            Place::Chunk { start, size } if start == value && !visit.node.inferred && &*shape.name != "ngx_event_s" => {
                let is_filled = room > 1 && size - room * shape.size < ROUNDING && !is_chained(shape);
                is_filled.then_some((room, false))
            }
            _ => None,
        }
    }

    /// A table of pointers.
    fn table(
        &mut self,
        visit: &Visit<'_>,
        pointer: Pointer,
        value: Addr,
        (name, shape): (&str, &Rc<Shape>),
        count: Option<Count>,
    ) {
        let counted = count.map(|count| number(visit.bytes, count));
        let (length, ends_with_null) = match (counted, self.places.at(value)) {
            (Some(counted), _) => (counted.min(MAX_ELEMENTS), false),
            (None, Place::Chunk { start, size }) => ((start.0.saturating_add(size) - value.0) / 8, false),
            (None, _) => (MAX_UNCOUNTED, true),
        };
        let inferred = counted.is_none();
        for index in 0..length {
            let Some(target) = self.word(value + index * 8).map(Addr) else { break };
            if target.is_null() && ends_with_null {
                break;
            }
            if target.is_null() {
                continue;
            }
            let element = Pointer { index: index as u32, ..pointer };
            let element = Pointer { inferred: element.inferred || inferred, ..element };
            if !target.is_aligned(8) || inferred && self.evidence(shape, target).is_none() {
                break;
            }
            if self.arrive(element, target, name) {
                let step = Step { member: pointer.member, index: index as u32, how: How::ElementPointer, inferred };
                self.follow(visit, step, target, shape, visit.node.owner);
            }
        }
    }

    /// A pointer that does not say what it leads to.
    fn void(&mut self, visit: &Visit<'_>, index: u32, member: &Member, value: Addr) {
        // Everything static is a root already.
        let place = self.places.at(value);
        if !matches!(place, Place::Pool { .. } | Place::Chunk { .. }) {
            return;
        }
        let pointer = visit.pointer(index, member);
        if self.graph.is_certain(value) || !value.is_aligned(8) {
            self.arrive(pointer, value, "void");
            return;
        }
        let handlers = self.handlers_beside(visit, member);
        let handler = handlers.first().copied().unwrap_or(Addr::NULL);
        let question = Question { handler, ..self.question(visit, index) };
        let answer = self.infer(question, &handlers, Fit::Any, &[value]);
        let name = answer.as_ref().map_or("void", |answer| &*answer.shape.name);
        let pointer = Pointer { inferred: pointer.inferred || answer.is_some(), ..pointer };
        self.arrive(pointer, value, name);
        if let Some(answer) = answer {
            let step = Step { member: index, index: NO_INDEX, how: How::Cast, inferred: true };
            self.follow(visit, step, value, &answer.shape, visit.node.owner);
        }
    }

    /// What is asked of a member. A part of a container says nothing of who uses it; what holds the container does.
    pub(super) fn question(&self, visit: &Visit<'_>, member: u32) -> Question {
        let is_part = visit.shape.name.starts_with("ngx_hash") || visit.shape.members.iter().any(|m| m.name.is_empty());
        let parent = self.graph.node(visit.node.parent).filter(|_| is_part);
        let (holder, member) = match parent {
            Some(parent) => (parent.shape, visit.node.step.member),
            None => (visit.shape.id, member),
        };
        Question { holder, member, owner: visit.node.owner, handler: Addr::NULL, guesses: visit.node.guesses.min(2) }
    }

    /// The functions that are called with what lies in a member: those beside it, or else the handlers of the structures
    /// beside it, as those of a connection's events are for the connection's data.
    fn handlers_beside(&mut self, visit: &Visit<'_>, member: &Member) -> Vec<Addr> {
        let folder = |member: &Member| member.name.rsplit_once('.').map_or(0, |(folder, _)| folder.len());
        let here = folder(member);
        let is_beside = |other: &&Member| folder(other) == here && other.name.get(..here) == member.name.get(..here);
        let functions = visit.shape.members.iter().filter(is_beside).filter(|other| other.what == What::Function);
        let named = |wanted: bool| move |other: &&Member| other.name.ends_with("handler") == wanted;
        let mut handlers: Vec<Addr> = functions.clone().filter(named(true)).map(|other| visit.word(other)).collect();
        for other in visit.shape.members.iter().filter(is_beside) {
            let What::Structure(to, _) = &other.what else { continue };
            if handlers.len() >= MAX_BESIDE {
                break;
            }
            let at = visit.word(other);
            let handler = if at.is_null() { None } else { self.shapes.of(*to).and_then(|shape| shape.handler) };
            handlers.extend(handler.and_then(|offset| self.word(at + offset)).map(Addr));
        }
        if handlers.iter().all(|handler| handler.is_null()) {
            handlers.extend(functions.filter(named(false)).map(|other| visit.word(other)).take(MAX_BESIDE));
        }
        handlers.retain(|handler| !handler.is_null());
        handlers
    }
}

/// True if a structure points to the next of its kind.
fn is_chained(shape: &Shape) -> bool {
    let super::shape::Origin::Structure(own) = shape.origin else { return false };
    shape.members.iter().any(|member| matches!(&member.what, What::Structure(to, _) if *to == own))
}

/// The number that counts elements.
fn number(bytes: &[u8], count: Count) -> u64 {
    let word = word_at(bytes, count.offset);
    match count.size {
        1..8 => word & ((1 << (count.size * 8)) - 1),
        _ => word,
    }
}
