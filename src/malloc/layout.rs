//! Where glibc's malloc keeps what: offsets in its structures, from the DWARF of the very libc that runs.
//!
//! glibc changes these structures between releases, and distributions backport changes without another version number, so
//! that no table by version can be right everywhere. What DWARF does not say (whether links of free lists are mangled, how
//! a mapping's size follows from its header) is measured on the target: see [`super::lists`] and [`super::mmapped`].

use crate::debug::{DebugError, DebugInfo, Layout, MissingField};
use thiserror::Error;

/// Why glibc's layout is not known.
#[derive(Debug, Error)]
pub enum LayoutError {
    /// No usable debug info.
    #[error(transparent)]
    Debug(#[from] DebugError),
    /// A structure lacks a field that every known glibc has.
    #[error("{0}: this glibc is newer or older than any that poolscope understands")]
    Field(#[from] MissingField),
    /// `struct malloc_chunk` is not what it is on 64-bit machines.
    #[error("glibc's malloc_chunk is laid out in an unknown way ({0}): only 64-bit glibc is understood")]
    Chunk(String),
    /// A variable is not in the symbol table.
    #[error("glibc's variable {0} is in no symbol table of {1}: install the debug symbols of this glibc (libc6-dbg)")]
    Variable(&'static str, String),
}

/// Offsets in `struct malloc_state`, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateLayout {
    /// Size of the structure.
    pub size: u64,
    /// `mutex`, an int: not 0 while a thread holds it. A process that has one thread does not take it.
    pub mutex: u64,
    /// `flags`.
    pub flags: u64,
    /// `fastbinsY` with its number of bins; glibc 2.43 has none.
    pub fastbins: Option<(u64, u64)>,
    /// `top`.
    pub top: u64,
    /// `bins`, pairs of links.
    pub bins: u64,
    /// How many bins that is (127).
    pub bin_count: u64,
    /// `next`.
    pub next: u64,
    /// `system_mem`.
    pub system_mem: u64,
}

/// Offsets in `struct malloc_par`, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParLayout {
    /// Size of the structure.
    pub size: u64,
    /// `n_mmaps`, an int.
    pub n_mmaps: u64,
    /// `mmapped_mem`.
    pub mmapped_mem: u64,
    /// `mmap_threshold`.
    pub mmap_threshold: u64,
    /// `trim_threshold`.
    pub trim_threshold: u64,
    /// `top_pad`.
    pub top_pad: u64,
    /// `sbrk_base`.
    pub sbrk_base: u64,
    /// `no_dyn_threshold`, an int.
    pub no_dyn_threshold: Option<u64>,
    /// `hp_pagesize`, since glibc 2.35.
    pub hp_pagesize: Option<u64>,
}

/// Offsets in `struct _heap_info`, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeapInfoLayout {
    /// Size of the structure: what follows it is the arena itself or the first chunk.
    pub size: u64,
    /// `ar_ptr`.
    pub arena: u64,
    /// `prev`.
    pub previous: u64,
    /// `size`: bytes of the heap in use by the arena.
    pub used: u64,
}

/// How a tcache counts what its lists hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcacheCounts {
    /// One byte for each list (glibc 2.26 to 2.29).
    Bytes(u64),
    /// Two bytes for each list (glibc 2.30 to 2.41, backported further).
    Words(u64),
    /// Two bytes for each list that tell how many more it may take (glibc 2.42, `num_slots`): no use as a count.
    FreeSlots,
}

/// Offsets in `struct tcache_perthread_struct`, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcacheLayout {
    /// Size of the structure.
    pub size: u64,
    /// The lists' heads.
    pub entries: u64,
    /// How many lists.
    pub lists: u64,
    /// Where the counts are and what they mean.
    pub counts: TcacheCounts,
}

/// All that the walk needs to know of this glibc.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MallocLayout {
    /// Arenas.
    pub state: StateLayout,
    /// Parameters and books.
    pub par: ParLayout,
    /// Heaps of arenas other than `main_arena`.
    pub heap_info: HeapInfoLayout,
    /// Thread caches, since glibc 2.26.
    pub tcache: Option<TcacheLayout>,
}

/// The unit of glibc that defines all of malloc (arena.c is included by it).
const UNIT: &str = "malloc.c";

impl MallocLayout {
    /// Takes the layout from glibc's debug info.
    ///
    /// # Errors
    /// [`LayoutError`] if there is no debug info, or if it describes something that is not a glibc known here.
    pub fn from_debug(debug: &DebugInfo) -> Result<MallocLayout, LayoutError> {
        let names = ["malloc_state", "malloc_par", "_heap_info", "malloc_chunk", "tcache_perthread_struct"];
        let mut found = debug.layouts(&names, Some(UNIT))?.into_iter();
        let mut next = |name: &str| match found.next().flatten() {
            Some(layout) => Ok(layout),
            // Asked for alone, what is missing makes an error that says what was looked for and where.
            None => debug.layout(name),
        };
        let [state, par, heap_info, chunk, tcache] = names.map(&mut next);
        let (state, par, heap_info, chunk) = (state?, par?, heap_info?, chunk?);
        check_chunk(&chunk)?;
        Ok(MallocLayout {
            state: state_layout(&state)?,
            par: par_layout(&par)?,
            heap_info: heap_info_layout(&heap_info)?,
            // Before glibc 2.26 there is none.
            tcache: tcache.ok().map(|tcache| tcache_layout(&tcache)).transpose()?,
        })
    }

    /// True from glibc 2.43 on, which dropped the fastbins and changed how mmapped chunks count their size.
    pub fn is_without_fastbins(&self) -> bool {
        self.state.fastbins.is_none()
    }
}

fn check_chunk(chunk: &Layout) -> Result<(), LayoutError> {
    let size = chunk.offset("mchunk_size").or_else(|_| chunk.offset("size"))?;
    let (fd, bk) = (chunk.offset("fd")?, chunk.offset("bk")?);
    match (size, fd, bk) == (super::chunk::SIZE_OFFSET, super::chunk::FD_OFFSET, super::chunk::BK_OFFSET) {
        true => Ok(()),
        false => Err(LayoutError::Chunk(format!("size at {size}, fd at {fd}, bk at {bk}"))),
    }
}

/// The number of pointers in the array at `first`, told by where the next field starts.
fn slots(first: u64, next: u64) -> u64 {
    next.saturating_sub(first) / 8
}

fn state_layout(state: &Layout) -> Result<StateLayout, LayoutError> {
    let bins = state.offset("bins")?;
    let top = state.offset("top")?;
    Ok(StateLayout {
        size: state.size,
        mutex: state.offset("mutex")?,
        flags: state.offset("flags")?,
        fastbins: state.offset("fastbinsY").ok().map(|offset| (offset, slots(offset, top))),
        top,
        bins,
        bin_count: slots(bins, state.offset("binmap")?) / 2,
        next: state.offset("next")?,
        system_mem: state.offset("system_mem")?,
    })
}

fn par_layout(par: &Layout) -> Result<ParLayout, LayoutError> {
    Ok(ParLayout {
        size: par.size,
        n_mmaps: par.offset("n_mmaps")?,
        mmapped_mem: par.offset("mmapped_mem")?,
        mmap_threshold: par.offset("mmap_threshold")?,
        trim_threshold: par.offset("trim_threshold")?,
        top_pad: par.offset("top_pad")?,
        sbrk_base: par.offset("sbrk_base")?,
        no_dyn_threshold: par.offset("no_dyn_threshold").ok(),
        hp_pagesize: par.offset("hp_pagesize").ok(),
    })
}

fn heap_info_layout(info: &Layout) -> Result<HeapInfoLayout, LayoutError> {
    Ok(HeapInfoLayout {
        size: info.size,
        arena: info.offset("ar_ptr")?,
        previous: info.offset("prev")?,
        used: info.offset("size")?,
    })
}

fn tcache_layout(tcache: &Layout) -> Result<TcacheLayout, LayoutError> {
    let entries = tcache.offset("entries")?;
    let lists = slots(entries, tcache.size);
    let counts = match tcache.offset("counts") {
        Ok(offset) if entries.saturating_sub(offset) >= lists * 2 => TcacheCounts::Words(offset),
        Ok(offset) => TcacheCounts::Bytes(offset),
        Err(_) => TcacheCounts::FreeSlots,
    };
    Ok(TcacheLayout { size: tcache.size, entries, lists, counts })
}
