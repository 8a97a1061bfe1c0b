//! Memory of which pages of files are read only where the process has touched them: reading another one would map it into the
//! process, whose resident memory would then be larger than it was.

use super::memory::{Fault, Memory};
use super::pagemap::Pagemap;
use crate::addr::{Addr, AddrRange};

/// A process that must not get any pages by being looked at. What it never touched has what its file has, and so nothing of
/// its own: variables with pointers are written by the dynamic loader.
#[derive(Debug)]
pub struct Resident<M> {
    memory: M,
    pagemap: Pagemap,
    /// Mappings of files, in address order.
    files: Vec<AddrRange>,
    page_size: u64,
}

impl<M: Memory> Resident<M> {
    /// The memory of a process with these mappings of files, in address order; `pagemap` has the state of their pages.
    pub fn new(memory: M, page_size: u64, files: Vec<AddrRange>, pagemap: Pagemap) -> Resident<M> {
        Resident { memory, pagemap, files, page_size }
    }

    /// The first page of `range` that must not be read.
    fn untouched(&self, range: AddrRange) -> Option<Addr> {
        let first = self.files.partition_point(|file| file.end <= range.start);
        self.files.iter().skip(first).take_while(|file| file.start < range.end).find_map(|file| {
            let end = file.end.min(range.end);
            let mut page = file.start.max(range.start).align_down(self.page_size);
            while page < end && self.pagemap.may_hold_data(page) {
                page = page + self.page_size;
            }
            (page < end).then_some(page)
        })
    }
}

impl<M: Memory> Memory for Resident<M> {
    fn read(&self, address: Addr, buffer: &mut [u8]) -> Result<(), Fault> {
        match self.untouched(AddrRange::sized(address, buffer.len() as u64)) {
            Some(page) => Err(Fault::Unmapped(page)),
            None => self.memory.read(address, buffer),
        }
    }

    fn read_ranges(&self, ranges: &[AddrRange], buffer: &mut [u8]) -> Result<(), Fault> {
        match ranges.iter().find_map(|range| self.untouched(*range)) {
            Some(page) => Err(Fault::Unmapped(page)),
            None => self.memory.read_ranges(ranges, buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::image::Image;

    #[test]
    fn pages_of_files_are_read_only_where_they_were_touched() {
        let mut image = Image::new();
        image.map(Addr(0x1000), vec![7; 0x4000]);
        let file = AddrRange::new(Addr(0x2000), Addr(0x4000));
        let touched = AddrRange::new(Addr(0x2000), Addr(0x3000));
        let memory = Resident::new(image, 0x1000, vec![file], Pagemap::of_presence(0x1000, &[file], &[touched]));
        let read = |at: u64, length: usize| memory.read(Addr(at), &mut vec![0; length]);
        assert_eq!(read(0x1ff8, 0x1008), Ok(()));
        assert_eq!(read(0x2ff8, 16), Err(Fault::Unmapped(Addr(0x3000))));
        assert_eq!(read(0x3ff8, 8), Err(Fault::Unmapped(Addr(0x3000))));
        assert_eq!(read(0x4000, 0x1000), Ok(()));
        let ranges = [AddrRange::sized(Addr(0x1000), 8), AddrRange::sized(Addr(0x3800), 8)];
        assert!(memory.read_ranges(&ranges, &mut [0; 16]).is_err());
        assert!(memory.read_ranges(&ranges[..1], &mut [0; 8]).is_ok());
    }
}
