//! What is read at once: stretches of the heap whose chunks lie side by side, and pieces of other memory.

use super::roots::{RootKind, RootRange};
use crate::addr::{Addr, AddrRange};
use crate::malloc::chunk::{Chunk, HEADER};
use crate::malloc::heap::{ChunkId, Heap};

/// Bytes that are read at once, at most.
const LARGEST: u64 = 1 << 20;

/// To read over a gap of so many bytes costs less than another read.
const GAP: u64 = 4096;

/// Memory that is read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Where it lies.
    pub range: AddrRange,
    /// What it holds.
    pub content: Content,
}

/// What a window holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Chunks of an arena, from that index on.
    Chunks(u32),
    /// A mapped chunk, by its index.
    Mmapped(u32),
    /// Memory outside the heap.
    Root(RootKind),
}

/// Windows over all chunks that are `wanted`, in address order. Each reaches over the header behind its last chunk.
pub fn over_chunks(heap: &Heap, wanted: impl Fn(ChunkId, Chunk) -> bool) -> Vec<Window> {
    let mut windows = Vec::new();
    for region in &heap.regions {
        let mut open: Option<Window> = None;
        for index in region.chunks.clone() {
            let Some(chunk) = heap.chunks.get(index).filter(|chunk| wanted(ChunkId::Arena(index as u32), **chunk))
            else {
                continue;
            };
            let end = (chunk.end() + HEADER).min(region.walked.end.max(chunk.end()));
            match &mut open {
                Some(window) if fits(window.range, chunk.start(), end) => window.range.end = end,
                _ => {
                    windows.extend(open.take().into_iter().flat_map(cut));
                    let range = AddrRange::new(chunk.start(), end);
                    open = Some(Window { range, content: Content::Chunks(index as u32) });
                }
            }
        }
        windows.extend(open.into_iter().flat_map(cut));
    }
    for (index, mapped) in heap.mmapped.iter().enumerate() {
        if wanted(ChunkId::Mmapped(index as u32), mapped.chunk) {
            let range = AddrRange::sized(mapped.chunk.memory(), mapped.usable);
            windows.extend(cut(Window { range, content: Content::Mmapped(index as u32) }));
        }
    }
    windows
}

/// Windows over memory outside the heap.
pub fn over_roots(roots: &[RootRange]) -> Vec<Window> {
    roots.iter().flat_map(|root| cut(Window { range: root.range, content: Content::Root(root.kind) })).collect()
}

fn fits(range: AddrRange, start: Addr, end: Addr) -> bool {
    start.0.saturating_sub(range.end.0) <= GAP && end.0.saturating_sub(range.start.0) <= LARGEST
}

/// A window in pieces of at most [`LARGEST`]: only one of a single large chunk, or of other memory, is larger.
fn cut(window: Window) -> impl Iterator<Item = Window> {
    let AddrRange { start, end } = window.range;
    (0..window.range.len().div_ceil(LARGEST)).map(move |piece| {
        let from = start + piece * LARGEST;
        Window { range: AddrRange::new(from, (from + LARGEST).min(end)), ..window }
    })
}
