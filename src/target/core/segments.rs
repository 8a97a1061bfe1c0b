//! The memory that a core describes: segments in address order, what of each is saved, and reading across them.

use super::header::ProgramHeader;
use super::storage::{Storage, read_file};
use crate::addr::{Addr, AddrRange};
use crate::target::memory::Fault;
use object::elf;
use std::fs::File;
use std::io;
use std::sync::Arc;

/// Where memory can end at most: nobody's does in the last MiB (the largest page size that is believed), and there the page
/// after the last one would be page 0 again, from where a search would go through all of the address space.
const TOP: Addr = Addr(u64::MAX << 20);

/// The part of a range that can be there; damaged headers claim others.
fn possible(range: AddrRange) -> AddrRange {
    AddrRange::new(range.start.min(TOP), range.end.min(TOP))
}

/// One piece of memory.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) range: AddrRange,
    /// Where its bytes start in the core.
    pub(super) offset: u64,
    /// How many bytes from its start the core was meant to hold. The others are not saved: they were something else than zero,
    /// or were never touched, and nobody can tell.
    pub(super) saved: u64,
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) executable: bool,
}

/// A stretch of memory that the core does not hold and a file answers for.
#[derive(Debug)]
struct Overlay {
    range: AddrRange,
    file: Arc<File>,
    offset: u64,
}

/// All segments, in address order and without overlaps.
#[derive(Debug, Default)]
pub(super) struct Segments {
    pub(super) list: Vec<Segment>,
    overlays: Vec<Overlay>,
}

impl Segments {
    /// The loadable segments. Where two overlap, which no writer of cores does, the one that starts first keeps its place.
    pub(super) fn new(programs: &[ProgramHeader]) -> Segments {
        let loads = programs.iter().filter(|program| program.kind == elf::PT_LOAD.0 && program.memory_size > 0);
        let mut list: Vec<Segment> = loads.map(Segment::new).collect();
        list.sort_by_key(|segment| segment.range);
        let mut end = Addr::NULL;
        list.retain_mut(|segment| {
            segment.skip_to(end);
            end = end.max(segment.range.end);
            !segment.range.is_empty()
        });
        Segments { list, overlays: Vec::new() }
    }

    /// Adds the parts of mapped files that no segment describes. gcore leaves out of its segments what it does not save of
    /// binaries; their rights are not known then, but nobody had written to them.
    pub(super) fn add_unlisted<'a>(&mut self, files: impl Iterator<Item = &'a AddrRange>) {
        let mut unlisted = Vec::new();
        for range in files.map(|range| possible(*range)) {
            let mut at = range.start;
            let first = self.list.partition_point(|segment| segment.range.end <= at);
            for segment in self.list.iter().skip(first).take_while(|segment| segment.range.start < range.end) {
                unlisted.push(AddrRange::new(at, segment.range.start));
                at = segment.range.end;
            }
            unlisted.push(AddrRange::new(at, range.end));
        }
        self.list.extend(unlisted.into_iter().filter(|range| !range.is_empty()).map(Segment::unlisted));
        self.list.sort_by_key(|segment| segment.range);
    }

    /// The segment that holds `address`.
    pub(super) fn at(&self, address: Addr) -> Option<&Segment> {
        let index = self.list.partition_point(|segment| segment.range.end <= address);
        self.list.get(index).filter(|segment| segment.range.contains(address))
    }

    /// Fills the buffer from `address`, across segments that touch.
    pub(super) fn read(&self, storage: &Storage, address: Addr, buffer: &mut [u8]) -> Result<(), Fault> {
        let mut done = 0;
        let mut index = self.list.partition_point(|segment| segment.range.end <= address);
        while done < buffer.len() {
            let at = address + done as u64;
            let segment =
                self.list.get(index).filter(|segment| segment.range.contains(at)).ok_or(Fault::Unmapped(at))?;
            let count = (segment.range.end.0 - at.0).min((buffer.len() - done) as u64) as usize;
            let part = buffer.get_mut(done..done + count).unwrap_or_default();
            self.read_within(storage, segment, at, part)?;
            done += count;
            index += 1;
        }
        Ok(())
    }

    /// Fills a buffer that lies wholly in one segment.
    fn read_within(&self, storage: &Storage, segment: &Segment, at: Addr, buffer: &mut [u8]) -> Result<(), Fault> {
        let skipped = at.0 - segment.range.start.0;
        let in_core = segment.saved.saturating_sub(skipped).min(buffer.len() as u64) as usize;
        let (from_core, rest) = buffer.split_at_mut(in_core);
        if !from_core.is_empty() {
            let offset = segment.offset.checked_add(skipped).ok_or(Fault::NotSaved(at))?;
            let got = storage.read_at(offset, from_core).map_err(|error| refused(at, &error))?;
            if got < from_core.len() {
                return Err(Fault::NotSaved(at + got as u64));
            }
        }
        self.read_overlay(at + in_core as u64, rest)
    }

    /// Fills the buffer from files; memory that none answers for is not saved.
    fn read_overlay(&self, address: Addr, buffer: &mut [u8]) -> Result<(), Fault> {
        let mut done = 0;
        while done < buffer.len() {
            let at = address + done as u64;
            let index = self.overlays.partition_point(|overlay| overlay.range.end <= at);
            let overlay =
                self.overlays.get(index).filter(|found| found.range.contains(at)).ok_or(Fault::NotSaved(at))?;
            let count = (overlay.range.end.0 - at.0).min((buffer.len() - done) as u64) as usize;
            let part = buffer.get_mut(done..done + count).unwrap_or_default();
            let offset = overlay.offset + (at.0 - overlay.range.start.0);
            let got = read_file(&overlay.file, offset, part).map_err(|error| refused(at, &error))?;
            // The last page of a mapping is filled up with zeroes behind the file's end (POSIX, mmap).
            part.iter_mut().skip(got).for_each(|byte| *byte = 0);
            done += count;
        }
        Ok(())
    }

    /// Lets a file answer for what is not saved of its mappings `(range, offset in the file)`, where nobody could have written.
    /// Returns for how many bytes it does.
    pub(super) fn add_file(&mut self, file: File, mappings: &[(AddrRange, u64)], page_size: u64) -> io::Result<u64> {
        let length = file.metadata()?.len().checked_next_multiple_of(page_size).unwrap_or(u64::MAX);
        let file = Arc::new(file);
        let mut mappings = mappings.to_vec();
        mappings.sort_unstable();
        let (mut added, mut new) = (0, Vec::new());
        // Headers in memory can claim two parts of the file for one address; the first keeps it.
        let mut free = Addr::NULL;
        for (range, offset) in mappings {
            let end = Addr(range.start.0.saturating_add(length.saturating_sub(offset))).min(range.end);
            for hole in self.unwritable_holes(AddrRange::new(range.start.max(free), end)) {
                let offset = offset + (hole.start.0 - range.start.0);
                added += hole.len();
                free = hole.end;
                new.push(Overlay { range: hole, file: file.clone(), offset });
            }
        }
        self.overlays.extend(new);
        self.overlays.sort_by_key(|overlay| overlay.range);
        Ok(added)
    }

    /// The parts of `range` that are not saved, cannot be written, and have no file yet.
    fn unwritable_holes(&self, range: AddrRange) -> Vec<AddrRange> {
        let first = self.list.partition_point(|segment| segment.range.end <= range.start);
        let touched = self.list.iter().skip(first).take_while(|segment| segment.range.start < range.end);
        let holes = touched.filter(|segment| !segment.writable).map(|segment| {
            let start = segment.range.start + segment.saved;
            AddrRange::new(start.max(range.start), segment.range.end.min(range.end))
        });
        // Overlays are in order and apart: the first that does not end before the hole tells.
        let next = |at: Addr| self.overlays.get(self.overlays.partition_point(|overlay| overlay.range.end <= at));
        let is_free = |hole: &AddrRange| next(hole.start).is_none_or(|overlay| overlay.range.start >= hole.end);
        holes.filter(|hole| !hole.is_empty()).filter(is_free).collect()
    }
}

impl Segment {
    fn new(program: &ProgramHeader) -> Segment {
        let range = possible(AddrRange::sized(Addr(program.address), program.memory_size));
        let may = |flag: elf::ProgramFlags| program.flags & flag.0 != 0;
        Segment {
            range,
            offset: program.offset,
            saved: program.file_size.min(range.len()),
            readable: may(elf::PF_R),
            writable: may(elf::PF_W),
            executable: may(elf::PF_X),
        }
    }

    fn unlisted(range: AddrRange) -> Segment {
        Segment { range, offset: 0, saved: 0, readable: true, writable: false, executable: false }
    }

    /// Cuts off what lies below `address`.
    fn skip_to(&mut self, address: Addr) {
        let skipped = address.0.saturating_sub(self.range.start.0).min(self.range.len());
        self.range.start = self.range.start + skipped;
        self.offset = self.offset.saturating_add(skipped);
        self.saved = self.saved.saturating_sub(skipped);
    }

    /// Bytes that are not in the core though its header promises them: it was cut off.
    pub(super) fn missing(&self, length: u64) -> u64 {
        self.saved.saturating_sub(length.saturating_sub(self.offset))
    }
}

/// The core (or a binary) lies on a disk or a network that fails.
fn refused(at: Addr, error: &io::Error) -> Fault {
    Fault::Refused(at, error.raw_os_error().unwrap_or(nix::errno::Errno::EIO as i32))
}
