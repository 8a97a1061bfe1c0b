//! Layouts of some releases of glibc on 64-bit machines, as their debug info states them.

use poolscope::malloc::layout::{HeapInfoLayout, MallocLayout, ParLayout, StateLayout, TcacheCounts, TcacheLayout};
use poolscope::malloc::lists::Linking;

/// A release, with what debug info does not tell of it.
#[derive(Debug, Clone)]
pub struct Glibc {
    pub name: &'static str,
    pub layout: MallocLayout,
    pub linking: Linking,
    /// How many chunks a list of the thread cache takes.
    pub tcache_count: u64,
}

impl Glibc {
    /// What a mapping is longer than `prev_size` and size together.
    pub fn extra_in_mapping(&self) -> u64 {
        if self.layout.is_without_fastbins() { 16 } else { 0 }
    }

    pub fn tcache(&self) -> &TcacheLayout {
        self.layout.tcache.as_ref().unwrap()
    }

    /// Size of the chunk that a `struct tcache_perthread_struct` lies in.
    pub fn tcache_chunk(&self) -> u64 {
        (self.tcache().size + 8).next_multiple_of(16)
    }
}

pub fn all() -> Vec<Glibc> {
    vec![glibc_2_27(), glibc_2_31(), glibc_2_36(), glibc_2_43()]
}

/// Fastbins, counts of one byte, plain links.
pub fn glibc_2_27() -> Glibc {
    let tcache = TcacheLayout { size: 576, entries: 64, lists: 64, counts: TcacheCounts::Bytes(0) };
    Glibc {
        name: "2.27",
        layout: layout(with_fastbins(), par_2_26(), 32, tcache),
        linking: Linking::Plain,
        tcache_count: 7,
    }
}

/// Counts of two bytes, plain links.
pub fn glibc_2_31() -> Glibc {
    let tcache = TcacheLayout { size: 640, entries: 128, lists: 64, counts: TcacheCounts::Words(0) };
    Glibc {
        name: "2.31",
        layout: layout(with_fastbins(), par_2_26(), 32, tcache),
        linking: Linking::Plain,
        tcache_count: 7,
    }
}

/// Safe-linking, larger `heap_info`, huge pages.
pub fn glibc_2_36() -> Glibc {
    let tcache = TcacheLayout { size: 640, entries: 128, lists: 64, counts: TcacheCounts::Words(0) };
    Glibc {
        name: "2.36",
        layout: layout(with_fastbins(), par_2_35(), 48, tcache),
        linking: Linking::Safe,
        tcache_count: 7,
    }
}

/// No fastbins; lists count the slots that are left; mappings are longer by a header.
pub fn glibc_2_43() -> Glibc {
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
    Glibc { name: "2.43", layout: layout(state, par, 48, tcache), linking: Linking::Safe, tcache_count: 16 }
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
