//! Ending poolscope in the middle of its work, or sending its target a signal meanwhile, again and again, and looking each time
//! at what that leaves behind. The benchmark `harmless` does this thousands of times; the test of that name runs a part of it.

mod child;
pub(crate) mod end;
mod load;
pub(crate) mod receipt;
pub(crate) mod round;
pub(crate) mod subject;

/// Why a campaign could not go on: one sentence.
pub(crate) type Failure = Box<dyn std::error::Error>;

/// Numbers that look random and are the same for the same seed (xorshift).
pub(crate) struct Sequence(u64);

impl Sequence {
    /// The sequence of `seed`.
    pub(crate) fn new(seed: u64) -> Sequence {
        Sequence(seed | 1)
    }

    /// A number from 0 to `limit - 1`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}
