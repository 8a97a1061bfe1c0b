//! A memory that reads whole pages and keeps them: for following pointers, which mostly stay near each other.

use crate::addr::Addr;
use crate::target::memory::{Fault, Memory};
use rustc_hash::FxHashMap;
use std::cell::RefCell;

/// The slot of a page that could not be read; asking again will not help while the target is stopped.
const ABSENT: u32 = u32::MAX;

/// Pages of `source`, kept once read. Not for use over memory that changes, unless it is told
/// to forget.
#[derive(Debug)]
pub struct PageCache<M> {
    source: M,
    page_size: u64,
    limit: usize,
    state: RefCell<State>,
}

/// What a [`PageCache`] held.
#[derive(Debug)]
pub(super) struct RetiredPages {
    _state: State,
}

#[derive(Debug, Default)]
struct State {
    slots: FxHashMap<u64, u32>,
    bytes: Vec<u8>,
    /// The page of the latest hit and where its bytes start: chained reads mostly stay within a page.
    latest: Option<(u64, usize)>,
    /// Bytes of pages that were let go because the cache was full.
    forgotten: u64,
}

impl State {
    fn start_anew(&mut self) {
        self.forgotten += self.bytes.len() as u64;
        self.slots.clear();
        self.bytes.clear();
        self.latest = None;
    }
}

impl<M: Memory> PageCache<M> {
    /// An empty cache over `source` that keeps at most `limit` bytes of pages; when it is full, it starts anew.
    pub fn new(source: M, page_size: u64, limit: usize) -> PageCache<M> {
        PageCache { source, page_size, limit, state: RefCell::default() }
    }

    /// Bytes of all pages that were read.
    pub fn bytes(&self) -> u64 {
        let state = self.state.borrow();
        state.bytes.len() as u64 + state.forgotten
    }

    /// Forgets all pages, because they may have changed.
    pub(super) fn forget(&self) {
        self.state.borrow_mut().start_anew();
    }

    /// Ends reading, and leaves it to the caller when to give back what it held.
    pub(super) fn retire(self) -> RetiredPages {
        RetiredPages { _state: self.state.into_inner() }
    }

    /// Makes room for `pages` more pages and touches it, so that no page fault of ours falls into the stop.
    pub fn reserve(&self, pages: usize) {
        let mut state = self.state.borrow_mut();
        let length = (pages * self.page_size as usize).min(self.limit);
        state.bytes.resize(length, 0);
        // Writing is what makes the kernel hand out the pages; zeroes from a fresh mapping would stay unbacked.
        for byte in state.bytes.iter_mut().step_by(self.page_size as usize) {
            *byte = std::hint::black_box(1);
        }
        state.bytes.clear();
        state.slots.reserve(pages);
    }

    /// Offset in `state.bytes` of the page that starts at `page`, reading it if need be; `None` if the cache has no room for
    /// even one.
    fn locate(&self, state: &mut State, page: Addr) -> Result<Option<usize>, Fault> {
        if let Some((latest, offset)) = state.latest
            && latest == page.0
        {
            return Ok(Some(offset));
        }
        let offset = match state.slots.get(&page.0) {
            Some(&ABSENT) => return Err(Fault::Unmapped(page)),
            Some(&slot) => slot as usize * self.page_size as usize,
            None => match self.fetch(state, page)? {
                Some(offset) => offset,
                None => return Ok(None),
            },
        };
        state.latest = Some((page.0, offset));
        Ok(Some(offset))
    }

    fn fetch(&self, state: &mut State, page: Addr) -> Result<Option<usize>, Fault> {
        let length = self.page_size as usize;
        if length > self.limit {
            return Ok(None);
        }
        // Chains that lead all over a heap, as long fastbins do, would fill any cache with pages that nobody looks at again.
        if state.bytes.len() + length > self.limit {
            state.start_anew();
        }
        let offset = state.bytes.len();
        state.bytes.resize(offset + length, 0);
        match self.source.read(page, &mut state.bytes[offset..]) {
            Ok(()) => {
                state.slots.insert(page.0, (offset / length) as u32);
                Ok(Some(offset))
            }
            Err(fault) => {
                state.bytes.truncate(offset);
                if matches!(fault, Fault::Unmapped(_)) {
                    state.slots.insert(page.0, ABSENT);
                }
                Err(fault)
            }
        }
    }
}

impl<M: Memory> Memory for PageCache<M> {
    fn read(&self, address: Addr, buffer: &mut [u8]) -> Result<(), Fault> {
        let state = &mut *self.state.borrow_mut();
        let mut done = 0;
        while done < buffer.len() {
            let at = address + done as u64;
            let page = at.align_down(self.page_size);
            let within = (at.0 - page.0) as usize;
            let count = (self.page_size as usize - within).min(buffer.len() - done);
            let place = &mut buffer[done..done + count];
            match self.locate(state, page)? {
                Some(offset) => place.copy_from_slice(&state.bytes[offset + within..offset + within + count]),
                None => self.source.read(at, place)?,
            }
            done += count;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::image::Image;

    fn two_pages() -> Image {
        let mut image = Image::new();
        image.map(Addr(0x1000), (0..0x2000u32).map(|n| (n / 16) as u8).collect());
        image
    }

    #[test]
    fn a_read_across_pages_is_the_same_with_and_without_the_cache() {
        let image = two_pages();
        let cache = PageCache::new(&image, 0x1000, 1 << 20);
        let (mut plain, mut cached) = ([0; 64], [0; 64]);
        image.read(Addr(0x1ff0), &mut plain).unwrap();
        cache.read(Addr(0x1ff0), &mut cached).unwrap();
        assert_eq!(plain, cached);
        assert_eq!(cache.bytes(), 0x2000);
    }

    #[test]
    fn a_full_cache_still_answers() {
        let image = two_pages();
        let cache = PageCache::new(&image, 0x1000, 0x1000);
        cache.read_u64(Addr(0x1000)).unwrap();
        assert_eq!(cache.read_u64(Addr(0x2000)), image.read_u64(Addr(0x2000)));
        assert_eq!(cache.read_u64(Addr(0x1008)), image.read_u64(Addr(0x1008)));
        assert_eq!(cache.bytes(), 0x3000);
        let tiny = PageCache::new(&image, 0x1000, 0x800);
        assert_eq!(tiny.read_u64(Addr(0x2000)), image.read_u64(Addr(0x2000)));
    }

    #[test]
    fn absent_pages_fault_every_time() {
        let image = two_pages();
        let cache = PageCache::new(&image, 0x1000, 1 << 20);
        for _ in 0..2 {
            assert!(matches!(cache.read_u64(Addr(0x8000)), Err(Fault::Unmapped(_))));
        }
        assert_eq!(cache.bytes(), 0);
    }
}
