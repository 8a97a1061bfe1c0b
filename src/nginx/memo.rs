//! What was read of the target once: many connections have their listening socket, location or upstream in common.

use crate::addr::Addr;
use rustc_hash::FxHashMap;
use std::cell::RefCell;

/// Values by the address that they were read from. Not for use over memory that changes.
pub struct Memo<T>(RefCell<FxHashMap<Addr, T>>);

impl<T> Default for Memo<T> {
    fn default() -> Memo<T> {
        Memo(RefCell::default())
    }
}

impl<T: Clone> Memo<T> {
    /// The value of that address; `read` gives it, if it was not asked for before.
    pub fn get(&self, address: Addr, read: impl FnOnce() -> T) -> T {
        self.0.borrow_mut().entry(address).or_insert_with(read).clone()
    }
}
