//! What was mapped where, from the segments, the list of mapped files, and the auxiliary vector.

use super::Core;
use super::notes::MappedFile;
use super::segments::Segment;
use crate::addr::{Addr, AddrRange};
use crate::target::maps::{Backing, Mapping, Maps, file_backing};
use crate::target::memory::Memory;

/// Where x86_64 Linux maps its legacy `vsyscall` page in every process.
const VSYSCALL: Addr = Addr(0xffff_ffff_ff60_0000);

/// `AT_…` of the auxiliary vector (Linux `include/uapi/linux/auxvec.h`).
const AT_RANDOM: u64 = 25;
const AT_EXECFN: u64 = 31;
const AT_SYSINFO_EHDR: u64 = 33;

impl Core {
    /// The mappings of the process, in address order.
    ///
    /// A core does not say all that `/proc/PID/maps` does: inodes and devices are 0, what is resident is not known, the parts of binaries
    /// that gcore does not save count as readable and nothing else, and shared memory is told by its name alone (`/dev/zero (deleted)`, `/memfd:`, `/SYSV`, `/dev/shm/`). The brk heap looks like any
    /// other private memory until [`Maps::mark_brk_heap`] is told where it starts.
    pub fn maps(&self) -> Maps {
        let mut mappings = Vec::new();
        for segment in &self.segments.list {
            self.add_segment(segment, &mut mappings);
        }
        self.mark_kernels(&mut mappings);
        self.mark_reserves(&mut mappings);
        let mut maps = Maps(mappings);
        self.mark_stack(&mut maps);
        maps
    }

    /// Adds a segment, cut where a mapped file starts or ends in it.
    fn add_segment(&self, segment: &Segment, mappings: &mut Vec<Mapping>) {
        let files = &self.notes.files;
        let mut at = segment.range.start;
        while at < segment.range.end {
            let index = files.partition_point(|file| file.range.end <= at);
            let next = files.get(index);
            let (file, end) = match next {
                Some(file) if file.range.contains(at) => (next, file.range.end),
                Some(file) => (None, file.range.start),
                None => (None, segment.range.end),
            };
            let range = AddrRange::new(at, end.min(segment.range.end));
            mappings.push(mapping(segment, range, file));
            at = range.end;
        }
    }

    /// vdso, and what the kernel puts right below it (vvar); vsyscall.
    fn mark_kernels(&self, mappings: &mut [Mapping]) {
        let mut start = self.auxiliary(AT_SYSINFO_EHDR).map(Addr);
        for mapping in mappings.iter_mut().rev().filter(|mapping| mapping.backing == Backing::Anonymous) {
            let is_vdso = start.is_some_and(|start| mapping.range.contains(start));
            let is_below = !mapping.writable && Some(mapping.range.end) == start;
            if is_vdso || is_below {
                start = Some(mapping.range.start);
            }
            if is_vdso || is_below || mapping.range.start == VSYSCALL {
                mapping.backing = Backing::Kernel;
            }
        }
    }

    /// Address space that nobody may access: guard pages of thread stacks, what an arena has not used yet. gcore (gdb's
    /// `gcore_create_callback`) says that it can be read, saves zeroes for it, and writes the same of what can be read alone;
    /// but who makes memory that can never be written again has put something there, and looks for it at the start.
    fn mark_reserves(&self, mappings: &mut [Mapping]) {
        let is_read_only = |mapping: &Mapping| mapping.readable && !mapping.writable && !mapping.executable;
        let anonymous = mappings.iter_mut().filter(|mapping| mapping.backing == Backing::Anonymous);
        for mapping in anonymous.filter(|mapping| is_read_only(mapping)) {
            let mut page = vec![0; self.page_size.min(mapping.range.len()) as usize];
            let is_known = self.read(mapping.range.start, &mut page).is_ok();
            mapping.readable = !(is_known && page.iter().all(|byte| *byte == 0));
        }
    }

    /// The main thread's stack: the kernel has put its name and its random bytes there, above all frames.
    fn mark_stack(&self, maps: &mut Maps) {
        let main = self.threads().iter().find(|thread| thread.is_main).map(|thread| thread.sp);
        let known = [self.auxiliary(AT_RANDOM).map(Addr), self.auxiliary(AT_EXECFN).map(Addr), main];
        let is_private = |address: &Addr| maps.at(*address).is_some_and(Mapping::is_private_anonymous);
        let Some(address) = known.into_iter().flatten().find(is_private) else { return };
        if let Some(mapping) = maps.0.iter_mut().find(|mapping| mapping.range.contains(address)) {
            mapping.backing = Backing::Stack;
        }
    }
}

fn mapping(segment: &Segment, range: AddrRange, file: Option<&MappedFile>) -> Mapping {
    let backing = file.map_or(Backing::Anonymous, |file| file_backing(&file.path, true));
    Mapping {
        range,
        file_offset: file.map_or(0, |file| file.offset.wrapping_add(range.start.0 - file.range.start.0)),
        inode: 0,
        device: (0, 0),
        readable: segment.readable,
        writable: segment.writable,
        executable: segment.executable,
        backing,
        resident: None,
        swapped: None,
    }
}
