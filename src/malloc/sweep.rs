//! Walks many stretches of the heap at once: the target is stopped, so its processor is free for a second reader.

use super::reader::{PlannedReader, ReadPlan};
use super::walk::{PayloadVisitor, Stretch, Walk, walk};
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

/// Walks each job with a visitor of its own; answers come in the order of the jobs. `buffers` says how many threads take
/// part (one for each buffer, at least one) and is what they read into.
pub fn sweep<M, V>(
    memory: &M,
    jobs: &[Job<'_>],
    buffers: Vec<Vec<u8>>,
    make_visitor: &(impl Fn() -> V + Sync),
) -> Vec<(Walk, V)>
where
    M: Memory + Sync,
    V: PayloadVisitor,
{
    let results: Vec<Mutex<Option<(Walk, V)>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let work = |mut buffer: Vec<u8>| {
        while let Some((job, place)) = next_job(&next, jobs, &results) {
            let mut visitor = make_visitor();
            let mut reader = PlannedReader::new(memory, job.plan, job.stretch.region.end, buffer);
            let walk = walk(&mut reader, job.stretch, &mut visitor);
            buffer = reader.into_buffer();
            if let Ok(mut place) = place.lock() {
                *place = Some((walk, visitor));
            }
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
    results.into_iter().filter_map(|place| place.into_inner().ok().flatten()).collect()
}

fn next_job<'j, 'p, R>(next: &AtomicUsize, jobs: &'j [Job<'p>], results: &'j [R]) -> Option<(&'j Job<'p>, &'j R)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    Some((jobs.get(index)?, results.get(index)?))
}
