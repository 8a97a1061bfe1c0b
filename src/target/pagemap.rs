//! Which pages hold anything, from `/proc/PID/pagemap`.

use crate::addr::{Addr, AddrRange};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Bit 63: the page is in memory. Bit 62: it is swapped out. (Linux' `Documentation/admin-guide/mm/pagemap.rst`)
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;

/// The pages of some ranges, as they were at one time.
#[derive(Debug, Clone, Default)]
pub struct Pagemap {
    page_size: u64,
    /// In address order: each range with one byte for each page.
    ranges: Vec<(AddrRange, Vec<PageState>)>,
    /// Of a core, in address order: the ranges that were asked for, and the stretches that hold data.
    asked: Vec<AddrRange>,
    data: Vec<AddrRange>,
}

/// What is known of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageState {
    /// Never written, or given back to the kernel: reads as zeroes.
    Absent,
    /// In memory.
    Resident,
    /// Swapped out.
    Swapped,
}

impl Pagemap {
    /// Reads the state of all pages of `ranges`, which are page-aligned and in address order. Ranges that the kernel does
    /// not answer for are left out: their pages count as resident in [`Pagemap::may_hold_data`] and as unknown otherwise.
    pub fn read(pid: i32, page_size: u64, ranges: &[AddrRange]) -> std::io::Result<Pagemap> {
        let file = File::open(format!("/proc/{pid}/pagemap"))?;
        let states = ranges.iter().filter_map(|range| Some((*range, read_range(&file, page_size, *range).ok()?)));
        Ok(Pagemap { page_size, ranges: states.collect(), ..Pagemap::default() })
    }

    /// What a core tells of `ranges`: that pages without a byte in `data` hold nothing. Both are in address order. Which pages
    /// were resident a core does not tell, so that [`Pagemap::resident_bytes`] is unknown.
    pub fn of_presence(page_size: u64, ranges: &[AddrRange], data: &[AddrRange]) -> Pagemap {
        Pagemap { page_size, ranges: Vec::new(), asked: ranges.to_vec(), data: data.to_vec() }
    }

    /// The state of the page that holds `address`; `None` if it was not read.
    pub fn state(&self, address: Addr) -> Option<PageState> {
        let index = self.ranges.partition_point(|(range, _)| range.end <= address);
        let (range, states) = self.ranges.get(index)?;
        let offset = address.checked_offset_from(range.start)?;
        states.get((offset / self.page_size) as usize).copied()
    }

    /// False only if the page that holds `address` is known to be absent.
    pub fn may_hold_data(&self, address: Addr) -> bool {
        match range_at(&self.asked, address) {
            Some(_) => self.has_data(address),
            None => self.state(address) != Some(PageState::Absent),
        }
    }

    /// The first page from the page `from` on and before `end` that may hold data. A core may have terabytes of nothing, over
    /// which this steps at once.
    pub fn next_with_data(&self, from: Addr, end: Addr) -> Option<Addr> {
        let mut page = from;
        while page < end && !self.may_hold_data(page) {
            page = match range_at(&self.asked, page) {
                Some(asked) => self.next_data(page).min(asked.end),
                None => page + self.page_size,
            };
        }
        (page < end).then_some(page)
    }

    /// The page of the first data behind the page `from`, in a core.
    fn next_data(&self, from: Addr) -> Addr {
        let index = self.data.partition_point(|range| range.start <= from);
        self.data.get(index).map_or(Addr(u64::MAX), |range| range.start.align_down(self.page_size))
    }

    /// True if a byte of data lies on the page of `address`, in a core.
    fn has_data(&self, address: Addr) -> bool {
        let page = AddrRange::sized(address.align_down(self.page_size), self.page_size);
        let index = self.data.partition_point(|range| range.end <= page.start);
        self.data.get(index).is_some_and(|range| range.start < page.end)
    }

    /// Bytes of `range` on resident pages. `None` if some of its pages were not read.
    pub fn resident_bytes(&self, range: AddrRange) -> Option<u64> {
        // Of a process that has exited, nothing was read, not even the size of its pages.
        if self.page_size == 0 {
            return None;
        }
        let mut resident = 0;
        let mut at = range.start;
        while at < range.end {
            let next = (at.align_down(self.page_size) + self.page_size).min(range.end);
            if self.state(at)? == PageState::Resident {
                resident += next.0 - at.0;
            }
            at = next;
        }
        Some(resident)
    }
}

fn range_at(ranges: &[AddrRange], address: Addr) -> Option<&AddrRange> {
    let index = ranges.partition_point(|range| range.end <= address);
    ranges.get(index).filter(|range| range.contains(address))
}

fn read_range(file: &File, page_size: u64, range: AddrRange) -> std::io::Result<Vec<PageState>> {
    const PAGES_AT_ONCE: usize = 64 * 1024;
    let total = (range.len() / page_size) as usize;
    let mut states = Vec::with_capacity(total);
    let mut bytes = vec![0; PAGES_AT_ONCE.min(total) * 8];
    while states.len() < total {
        let count = (total - states.len()).min(PAGES_AT_ONCE);
        let first = range.start.0 / page_size + states.len() as u64;
        file.read_exact_at(&mut bytes[..count * 8], first * 8)?;
        states.extend(bytes[..count * 8].as_chunks::<8>().0.iter().map(|entry| state_of(u64::from_le_bytes(*entry))));
    }
    Ok(states)
}

fn state_of(entry: u64) -> PageState {
    match (entry & PRESENT != 0, entry & SWAPPED != 0) {
        (true, _) => PageState::Resident,
        (false, true) => PageState::Swapped,
        (false, false) => PageState::Absent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_a_core_hold_data_or_not_and_their_residency_is_unknown() {
        let range = |start, end| AddrRange::new(Addr(start), Addr(end));
        let pagemap = Pagemap::of_presence(0x1000, &[range(0x1000, 0x5000)], &[range(0x2ff8, 0x3008)]);
        let may_hold_data = [0x1fff, 0x2000, 0x3fff, 0x4000, 0x5000].map(|at| pagemap.may_hold_data(Addr(at)));
        assert_eq!(may_hold_data, [false, true, true, false, true]);
        assert_eq!(pagemap.resident_bytes(range(0x1000, 0x2000)), None);
        assert_eq!(Pagemap::default().resident_bytes(range(0x1000, 0x2000)), None);
        let next = |from, end| pagemap.next_with_data(Addr(from), Addr(end)).map(|page| page.0);
        assert_eq!([next(0x1000, 0x5000), next(0x3000, 0x5000)], [Some(0x2000), Some(0x3000)]);
        assert_eq!([next(0x4000, 0x5000), next(0x4000, 0x6000), next(0x1000, 0x2000)], [None, Some(0x5000), None]);
    }

    #[test]
    fn touched_pages_are_resident_and_others_absent() {
        let page_size = crate::target::page_size();
        let mut memory = vec![0u8; 64 * page_size as usize];
        let first = Addr(memory.as_ptr() as u64).align_up(page_size);
        let touched = (first.0 - memory.as_ptr() as u64) as usize + 3 * page_size as usize;
        memory[touched] = 1;
        let range = AddrRange::sized(first, 32 * page_size);
        let pagemap = Pagemap::read(std::process::id() as i32, page_size, &[range]).unwrap();
        assert_eq!(pagemap.state(first + 3 * page_size), Some(PageState::Resident));
        assert_eq!(pagemap.state(first - 1), None);
        assert!(pagemap.may_hold_data(first - 1));
        assert!(pagemap.resident_bytes(range).unwrap() >= page_size);
        assert_eq!(pagemap.resident_bytes(AddrRange::sized(first - page_size, page_size)), None);
        std::hint::black_box(&memory);
    }
}
