//! A process made for a test, with what must be found in it.

use super::glibcs::Glibc;
use poolscope::addr::{Addr, AddrRange};
use poolscope::malloc::books::Mallinfo;
use poolscope::malloc::chunk::Chunk;
use poolscope::malloc::mmapped::MmappedChunk;
use poolscope::malloc::read::MallocRoots;
use poolscope::target::image::Image;
use poolscope::target::maps::{Backing, Mapping, Maps};

pub const PAGE: u64 = 4096;
pub const BRK: Addr = Addr(0x5555_0000_0000);
pub const HEAP_MAX: u64 = 64 << 20;

/// A process with what must be found in it.
#[derive(Debug, Clone)]
pub struct HeapImage {
    pub glibc: Glibc,
    pub image: Image,
    pub maps: Maps,
    pub roots: MallocRoots,
    pub threads: Vec<(i32, Addr)>,
    /// Chunks of all arenas in address order.
    pub chunks: Vec<Chunk>,
    /// Mapped chunks in address order.
    pub mapped: Vec<MmappedChunk>,
    pub mallinfo: Mallinfo,
    /// Arenas, the main one first.
    pub arenas: Vec<Addr>,
    /// `struct tcache_perthread_struct` of each thread.
    pub tcaches: Vec<Addr>,
    /// Bytes of the holes in the brk heap.
    pub foreign: u64,
    /// All memory that is there.
    pub segments: Vec<AddrRange>,
}

impl HeapImage {
    /// Writes over a word, which must be there.
    pub fn poke(&mut self, address: Addr, value: u64) {
        assert!(self.image.write_u64(address, value), "nothing is mapped at {address}");
    }
}

pub fn mapping(range: AddrRange, backing: Backing) -> Mapping {
    Mapping {
        range,
        file_offset: 0,
        inode: 0,
        device: (0, 0),
        readable: true,
        writable: true,
        executable: false,
        backing,
        resident: Some(range.len()),
        swapped: Some(0),
    }
}
