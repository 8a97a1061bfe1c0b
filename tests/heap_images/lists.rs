//! Bins, fastbins and thread caches of an image.

use super::glibcs::Glibc;
use super::process::HeapImage;
use super::spec::{Cell, State};
use poolscope::addr::Addr;
use poolscope::malloc::layout::TcacheCounts;
use poolscope::malloc::lists::Linking;
use std::collections::BTreeMap;

/// Members of all lists, in the order in which they are linked. Singly linked ones hold user memory, bins hold starts.
pub struct Lists {
    tcaches: BTreeMap<(usize, u64), Vec<Addr>>,
    fastbins: BTreeMap<(usize, u64), Vec<Addr>>,
    bins: BTreeMap<(usize, u64), Vec<Addr>>,
    arenas: usize,
}

impl Lists {
    pub fn new(arenas: usize) -> Lists {
        Lists { tcaches: BTreeMap::new(), fastbins: BTreeMap::new(), bins: BTreeMap::new(), arenas }
    }

    /// The state that malloc could have given the chunk.
    pub fn admit(&self, glibc: &Glibc, threads: usize, cell: Cell, may_be_free: bool) -> State {
        let has_room = |thread: usize| {
            let list = self.tcaches.get(&(thread, cell.size));
            thread < threads && cell.size <= 1040 && list.map_or(0, Vec::len) < glibc.tcache_count as usize
        };
        match cell.state {
            State::Tcache(thread) if !has_room(thread) => State::InUse,
            State::Fastbin if glibc.layout.state.fastbins.is_none() || cell.size > 128 => State::InUse,
            State::Free if !may_be_free => State::InUse,
            state => state,
        }
    }

    pub fn add(&mut self, arena: usize, start: Addr, size: u64, state: State) {
        match state {
            State::InUse => {}
            State::Tcache(thread) => self.tcaches.entry((thread, size)).or_default().push(start + 16),
            State::Fastbin => self.fastbins.entry((arena, size)).or_default().push(start + 16),
            State::Free => {
                // Some are still in the unsorted list, the others in the bin of their size.
                let bin = if start.0 & 0x10 == 0 { 1 } else { bin_of(size) };
                self.bins.entry((arena, bin)).or_default().push(start);
            }
        }
    }

    pub fn write(&self, out: &mut HeapImage) {
        for thread in 0..out.tcaches.len() {
            self.write_tcache(out, thread);
        }
        let state = out.glibc.layout.state.clone();
        for ((arena, size), members) in &self.fastbins {
            let head = out.arenas[*arena] + state.fastbins.unwrap().0 + (size / 16 - 2) * 8;
            out.poke(head, members[0].0 - 16);
            link_singly(out, members, 16);
        }
        for arena in 0..self.arenas {
            for bin in 1..=state.bin_count {
                let pair = out.arenas[arena] + state.bins + (bin - 1) * 16;
                let members = self.bins.get(&(arena, bin)).map_or(&[][..], Vec::as_slice);
                link_doubly(out, pair - 16, members);
            }
        }
    }

    fn write_tcache(&self, out: &mut HeapImage, thread: usize) {
        let (layout, cache) = (out.glibc.tcache().clone(), out.tcaches[thread]);
        assert!(out.image.write(cache, &vec![0; layout.size as usize]));
        for list in 0..layout.lists {
            let members = self.tcaches.get(&(thread, list * 16 + 32)).map_or(&[][..], Vec::as_slice);
            let count = members.len() as u64;
            match layout.counts {
                TcacheCounts::Bytes(offset) => assert!(out.image.write(cache + offset + list, &[count as u8])),
                TcacheCounts::Words(offset) => {
                    assert!(out.image.write(cache + offset + list * 2, &(count as u16).to_le_bytes()));
                }
                TcacheCounts::FreeSlots => {
                    let left = (out.glibc.tcache_count - count) as u16;
                    assert!(out.image.write(cache + list * 2, &left.to_le_bytes()));
                }
            }
            out.poke(cache + layout.entries + list * 8, members.first().map_or(0, |first| first.0));
            link_singly(out, members, 0);
        }
    }
}

/// The number of the bin that chunks of that size go to (glibc malloc.c, `bin_index`).
fn bin_of(size: u64) -> u64 {
    match size {
        _ if size < 1024 => size >> 4,
        _ if size >> 6 <= 48 => 48 + (size >> 6),
        _ if size >> 9 <= 20 => 91 + (size >> 9),
        _ if size >> 12 <= 10 => 110 + (size >> 12),
        _ if size >> 15 <= 4 => 119 + (size >> 15),
        _ if size >> 18 <= 2 => 124 + (size >> 18),
        _ => 126,
    }
}

/// The word by which a list goes on from the chunk with user memory `at`.
pub fn link_word(linking: Linking, at: Addr, next: u64) -> u64 {
    match linking {
        Linking::Plain => next,
        Linking::Safe => next ^ (at.0 >> 12),
    }
}

fn link_singly(out: &mut HeapImage, members: &[Addr], from_memory: u64) {
    for (index, at) in members.iter().enumerate() {
        let next = members.get(index + 1).map_or(0, |next| next.0 - from_memory);
        out.poke(*at, link_word(out.glibc.linking, *at, next));
    }
}

fn link_doubly(out: &mut HeapImage, pseudo_chunk: Addr, members: &[Addr]) {
    let mut ring = vec![pseudo_chunk];
    ring.extend_from_slice(members);
    for (index, at) in ring.iter().enumerate() {
        out.poke(*at + 16, ring[(index + 1) % ring.len()].0);
        out.poke(*at + 24, ring[(index + ring.len() - 1) % ring.len()].0);
    }
}
