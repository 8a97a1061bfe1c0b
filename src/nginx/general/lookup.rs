//! The caller's [`Places`], with a memory of what was asked lately: the same few pools, logs and modules are pointed to from
//! everywhere.

use super::{Place, Places};
use crate::addr::Addr;
use std::cell::RefCell;

/// Answers that are remembered. A power of two.
const REMEMBERED: usize = 1 << 13;

/// Places, with the answers given lately.
pub(super) struct Lookup<'a> {
    places: &'a dyn Places,
    recent: RefCell<Vec<(Addr, Place)>>,
}

impl<'a> Lookup<'a> {
    pub(super) fn new(places: &'a dyn Places) -> Lookup<'a> {
        // That nothing lies at the null pointer is true of itself.
        Lookup { places, recent: RefCell::new(vec![(Addr::NULL, Place::Other); REMEMBERED]) }
    }

    /// What lies at an address.
    pub(super) fn at(&self, address: Addr) -> Place {
        let mut recent = self.recent.borrow_mut();
        let slot = (address.0 ^ address.0 >> 16) as usize % REMEMBERED;
        match recent.get_mut(slot) {
            Some((known, place)) if *known == address => *place,
            Some(entry) => {
                *entry = (address, self.places.at(address));
                entry.1
            }
            None => self.places.at(address),
        }
    }

    /// The number of the pool that is at exactly this address.
    pub(super) fn pool_at(&self, address: Addr) -> Option<u32> {
        self.places.pool_at(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    struct Counting(Cell<u32>);

    impl Places for Counting {
        fn at(&self, address: Addr) -> Place {
            self.0.set(self.0.get() + 1);
            if address.0 == 0x5000 { Place::Static } else { Place::Other }
        }

        fn pool_at(&self, _address: Addr) -> Option<u32> {
            None
        }
    }

    #[test]
    fn an_address_is_asked_for_once() {
        let places = Counting(Cell::new(0));
        let lookup = Lookup::new(&places);
        for _ in 0..3 {
            assert_eq!(lookup.at(Addr(0x5000)), Place::Static);
            assert_eq!(lookup.at(Addr(0x5008)), Place::Other);
            assert_eq!(lookup.at(Addr::NULL), Place::Other);
        }
        assert_eq!(places.0.get(), 2);
    }
}
