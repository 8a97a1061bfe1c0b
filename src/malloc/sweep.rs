//! Walks many stretches of the heap at once: the target is stopped, so its processor is free for a second reader.

use super::reader::{Counts, PlannedReader, ReadPlan};
use super::walk::{PayloadVisitor, Stretch, Walk, walk};
use crate::addr::{Addr, AddrRange};
use crate::target::caught::CaughtLines;
use crate::target::memory::Memory;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A stretch with what is known of it beforehand.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// What to walk.
    pub stretch: Stretch,
    /// Where its chunk headers are expected.
    pub plan: &'a ReadPlan,
}

/// What a job's walk is written into: made before the stop, so that nothing of it is made during the stop.
#[derive(Debug)]
pub struct Slot<V> {
    walk: Walk,
    visitor: V,
}

impl<V: PayloadVisitor> Slot<V> {
    /// A slot with room for so many chunks and links, and for notes of so many chunks.
    pub fn with_room_for(counts: Counts, noted: usize, mut visitor: V) -> Slot<V> {
        visitor.reserve(noted);
        Slot { walk: Walk::with_room_for(counts), visitor }
    }
}

/// What a thread reads into.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    caught: CaughtLines,
}

/// Bytes of a reading thread's buffer.
const BUFFER: usize = 320 * 1024;

impl Buffer {
    /// A buffer with room for so many caught lines, all of it touched.
    pub fn with_room_for(lines: usize) -> Buffer {
        Buffer { bytes: vec![1; BUFFER], caught: CaughtLines::with_room_for(lines) }
    }
}

/// What came of a sweep.
#[derive(Debug)]
pub struct Swept<V> {
    /// One for each job, in their order.
    pub walks: Vec<(Walk, V)>,
    /// Wanted lines that came by each thread.
    pub caught: Vec<CaughtLines>,
}

/// Walks each job into the slot of the same number. `buffers` says how many threads take part (one for each buffer, at
/// least one) and is what they read into; `wanted` are the lines to catch.
pub fn sweep<M, V>(memory: &M, jobs: &[Job<'_>], slots: Vec<Slot<V>>, buffers: Vec<Buffer>, wanted: &[Addr]) -> Swept<V>
where
    M: Memory + Sync,
    V: PayloadVisitor,
{
    let slots: Vec<Mutex<Option<Slot<V>>>> = slots.into_iter().map(|slot| Mutex::new(Some(slot))).collect();
    let results: Vec<Mutex<Option<(Walk, V)>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
    let caught = Mutex::new(Vec::with_capacity(buffers.len()));
    let next = AtomicUsize::new(0);
    let work = |Buffer { mut bytes, caught: mut lines }: Buffer| {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let (Some(job), Some(slot), Some(result)) = (jobs.get(index), slots.get(index), results.get(index)) else {
                break;
            };
            let Some(Slot { walk: room, mut visitor }) = slot.lock().ok().and_then(|mut slot| slot.take()) else {
                continue;
            };
            let reader = PlannedReader::new(memory, job.plan, job.stretch.region.end, bytes);
            let mut reader = reader.catching(wanted, AddrRange::new(job.stretch.from, job.stretch.to), lines);
            let walk = walk(&mut reader, job.stretch, &mut visitor, room);
            (bytes, lines) = reader.finish();
            if let Ok(mut result) = result.lock() {
                *result = Some((walk, visitor));
            }
        }
        if let Ok(mut caught) = caught.lock() {
            caught.push(lines);
        }
    };
    let mut buffers = buffers.into_iter();
    let own = buffers.next().unwrap_or_default();
    std::thread::scope(|scope| {
        for buffer in buffers.take(jobs.len().saturating_sub(1)) {
            // A machine short of threads is no reason to fail: the jobs are then done by fewer.
            let _ = std::thread::Builder::new().spawn_scoped(scope, || work(buffer));
        }
        work(own);
    });
    let walks = results.into_iter().filter_map(|result| result.into_inner().ok().flatten()).collect();
    Swept { walks, caught: caught.into_inner().unwrap_or_default() }
}
