//! How a node is pointed to, as far as one look tells: the best pointer to each.

use crate::addr::Addr;
use std::sync::atomic::{AtomicU64, Ordering};

/// How good a pointer is for telling who owns what it leads to, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rank {
    /// It is in a variable.
    Variable,
    /// It is in a chunk whose type is known.
    Claimed,
    /// It is in memory that the program has mapped for itself, or in a thread-local variable.
    Anonymous,
    /// It is in a pool with a name.
    NamedPool,
    /// It is not known where it is, but there may be one.
    Possible,
    /// It is on a stack.
    Stack,
    /// It is in a register.
    Register,
}

impl Rank {
    const ALL: [Rank; 7] =
        [Rank::Variable, Rank::Claimed, Rank::Anonymous, Rank::NamedPool, Rank::Possible, Rank::Stack, Rank::Register];

    /// True if it says what keeps something, and not only who is busy with it just now.
    pub fn is_lasting(self) -> bool {
        self < Rank::Stack
    }
}

/// The best pointer to a node: its rank in the upper byte, and its address.
#[derive(Debug)]
pub struct Best(AtomicU64);

impl Best {
    const NONE: u64 = u64::MAX;

    /// No pointer.
    pub fn none() -> Best {
        Best(AtomicU64::new(Best::NONE))
    }

    /// Notes a pointer at `at`. True if it is the first one.
    pub fn note(&self, rank: Rank, at: u64) -> bool {
        self.0.fetch_min((rank as u64) << 56 | at & (u64::MAX >> 8), Ordering::Relaxed) == Best::NONE
    }

    /// The best pointer that was noted, and where it stands.
    pub fn get(&self) -> Option<(Rank, Addr)> {
        let word = self.0.load(Ordering::Relaxed);
        let rank = Rank::ALL.get((word >> 56) as usize).filter(|_| word != Best::NONE)?;
        Some((*rank, Addr(word & (u64::MAX >> 8))))
    }

    /// True if no edge from a node can tell anything better.
    pub fn is_settled(&self) -> bool {
        self.0.load(Ordering::Relaxed) >> 56 <= Rank::NamedPool as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_pointer_is_that_of_the_best_rank_at_the_lowest_address() {
        let best = Best::none();
        assert_eq!(best.get(), None);
        assert!(best.note(Rank::Stack, 0x10));
        assert!(!best.is_settled());
        assert!(!best.note(Rank::NamedPool, 0x5000));
        best.note(Rank::NamedPool, 0x4000);
        best.note(Rank::Register, 1);
        assert_eq!(best.get(), Some((Rank::NamedPool, Addr(0x4000))));
        assert!(best.is_settled());
    }
}
