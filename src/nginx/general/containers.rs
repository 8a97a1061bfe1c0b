//! Walks over nginx's containers. Each is bounded and checked for circles.

use super::candidates::Fit;
use super::explorer::Explorer;
use super::found::Pointer;
use super::graph::{How, Step};
use super::shape::Container;
use super::steps::{MAX_ELEMENTS, Visit};
use crate::addr::Addr;
use crate::target::memory::Memory;
use rustc_hash::FxHashSet;

/// Largest element that is believed, in bytes.
const LARGEST_ELEMENT: u64 = 64 << 10;

/// Parts of a list that are walked.
const MAX_PARTS: usize = 1 << 16;

/// Elements of one bucket of a hash that are walked.
const MAX_IN_BUCKET: usize = 4096;

impl Explorer<'_> {
    /// Walks the container at an address, which is a member of an object or pointed to by one.
    pub(super) fn container(&mut self, visit: &Visit<'_>, member: u32, container: Container, at: Addr) {
        match container {
            Container::Array => self.array(visit, member, at),
            Container::List => self.list(visit, member, at),
            Container::Queue => self.queue(visit, member, at),
            Container::Tree => self.tree(visit, member, at),
            Container::Hash => self.hash(visit, member, at),
        };
    }

    fn array(&mut self, visit: &Visit<'_>, member: u32, at: Addr) -> Option<()> {
        let [elements, count, size, room, pool] = self.layouts.array?;
        let (first, count) = (Addr(self.word(at + elements)?), self.word(at + count)?);
        let (size, room) = (self.word(at + size)?, self.word(at + room)?);
        if count > room || room > MAX_ELEMENTS || size == 0 || size > LARGEST_ELEMENT || !self.is_followed(first) {
            return None;
        }
        if !self.is_one_place(first, first + (room * size).saturating_sub(1)) {
            return None;
        }
        self.pool_of_container(visit, member, at + pool);
        self.arrive(Pointer::member(visit.id, member, visit.node.inferred), first, "void");
        self.elements(visit, member, first, (count, size), 0);
        Some(())
    }

    fn list(&mut self, visit: &Visit<'_>, member: u32, at: Addr) -> Option<()> {
        let [first_part, size, pool] = self.layouts.list?;
        let [elements, count, next] = self.layouts.part?;
        let size = self.word(at + size).filter(|size| (1..=LARGEST_ELEMENT).contains(size))?;
        self.pool_of_container(visit, member, at + pool);
        let (mut part, mut total, mut seen) = (at + first_part, 0, FxHashSet::default());
        while seen.insert(part) && seen.len() <= MAX_PARTS && total <= MAX_ELEMENTS {
            let (first, here) = (Addr(self.word(part + elements)?), self.word(part + count)?);
            let last = first + here.saturating_mul(size).saturating_sub(u64::from(here > 0));
            if here > MAX_ELEMENTS || here > 0 && !(self.is_followed(first) && self.is_one_place(first, last)) {
                break;
            }
            self.arrive(Pointer::member(visit.id, member, visit.node.inferred), first, "void");
            self.elements(visit, member, first, (here, size), total);
            total += here;
            part = Addr(self.word(part + next)?);
            if !self.is_followed(part) {
                break;
            }
        }
        Some(())
    }

    fn pool_of_container(&mut self, visit: &Visit<'_>, member: u32, at: Addr) {
        if let Some(pool) = self.word(at) {
            self.pool(Pointer::member(visit.id, member, visit.node.inferred), Addr(pool), true);
        }
    }

    /// Elements that lie one after the other: structures, or pointers to structures.
    fn elements(&mut self, visit: &Visit<'_>, member: u32, first: Addr, (count, size): (u64, u64), before: u64) {
        if count == 0 {
            return;
        }
        let sampled = FxHashSet::from_iter([0, 1, count / 3, count / 2, count - 2.min(count), count - 1]);
        let mut samples: Vec<Addr> =
            sampled.into_iter().filter(|index| *index < count).map(|index| first + index * size).collect();
        samples.sort_unstable();
        let question = self.question(visit, member);
        if let Some(answer) = self.infer(question, &[], Fit::Size(size), &samples) {
            let wanted = if answer.shape.is_interesting { count } else { 0 };
            for index in 0..wanted {
                let step = element((before + index) as u32, member, How::Element);
                self.follow(visit, step, first + index * size, &answer.shape, visit.node.owner);
            }
        } else if size == 8 {
            let pointers: Vec<Addr> = (0..count).map_while(|index| self.word(first + index * 8)).map(Addr).collect();
            self.pointers(visit, member, &pointers, before);
        }
    }

    /// Pointers that lie one after the other.
    fn pointers(&mut self, visit: &Visit<'_>, member: u32, pointers: &[Addr], before: u64) {
        let samples: Vec<Addr> = pointers.iter().copied().filter(|target| self.is_followed(*target)).take(6).collect();
        let question = self.question(visit, member);
        let Some(answer) = self.infer(question, &[], Fit::Any, &samples) else { return };
        for (index, target) in (0u64..).zip(pointers.iter().copied()) {
            let pointer = Pointer::member(visit.id, member, true);
            let pointer = Pointer { index: (before + index) as u32, ..pointer };
            if target.is_aligned(8) && !target.is_null() && self.arrive(pointer, target, &answer.shape.name) {
                let step = element(pointer.index, member, How::ElementPointer);
                self.follow(visit, step, target, &answer.shape, visit.node.owner);
            }
        }
    }

    /// A queue, from its head or from one of the links in it. Each is walked once.
    fn queue(&mut self, visit: &Visit<'_>, member: u32, at: Addr) -> Option<()> {
        let [prev, next] = self.layouts.queue?;
        if self.walked.contains(&at) {
            return None;
        }
        let first = Addr(self.word(at + next)?);
        // A link that was taken out of its queue keeps what it had.
        if !first.is_aligned(8) || first == at || self.word(first + prev)? != at.0 {
            return None;
        }
        let mut links = Vec::new();
        let mut link = first;
        self.walked.insert(at);
        while link != at && (links.len() as u64) < MAX_ELEMENTS && self.is_followed(link) && self.walked.insert(link) {
            links.push(link);
            link = Addr(self.word(link + next)?);
        }
        self.embedding(visit, member, Fit::Link, &links);
        Some(())
    }

    fn tree(&mut self, visit: &Visit<'_>, member: u32, at: Addr) -> Option<()> {
        let [root, sentinel] = self.layouts.tree?;
        let [left, right, _] = self.layouts.node?;
        let (root, sentinel) = (Addr(self.word(at + root)?), Addr(self.word(at + sentinel)?));
        if sentinel.is_null() || !self.walked.insert(at) {
            return None;
        }
        let (mut nodes, mut open, mut seen) = (Vec::new(), Vec::new(), FxHashSet::default());
        let mut node = root;
        while (nodes.len() as u64) < MAX_ELEMENTS {
            while node != sentinel && self.is_followed(node) && seen.insert(node) {
                open.push(node);
                node = self.memory.read_pointer(node + left).unwrap_or(sentinel);
            }
            let Some(next) = open.pop() else { break };
            nodes.push(next);
            node = self.memory.read_pointer(next + right).unwrap_or(sentinel);
        }
        self.embedding(visit, member, Fit::TreeNode, &nodes);
        Some(())
    }

    /// The structures that links or nodes lie in.
    fn embedding(&mut self, visit: &Visit<'_>, member: u32, fit: Fit, links: &[Addr]) {
        let question = self.question(visit, member);
        // One of them may be the head, which lies in something else.
        let (first, last) = (links.first().copied(), links.last().copied());
        let tries = [links.to_vec(), first.into_iter().collect(), last.into_iter().collect()];
        let Some(answer) = tries.iter().find_map(|samples| self.infer(question, &[], fit, samples)) else { return };
        for (index, link) in (0u32..).zip(links) {
            let at = *link - answer.offset;
            if self.evidence(&answer.shape, at).is_some() {
                let pointer = Pointer { index, ..Pointer::member(visit.id, member, true) };
                self.arrive(pointer, at, &answer.shape.name);
                self.follow(visit, element(index, member, How::Element), at, &answer.shape, visit.node.owner);
            }
        }
    }

    fn hash(&mut self, visit: &Visit<'_>, member: u32, at: Addr) -> Option<()> {
        let [buckets, size] = self.layouts.hash?;
        let (buckets, size) = (Addr(self.word(at + buckets)?), self.word(at + size)?);
        if size > MAX_ELEMENTS || !self.is_followed(buckets) || !self.walked.insert(at) {
            return None;
        }
        let mut values = Vec::new();
        for bucket in 0..size {
            let Some(first) = self.word(buckets + bucket * 8).map(Addr) else { break };
            if self.is_followed(first) {
                self.bucket(first, &mut values);
            }
        }
        let is_wildcard = &*visit.shape.name == "ngx_hash_wildcard_t";
        self.values(visit, member, &values, is_wildcard);
        Some(())
    }

    /// Adds the values of a bucket: each element is followed by the next, and the last by a null pointer (nginx
    /// `src/core/ngx_hash.c`, `ngx_hash_find`).
    fn bucket(&self, first: Addr, values: &mut Vec<Addr>) {
        let Some([value, length, name]) = self.layouts.element else { return };
        let mut element = first;
        for _ in 0..MAX_IN_BUCKET {
            let Some(found) = self.word(element + value).filter(|found| *found != 0) else { break };
            let mut bytes = [0; 2];
            if self.memory.read(element + length, &mut bytes).is_err() || values.len() as u64 >= MAX_ELEMENTS {
                break;
            }
            values.push(Addr(found));
            element = (element + name + u64::from(u16::from_le_bytes(bytes))).align_up(8);
        }
    }

    /// The values of a hash. In one with wildcards the two lowest bits say what a value is: with the second set it is one
    /// more hash (nginx `src/core/ngx_hash.c`, `ngx_hash_find_wc_head`).
    fn values(&mut self, visit: &Visit<'_>, member: u32, values: &[Addr], is_wildcard: bool) {
        let (mut plain, nested): (Vec<Addr>, Vec<Addr>) =
            values.iter().partition(|value| !is_wildcard || value.0 & 2 == 0);
        for value in &mut plain {
            *value = if is_wildcard { value.align_down(4) } else { *value };
        }
        for (index, value) in (0u32..).zip(nested) {
            let at = value.align_down(4);
            if self.is_followed(at) {
                let step = Step { inferred: false, ..element(index, member, How::ElementPointer) };
                self.follow(visit, step, at, visit.shape, visit.node.owner);
            }
        }
        self.pointers(visit, member, &plain, 0);
    }
}

/// A step to an element whose type is inferred.
fn element(index: u32, member: u32, how: How) -> Step {
    Step { member, index, how, inferred: true }
}
