//! Chunks that the program has freed since the stop and that nothing but malloc's own lists tells from those in use.

use super::prepared::Glibc;
use crate::addr::Addr;
use crate::malloc::arena::read_arenas;
use crate::malloc::heap::Heap;
use crate::malloc::lists::read_freed_lists;
use crate::malloc::tls::find_tcaches;
use crate::target::memory::Memory;
use std::time::Duration;

/// A list that changes while it is followed contradicts itself, and is followed again: so often.
const TRIES: usize = 20;

/// Between two tries.
const BETWEEN_TRIES: Duration = Duration::from_micros(300);

/// Looks for freed chunks of a process that runs on.
pub struct FreedNow<'a> {
    /// Its memory.
    pub memory: &'a dyn Memory,
    /// glibc's side of it.
    pub glibc: &'a Glibc,
    /// The process.
    pub pid: i32,
    /// The threads that it had at the stop.
    pub threads: &'a [i32],
    /// Their thread pointers, as far as these are known.
    pub pointers: &'a [Addr],
}

impl FreedNow<'_> {
    /// Chunks in thread caches and fastbins, by what malloc returned for them. `None` if there may be others: a thread was
    /// started since, whose cache nobody knows; the cache of another one is not known; or a list never made sense.
    pub fn chunks(&self, heap: &Heap) -> Option<Vec<Addr>> {
        let caches = self.caches(heap)?;
        for attempt in 0..TRIES {
            if attempt > 0 {
                std::thread::sleep(BETWEEN_TRIES);
            }
            if let Some(chunks) = self.read(&caches) {
                return Some(chunks);
            }
        }
        None
    }

    /// What the lists hold; `None` if anything about them is not as it must be.
    fn read(&self, caches: &[(i32, Addr)]) -> Option<Vec<Addr>> {
        let (arenas, problem) = read_arenas(&self.memory, &self.glibc.layout, self.glibc.roots.main_arena).ok()?;
        let lists = read_freed_lists(&self.memory, &arenas, self.glibc.layout.tcache.as_ref(), caches);
        if problem.is_some() || !lists.problems.is_empty() {
            return None;
        }
        Some(lists.tcaches.into_iter().flat_map(|cache| cache.chunks).chain(lists.fastbin_chunks).collect())
    }

    /// The caches of all threads: those of the stop, and what threads have made since that had none.
    fn caches(&self, heap: &Heap) -> Option<Vec<(i32, Addr)>> {
        let now = threads_of(self.pid)?;
        let Some(layout) = &self.glibc.layout.tcache else { return Some(Vec::new()) };
        if now.iter().any(|thread| !self.threads.contains(thread)) {
            return None;
        }
        let known = heap.tcaches.iter().filter(|cache| now.contains(&cache.thread));
        let mut caches: Vec<(i32, Addr)> = known.map(|cache| (cache.thread, cache.address)).collect();
        if caches.len() == now.len() {
            return Some(caches);
        }
        // What thread a pointer is of makes no difference here.
        let mut pointers: Vec<(i32, Addr)> = self.pointers.iter().map(|pointer| (0, *pointer)).collect();
        pointers.sort_unstable();
        pointers.dedup();
        let found = find_tcaches(&self.memory, layout, self.glibc.roots.tcache_offset?, &pointers);
        if pointers.len() < now.len() || !found.problems.is_empty() {
            return None;
        }
        caches.extend(found.caches);
        caches.sort_unstable_by_key(|(_, address)| *address);
        caches.dedup_by_key(|(_, address)| *address);
        Some(caches)
    }
}

/// The ids of the threads of a process; `None` if it is gone.
fn threads_of(pid: i32) -> Option<Vec<i32>> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    entries.map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threads_of_a_process_are_listed() {
        let own = std::process::id() as i32;
        let tid = std::fs::read_link("/proc/thread-self").unwrap();
        let tid: i32 = tid.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let threads = threads_of(own).unwrap();
        assert!(threads.contains(&own) && threads.contains(&tid), "{threads:?}");
        assert_eq!(threads_of(-1), None);
    }
}
