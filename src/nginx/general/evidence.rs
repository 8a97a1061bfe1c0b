//! Whether bytes can be a structure: the structure is laid over them, and every pointer in it must make sense.

use super::Place;
use super::explorer::Explorer;
use super::shape::{Container, Held, Member, Shape, TypeRef, What};
use crate::addr::Addr;
use crate::target::memory::{Memory, word_at};

/// An exact pool decides: nothing else looks like the address of one.
pub(super) const POOL: i32 = 20;

/// The most that all other members together weigh, so that a long structure does not win for its length.
const MOST: i32 = 12;

/// Members that are looked at.
const MAX_MEMBERS: usize = 96;

/// Largest structure that is laid over anything.
pub(super) const LARGEST: u64 = 64 << 10;

/// `NGX_CONF_UNSET_PTR`: what a configuration holds that nobody has set.
const UNSET: Addr = Addr(u64::MAX);

/// Texts and containers that are longer than this are not believed.
const LONGEST: u64 = 1 << 28;

/// What one member says: for the structure (above zero), nothing, or that the bytes are none (`None`).
type Verdict = Option<i32>;

impl Explorer<'_> {
    /// What speaks for a structure at an address; `None` if something speaks against it.
    pub(super) fn evidence(&self, shape: &Shape, address: Addr) -> Verdict {
        if shape.size > LARGEST || !address.is_aligned(8) {
            return None;
        }
        if let Place::Chunk { start, size } = self.places.at(address)
            && address.0.wrapping_sub(start.0).saturating_add(shape.size) > size
        {
            return None;
        }
        let mut bytes = vec![0; shape.size as usize];
        self.memory.read(address, &mut bytes).ok()?;
        let (mut total, mut pools) = (0, 0);
        for member in shape.members.iter().filter(|member| !member.in_union).take(MAX_MEMBERS) {
            match self.speaks(member, address, &bytes)? {
                POOL => pools = POOL,
                weight => total += weight,
            }
        }
        Some(total.min(MOST) + pools)
    }

    fn speaks(&self, member: &Member, address: Addr, bytes: &[u8]) -> Verdict {
        let value = Addr(word_at(bytes, member.offset));
        match &member.what {
            What::Text => self.text(value.0, bytes, member.offset),
            What::Container(container, Held::Embedded) => self.container_at(*container, address + member.offset),
            What::TreeNode => self.tree_node(address + member.offset),
            What::Number(_) => Some(0),
            _ if value.is_null() || value == UNSET => Some(0),
            What::Pool => self.pool_pointer(value),
            What::Function => self.function(value),
            What::Structure(to, _) => self.structure_pointer(value, *to),
            What::Table(..) | What::VoidTable | What::Container(..) => self.pointer(value, 8),
            What::Opaque(_) => self.pointer(value, 8),
            // A value of any type may be kept as `void *`, also a number.
            What::Void => Some(i32::from(!matches!(self.places.at(value), Place::Other))),
            What::Bytes => self.pointer(value, 1),
        }
    }

    fn pool_pointer(&self, value: Addr) -> Verdict {
        if self.places.pool_at(value).is_some() {
            return Some(POOL);
        }
        // That of a pool which is gone stays behind in some structures.
        (value.is_aligned(16) && self.is_mapped(value)).then_some(-2)
    }

    fn pointer(&self, value: Addr, alignment: u64) -> Verdict {
        if !value.is_aligned(alignment) {
            return None;
        }
        match self.places.at(value) {
            Place::Other => self.is_mapped(value).then_some(0),
            _ => Some(1),
        }
    }

    fn structure_pointer(&self, value: Addr, to: TypeRef) -> Verdict {
        let size = self.shapes.structure(to).and_then(|structure| structure.size).unwrap_or_default();
        let last = value + size.saturating_sub(1);
        if self.is_followed(value) && !self.is_one_place(value, last) {
            return None;
        }
        self.pointer(value, 8)
    }

    /// True if two addresses lie in the same chunk, in the same pool, or both in static data.
    pub(super) fn is_one_place(&self, first: Addr, last: Addr) -> bool {
        last >= first && self.places.at(first) == self.places.at(last)
    }

    fn function(&self, value: Addr) -> Verdict {
        for module in self.shapes.modules() {
            let at = module.bias.to_file(value);
            let inside = |start: u64, size: u64| at.0.checked_sub(start).is_some_and(|offset| offset < size);
            let mut segments = module.debug.segments().iter();
            let Some(segment) = segments.find(|segment| inside(segment.address.0, segment.memory_size)) else {
                continue;
            };
            if !segment.executable {
                return None;
            }
            let starts = module.catalogue.function_at(at).is_some()
                || module.debug.symbol_at(at).is_some_and(|(_, offset)| offset == 0);
            // Code that no symbol begins at can be the linker's, for a function of a library.
            return Some(if starts { 3 } else { -3 });
        }
        self.is_mapped(value).then_some(0)
    }

    fn text(&self, first: u64, bytes: &[u8], offset: u64) -> Verdict {
        let Some([length_at, data_at]) = self.layouts.text else { return Some(0) };
        let length = if length_at == 0 { first } else { word_at(bytes, offset + length_at) };
        let data = Addr(word_at(bytes, offset + data_at));
        match (length, data) {
            (0, Addr::NULL) => Some(0),
            (_, UNSET) => Some(0),
            (length, data) if length > LONGEST || data.is_null() => None,
            (length, data) => match self.is_one_place(data, data + length.saturating_sub(1)) {
                true => self.pointer(data, 1),
                false => None,
            },
        }
    }

    fn container_at(&self, container: Container, at: Addr) -> Verdict {
        match container {
            Container::Array => self.array_evidence(at),
            Container::Queue => self.queue_evidence(at),
            Container::Tree => self.tree_evidence(at),
            Container::List => {
                let [part, size, pool] = self.layouts.list?;
                let [elements, ..] = self.layouts.part?;
                self.sized(at + part + elements, at + size, at + pool)
            }
            Container::Hash => {
                let [buckets, size] = self.layouts.hash?;
                let (buckets, size) = (self.word(at + buckets)?, self.word(at + size)?);
                match (buckets, size) {
                    (0, size) if size < LONGEST => Some(0),
                    (buckets, size) if size < LONGEST => self.pointer(Addr(buckets), 8),
                    _ => None,
                }
            }
        }
    }

    fn array_evidence(&self, at: Addr) -> Verdict {
        let [elements, count, size, room, pool] = self.layouts.array?;
        let (count, room) = (self.word(at + count)?, self.word(at + room)?);
        if count > room || room > LONGEST {
            return None;
        }
        self.sized(at + elements, at + size, at + pool)
    }

    /// An array or list, by its elements, their size, and its pool.
    fn sized(&self, elements: Addr, size: Addr, pool: Addr) -> Verdict {
        let (elements, size, pool) = (Addr(self.word(elements)?), self.word(size)?, Addr(self.word(pool)?));
        if elements.is_null() {
            return (size <= LARGEST).then_some(0);
        }
        if size == 0 || size > LARGEST {
            return None;
        }
        let of_pool = if self.places.pool_at(pool).is_some() { 5 } else { 0 };
        self.pointer(elements, 1).map(|weight| weight + of_pool)
    }

    /// A link must be linked back, from both sides.
    fn queue_evidence(&self, at: Addr) -> Verdict {
        let [prev_at, next_at] = self.layouts.queue?;
        let (prev, next) = (Addr(self.word(at + prev_at)?), Addr(self.word(at + next_at)?));
        if prev.is_null() || next.is_null() {
            // One that was removed keeps what it had; in debug builds it is cleared.
            return Some(0);
        }
        let back = self.word(next + prev_at)? == at.0 && self.word(prev + next_at)? == at.0;
        let removed = !back && self.is_mapped(prev) && self.is_mapped(next);
        if back { Some(4) } else { removed.then_some(-2) }
    }

    fn tree_evidence(&self, at: Addr) -> Verdict {
        let [root, sentinel] = self.layouts.tree?;
        let (root, sentinel) = (Addr(self.word(at + root)?), Addr(self.word(at + sentinel)?));
        match (root, sentinel) {
            (Addr::NULL, Addr::NULL) => Some(0),
            (root, sentinel) if root.is_null() || sentinel.is_null() => None,
            (root, sentinel) => Some(self.pointer(root, 8)? + self.pointer(sentinel, 8)?),
        }
    }

    /// A node of a tree is the child of its parent, or has none.
    fn tree_node(&self, at: Addr) -> Verdict {
        let [left_at, right_at, parent_at] = self.layouts.node?;
        let word = |offset| self.word(at + offset).map(Addr);
        let (left, right, parent) = (word(left_at)?, word(right_at)?, word(parent_at)?);
        if left.is_null() || right.is_null() {
            return Some(0);
        }
        self.pointer(left, 8)?;
        self.pointer(right, 8)?;
        if parent.is_null() {
            return Some(1);
        }
        self.pointer(parent, 8)?;
        let children = [self.word(parent + left_at)?, self.word(parent + right_at)?];
        // A node that was taken out keeps its links.
        Some(if children.contains(&at.0) { 4 } else { -2 })
    }

    /// The word at an address.
    pub(super) fn word(&self, at: Addr) -> Option<u64> {
        self.memory.read_u64(at).ok()
    }

    /// True if there is memory at an address.
    pub(super) fn is_mapped(&self, at: Addr) -> bool {
        self.memory.read(at, &mut [0]).is_ok()
    }
}
