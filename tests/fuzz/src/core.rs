//! Bytes that claim to be a core: all that a core can be asked for, and a walk of the heap that it holds.

use crate::{glibcs, heap};
use nix::sys::memfd::{MFdFlags, memfd_create};
use poolscope::addr::{Addr, AddrRange};
use poolscope::target::core::Core;
use poolscope::target::memory::Memory;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::LazyLock;

/// Most bytes that are read at a time.
const PIECE: u64 = 4096;

/// One file in memory, written over for each input.
static SCRATCH: LazyLock<File> = LazyLock::new(|| {
    let descriptor = memfd_create(c"core", MFdFlags::MFD_CLOEXEC).expect("a file in memory");
    File::from(descriptor)
});

/// Opens the bytes as a core and goes through it.
pub fn run(data: &[u8]) {
    SCRATCH.set_len(0).and_then(|()| SCRATCH.write_all_at(data, 0)).expect("room for the input");
    let path = PathBuf::from(format!("/proc/self/fd/{}", SCRATCH.as_raw_fd()));
    match Core::open(&path) {
        Ok(mut core) => {
            look_at(&core);
            heap::walk(&core, &glibcs::chosen_by(data));
            add_files(&mut core);
            look_at(&core);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// What only describes, and the ends of each mapping.
fn look_at(core: &Core) {
    let maps = core.maps();
    let ranges: Vec<AddrRange> = maps.0.iter().map(|mapping| mapping.range).collect();
    assert!(ranges.is_sorted_by(|one, next| one.end <= next.start), "mappings are in order and do not overlap");
    let completeness = core.completeness();
    assert!(completeness.from_files <= completeness.not_saved && completeness.not_saved <= completeness.mapped);
    let presence = core.presence(&ranges);
    assert!(presence.is_sorted_by(|one, next| one.end <= next.start), "stretches are in order and do not overlap");
    let pagemap = core.pagemap(&ranges);
    for range in &ranges {
        let _ = pagemap.next_with_data(range.start, range.end);
        read_ends(core, *range);
    }
    let _ = core.modules();
    for thread in core.threads() {
        let _ = (maps.at(thread.pc), core.read_u64(thread.sp));
    }
}

fn read_ends(core: &Core, range: AddrRange) {
    let mut piece = vec![0; range.len().min(PIECE) as usize];
    let _ = core.read(range.start, &mut piece);
    let _ = core.read(range.end - piece.len() as u64, &mut piece);
    // Across the end.
    let _ = core.read_u64(range.end - 4);
    let first = AddrRange::sized(range.start, range.len().min(16));
    let last = AddrRange::new(Addr(range.end.0.saturating_sub(16)).max(range.start), range.end);
    let mut lines = vec![0; (first.len() + last.len()) as usize];
    let _ = core.read_ranges(&[first, last], &mut lines);
}

/// Lets the input itself answer for the binaries that it names.
fn add_files(core: &mut Core) {
    for module in core.modules() {
        let file = SCRATCH.try_clone().expect("one more descriptor");
        let _ = core.add_file(file, &module.ranges);
    }
}
