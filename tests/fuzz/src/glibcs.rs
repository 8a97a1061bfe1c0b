//! Where glibc keeps what in the cores of the corpus.
//!
//! `tests/heap_images` lays the heaps of the corpus, and has these layouts from the debug info of four releases.

use poolscope::addr::Addr;
use poolscope::malloc::layout::{HeapInfoLayout, MallocLayout, ParLayout, StateLayout, TcacheCounts, TcacheLayout};
use poolscope::malloc::read::MallocRoots;
use poolscope::target::core::Core;

/// Where the heaps of the corpus have their roots.
pub const ROOTS: MallocRoots =
    MallocRoots { main_arena: Addr(0x7f00_0000_0100), par: Addr(0x7f00_0000_2000), tcache_offset: Some(0x48) };

/// Place in a core of the byte that says which layout to take: padding in its ELF identification (`EI_PAD`), which nobody
/// reads.
const CHOICE: usize = 9;

/// The threads of a core that have a thread pointer.
pub fn per_thread(core: &Core) -> Vec<(i32, Addr)> {
    core.threads().iter().filter_map(|thread| Some((thread.tid, thread.thread_pointer?))).collect()
}

/// The layout that an input is to be walked with.
pub fn chosen_by(data: &[u8]) -> MallocLayout {
    match data.get(CHOICE).copied().unwrap_or(0) & 3 {
        0 => glibc_2_36(),
        1 => glibc_2_43(),
        2 => glibc_2_27(),
        _ => glibc_2_31(),
    }
}

/// Fastbins, counts of one byte, plain links.
fn glibc_2_27() -> MallocLayout {
    let tcache = TcacheLayout { size: 576, entries: 64, lists: 64, counts: TcacheCounts::Bytes(0) };
    layout(with_fastbins(), par_2_26(), 32, tcache)
}

/// Counts of two bytes, plain links.
fn glibc_2_31() -> MallocLayout {
    let tcache = TcacheLayout { size: 640, entries: 128, lists: 64, counts: TcacheCounts::Words(0) };
    layout(with_fastbins(), par_2_26(), 32, tcache)
}

/// Safe-linking, larger `heap_info`, huge pages.
fn glibc_2_36() -> MallocLayout {
    let tcache = TcacheLayout { size: 640, entries: 128, lists: 64, counts: TcacheCounts::Words(0) };
    layout(with_fastbins(), par_2_35(), 48, tcache)
}

/// No fastbins; lists count the slots that are left; mappings are longer by a header.
fn glibc_2_43() -> MallocLayout {
    let state = StateLayout {
        size: 2112,
        mutex: 0,
        flags: 4,
        fastbins: None,
        top: 8,
        bins: 24,
        bin_count: 127,
        next: 2072,
        system_mem: 2096,
    };
    let par = ParLayout {
        size: 144,
        n_mmaps: 68,
        mmapped_mem: 88,
        sbrk_base: 104,
        no_dyn_threshold: Some(80),
        hp_pagesize: Some(56),
        ..par_2_35()
    };
    let tcache = TcacheLayout { size: 760, entries: 152, lists: 76, counts: TcacheCounts::FreeSlots };
    layout(state, par, 48, tcache)
}

fn layout(state: StateLayout, par: ParLayout, heap_info: u64, tcache: TcacheLayout) -> MallocLayout {
    let heap_info = HeapInfoLayout { size: heap_info, arena: 0, previous: 8, used: 16 };
    MallocLayout { state, par, heap_info, tcache: Some(tcache) }
}

fn with_fastbins() -> StateLayout {
    StateLayout {
        size: 2200,
        mutex: 0,
        flags: 4,
        fastbins: Some((16, 10)),
        top: 96,
        bins: 112,
        bin_count: 127,
        next: 2160,
        system_mem: 2184,
    }
}

fn par_2_26() -> ParLayout {
    ParLayout {
        size: 112,
        n_mmaps: 40,
        mmapped_mem: 56,
        mmap_threshold: 16,
        trim_threshold: 0,
        top_pad: 8,
        sbrk_base: 72,
        no_dyn_threshold: Some(52),
        hp_pagesize: None,
    }
}

fn par_2_35() -> ParLayout {
    ParLayout {
        size: 136,
        n_mmaps: 60,
        mmapped_mem: 80,
        mmap_threshold: 16,
        trim_threshold: 0,
        top_pad: 8,
        sbrk_base: 96,
        no_dyn_threshold: Some(72),
        hp_pagesize: Some(48),
    }
}
