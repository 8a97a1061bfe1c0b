//! What is mapped where, and how much of it is resident: `/proc/PID/smaps`, read once before the stop.

use crate::addr::{Addr, AddrRange};
use procfs::process::{MMPermissions, MMapPath, MemoryMap};
use std::path::{Path, PathBuf};

/// What backs a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backing {
    /// The brk area. A forked worker has several of them side by side, one more after each reload of its master.
    Heap,
    /// The main thread's stack.
    Stack,
    /// A file, at the path it has (or had, if `deleted`) in the target's mount namespace.
    File {
        /// Path in the target's mount namespace, without the kernel's ` (deleted)`.
        path: PathBuf,
        /// True if the name is gone or another file has it now: an upgrade has replaced the file.
        deleted: bool,
    },
    /// Memory shared with other processes: nginx zones (`/dev/zero`), System V segments, memfd.
    SharedMemory,
    /// Private memory without a file or a name: mmapped chunks, arenas' heaps, LuaJIT, thread stacks.
    Anonymous,
    /// Made by the kernel: vdso, vvar and the like.
    Kernel,
}

/// One line of maps with its figures from smaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Where it lies.
    pub range: AddrRange,
    /// Offset in the backing file, in bytes.
    pub file_offset: u64,
    /// Inode of the backing file; 0 without a file.
    pub inode: u64,
    /// Device of the backing file, major and minor.
    pub device: (i32, i32),
    /// May be read.
    pub readable: bool,
    /// May be written.
    pub writable: bool,
    /// May be executed.
    pub executable: bool,
    /// What backs it.
    pub backing: Backing,
    /// Resident bytes; `None` where that is not known: in a core, and if only the ranges were read.
    pub resident: Option<u64>,
    /// Bytes swapped out; `None` as above.
    pub swapped: Option<u64>,
}

impl Mapping {
    /// True for private memory that malloc may have got from the kernel by mmap.
    pub fn is_private_anonymous(&self) -> bool {
        self.backing == Backing::Anonymous && self.readable && self.writable
    }
}

impl From<MemoryMap> for Mapping {
    fn from(map: MemoryMap) -> Mapping {
        let figure = |name: &str| map.extension.map.get(name).copied();
        Mapping {
            range: AddrRange::new(Addr(map.address.0), Addr(map.address.1)),
            file_offset: map.offset,
            inode: map.inode,
            device: map.dev,
            readable: map.perms.contains(MMPermissions::READ),
            writable: map.perms.contains(MMPermissions::WRITE),
            executable: map.perms.contains(MMPermissions::EXECUTE),
            backing: backing_of(&map.pathname, map.perms.contains(MMPermissions::SHARED)),
            resident: figure("Rss"),
            swapped: figure("Swap"),
        }
    }
}

fn backing_of(path: &MMapPath, shared: bool) -> Backing {
    match path {
        MMapPath::Heap => Backing::Heap,
        MMapPath::Stack => Backing::Stack,
        MMapPath::Path(path) => file_backing(path, shared),
        MMapPath::Vsys(_) => Backing::SharedMemory,
        MMapPath::Vdso | MMapPath::Vvar | MMapPath::Vsyscall => Backing::Kernel,
        MMapPath::Other(name) if name.starts_with("anon_shmem") => Backing::SharedMemory,
        // `glibc.mem.decorate_maps` and others name private memory "[anon: glibc: malloc]"; the name changes nothing.
        MMapPath::Other(name) if name.starts_with("anon") => Backing::Anonymous,
        MMapPath::Anonymous | MMapPath::TStack(_) => Backing::Anonymous,
        _ => Backing::Kernel,
    }
}

/// `/dev/zero`, memfds and System V segments carry a path in maps, but what they are is shared memory.
pub(crate) fn file_backing(path: &Path, shared: bool) -> Backing {
    let text = path.to_string_lossy();
    let deleted = text.ends_with(" (deleted)");
    let name = text.strip_suffix(" (deleted)").unwrap_or(&text);
    let is_memory = ["/dev/zero", "/memfd:", "/SYSV", "/dev/shm/"].iter().any(|prefix| name.starts_with(prefix));
    if shared && is_memory {
        return Backing::SharedMemory;
    }
    if deleted && name == "/dev/zero" {
        return Backing::Anonymous;
    }
    Backing::File { path: PathBuf::from(name), deleted }
}

/// The mappings of a process, in address order.
#[derive(Debug, Clone, Default)]
pub struct Maps(pub Vec<Mapping>);

impl Maps {
    /// Reads `/proc/PID/smaps`. On a process of 1 GiB this takes some milliseconds, during which its page faults wait:
    /// so it is done once.
    pub fn read(pid: i32) -> procfs::ProcResult<Maps> {
        let maps = procfs::process::Process::new(pid)?.smaps()?;
        Ok(Maps(maps.into_iter().map(Mapping::from).collect()))
    }

    /// Reads `/proc/PID/maps`, which is much quicker and tells nothing of what is resident.
    pub fn read_ranges(pid: i32) -> procfs::ProcResult<Maps> {
        let maps = procfs::process::Process::new(pid)?.maps()?;
        Ok(Maps(maps.into_iter().map(Mapping::from).collect()))
    }

    /// The mapping that holds `address`.
    pub fn at(&self, address: Addr) -> Option<&Mapping> {
        let index = self.0.partition_point(|mapping| mapping.range.end <= address);
        self.0.get(index).filter(|mapping| mapping.range.contains(address))
    }

    /// Marks the brk heap in the mappings of a core, which have no names: `sbrk_base` is where glibc's heap starts (`mp_`). The
    /// mapping that holds it and those that follow without a gap become [`Backing::Heap`].
    ///
    /// Without address-space randomisation the last page of the binary's variables touches the heap from below: that one
    /// stays what it is.
    pub fn mark_brk_heap(&mut self, sbrk_base: Addr) {
        let is_private = |mapping: &&mut Mapping| mapping.backing == Backing::Anonymous && mapping.writable;
        let first = self.0.partition_point(|mapping| mapping.range.end <= sbrk_base);
        let mut end = None;
        for mapping in self.0.iter_mut().skip(first).take_while(is_private) {
            match end {
                None if !mapping.range.contains(sbrk_base) => return,
                Some(end) if end != mapping.range.start => return,
                _ => end = Some(mapping.range.end),
            }
            mapping.backing = Backing::Heap;
        }
    }

    /// The `[heap]` ranges, with those that touch merged into one.
    ///
    /// A worker's master has set its brk before the fork and grows it again after each reload, and each time the kernel
    /// may start another mapping: two or three `[heap]` lines in a row are one heap. A scan that looked only at the
    /// first one found nothing.
    pub fn heap_ranges(&self) -> Vec<AddrRange> {
        let mut merged: Vec<AddrRange> = Vec::new();
        for mapping in self.0.iter().filter(|mapping| mapping.backing == Backing::Heap) {
            match merged.last_mut() {
                Some(last) if last.end == mapping.range.start => last.end = mapping.range.end,
                _ => merged.push(mapping.range),
            }
        }
        merged
    }

    /// Private anonymous ranges, those that touch merged: the kernel joins neighbours with the same rights anyhow.
    pub fn anonymous_ranges(&self) -> Vec<AddrRange> {
        let mut merged: Vec<AddrRange> = Vec::new();
        for mapping in self.0.iter().filter(|mapping| mapping.is_private_anonymous()) {
            match merged.last_mut() {
                Some(last) if last.end == mapping.range.start => last.end = mapping.range.end,
                _ => merged.push(mapping.range),
            }
        }
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(start: u64, end: u64, backing: Backing) -> Mapping {
        Mapping {
            range: AddrRange::new(Addr(start), Addr(end)),
            file_offset: 0,
            inode: 0,
            device: (0, 0),
            readable: true,
            writable: true,
            executable: false,
            backing,
            resident: None,
            swapped: None,
        }
    }

    #[test]
    fn several_heap_lines_that_touch_are_one_heap() {
        let maps = Maps(vec![
            mapping(0x1000, 0x3000, Backing::Heap),
            mapping(0x3000, 0x4000, Backing::Heap),
            mapping(0x8000, 0x9000, Backing::Heap),
        ]);
        let expected = [AddrRange::new(Addr(0x1000), Addr(0x4000)), AddrRange::new(Addr(0x8000), Addr(0x9000))];
        assert_eq!(maps.heap_ranges(), expected);
    }

    #[test]
    fn the_brk_heap_starts_where_it_is_said_to_and_ends_at_a_gap() {
        let ranges = [(0x1000, 0x3000), (0x3000, 0x4000), (0x4000, 0x6000), (0x8000, 0x9000)];
        let all = ranges.map(|(start, end)| mapping(start, end, Backing::Anonymous));
        let mut maps = Maps(all.to_vec());
        maps.mark_brk_heap(Addr(0x3010));
        assert_eq!(maps.heap_ranges(), [AddrRange::new(Addr(0x3000), Addr(0x6000))]);
        assert_eq!(maps.anonymous_ranges().len(), 2);
        let mut maps = Maps(all.to_vec());
        maps.mark_brk_heap(Addr(0x7000));
        assert_eq!(maps.heap_ranges(), []);
    }

    #[test]
    fn an_address_is_found_in_its_mapping_and_not_in_a_gap() {
        let maps = Maps(vec![mapping(0x1000, 0x2000, Backing::Heap), mapping(0x3000, 0x4000, Backing::Stack)]);
        assert_eq!(maps.at(Addr(0x3fff)).map(|found| &found.backing), Some(&Backing::Stack));
        assert_eq!(maps.at(Addr(0x2000)), None);
        assert_eq!(maps.at(Addr(0x4000)), None);
    }

    #[test]
    fn zones_of_nginx_are_shared_memory_though_maps_shows_a_path() {
        let backing = backing_of(&MMapPath::Path("/dev/zero (deleted)".into()), true);
        assert_eq!(backing, Backing::SharedMemory);
    }

    #[test]
    fn a_replaced_binary_keeps_its_path_and_is_marked() {
        let backing = backing_of(&MMapPath::Path("/usr/sbin/nginx (deleted)".into()), false);
        assert_eq!(backing, Backing::File { path: "/usr/sbin/nginx".into(), deleted: true });
    }

    #[test]
    fn our_own_maps_hold_our_stack_and_code() {
        let maps = Maps::read(std::process::id() as i32).unwrap();
        let local = 0u8;
        assert_eq!(maps.at(Addr(&raw const local as u64)).map(|found| found.writable), Some(true));
        assert!(maps.at(Addr(Maps::read as *const () as u64)).is_some_and(|found| found.executable));
    }
}
