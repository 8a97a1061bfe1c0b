//! The claim on each chunk: which pool or which group it belongs to.

use crate::malloc::heap::{ChunkId, Heap};

/// How many groups can be told apart; a claim has sixteen bits for them.
pub const MOST_GROUPS: u32 = 0xffff;

/// Who a chunk belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The pool of this number.
    Pool(u32),
    /// The group of this number: [`groups`](super::Attribution::groups).
    Group(u32),
}

/// The claim on each chunk, by its number, as [`Packed`] has it: a heap can have millions, so that each takes four bytes.
/// Plain numbers, because zeroes of these come from the kernel as they are, and take no memory where nobody claims anything.
#[derive(Debug)]
pub(super) struct Claims {
    arena: Vec<u32>,
    mmapped: Vec<u32>,
}

/// A claim, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packed(u32);

impl Packed {
    const NONE: Packed = Packed(0);
    /// Groups are few; they count down from the top.
    const FIRST_GROUP: u32 = u32::MAX - 0xffff;

    fn new(claim: Claim) -> Packed {
        match claim {
            Claim::Group(index) => Packed(u32::MAX - index.min(0xffff)),
            Claim::Pool(index) => Packed(index + 1),
        }
    }

    fn get(self) -> Option<Claim> {
        match self {
            Packed::NONE => None,
            Packed(number @ Packed::FIRST_GROUP..) => Some(Claim::Group(u32::MAX - number)),
            Packed(number) => Some(Claim::Pool(number - 1)),
        }
    }
}

impl Claims {
    pub(super) fn none(heap: &Heap) -> Claims {
        Claims { arena: vec![Packed::NONE.0; heap.chunks.len()], mmapped: vec![Packed::NONE.0; heap.mmapped.len()] }
    }

    fn place(&mut self, chunk: ChunkId) -> Option<&mut u32> {
        match chunk {
            ChunkId::Arena(index) => self.arena.get_mut(index as usize),
            ChunkId::Mmapped(index) => self.mmapped.get_mut(index as usize),
        }
    }

    /// Claims a chunk; gives back who had claimed it before.
    pub(super) fn set(&mut self, chunk: ChunkId, claim: Claim) -> Option<Claim> {
        Packed(std::mem::replace(self.place(chunk)?, Packed::new(claim).0)).get()
    }

    pub(super) fn get(&self, chunk: ChunkId) -> Option<Claim> {
        let packed = match chunk {
            ChunkId::Arena(index) => self.arena.get(index as usize)?,
            ChunkId::Mmapped(index) => self.mmapped.get(index as usize)?,
        };
        Packed(*packed).get()
    }
}
