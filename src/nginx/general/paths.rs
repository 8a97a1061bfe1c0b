//! Paths as C writes them, made only for what was found.

use super::explorer::Explorer;
use super::found::Pointer;
use super::graph::{How, NO_INDEX, NodeId, Step};
use super::shape::{Shape, ShapeId};
use std::fmt::Write;

/// Longest way that is written out.
const LONGEST: usize = 4096;

/// Steps of one kind in a row beyond this number are counted instead of written.
const REPEATED: u32 = 3;

/// A part of a way: a step from one shape to another, taken so many times.
struct Part {
    from: ShapeId,
    step: Step,
    to: ShapeId,
    times: u32,
}

impl Explorer<'_> {
    /// The expression for a pointer.
    pub(super) fn path(&self, pointer: &Pointer) -> String {
        let (root, way) = self.way(pointer.node);
        let mut path = PathText::default();
        for part in &way {
            self.add_part(&mut path, part);
        }
        if let Some(shape) = self.graph.node(pointer.node).and_then(|node| self.shapes.get(node.shape)) {
            path.member(member_name(&shape, pointer.member));
        }
        if pointer.index != NO_INDEX {
            let _ = write!(path.text, "[{}]", pointer.index);
        }
        match root.and_then(|root| self.file_statics.get(&root)) {
            Some(file) => format!("{} ({file})", path.text),
            None => path.text,
        }
    }

    /// The root that leads to an object, and the way from there.
    fn way(&self, node: NodeId) -> (Option<ShapeId>, Vec<Part>) {
        let mut way = Vec::new();
        let (mut at, mut root) = (node, None);
        while let Some(node) = self.graph.node(at).filter(|_| way.len() < LONGEST) {
            root = Some(node.shape);
            let is_row = node.row > REPEATED;
            let first = if is_row { self.graph.node(node.row_start).unwrap_or(node) } else { node };
            let times = if is_row { node.row } else { 1 };
            if let Some(parent) = self.graph.node(first.parent) {
                way.push(Part { from: parent.shape, step: node.step, to: node.shape, times });
            }
            at = first.parent;
        }
        way.reverse();
        (root, way)
    }

    fn add_part(&self, path: &mut PathText, part: &Part) {
        let Some(from) = self.shapes.get(part.from) else { return };
        path.member(member_name(&from, part.step.member));
        match part.step.how {
            How::Module => self.add_module(path, part.step.index),
            _ if part.step.index != NO_INDEX => {
                let _ = write!(path.text, "[{}]", part.step.index);
            }
            _ => {}
        }
        if part.times > 1 {
            let _ = write!(path.text, "({} times)", part.times);
        }
        path.operator = match part.step.how {
            How::Root => "",
            How::Element => ".",
            How::Pointer | How::ElementPointer | How::Module => "->",
            How::Cast => {
                let name = self.shapes.get(part.to).map(|shape| shape.name.clone()).unwrap_or_default();
                path.text = format!("(({name} *) {})", path.text);
                "->"
            }
        };
    }

    fn add_module(&self, path: &mut PathText, index: u32) {
        let Some(module) = self.modules.get(index as usize) else { return };
        match &module.block {
            // The configurations of event modules lie behind one more pointer.
            Some(block) => path.text = format!("(*{}[{block}])[{}]", path.text, module.name),
            None => {
                let _ = write!(path.text, "[{}]", module.name);
            }
        }
    }
}

/// A path while it grows.
#[derive(Default)]
struct PathText {
    text: String,
    operator: &'static str,
}

impl PathText {
    fn member(&mut self, name: &str) {
        if !name.is_empty() {
            self.text.push_str(self.operator);
            self.text.push_str(name);
        }
    }
}

fn member_name(shape: &Shape, member: u32) -> &str {
    shape.members.get(member as usize).map(|member| &*member.name).unwrap_or_default()
}
