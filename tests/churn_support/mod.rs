//! Snapshots of a churning program, each held against what was live at its stops.

mod watch;

use std::collections::HashMap;
use std::time::Duration;

use poolscope::analysis::{Options, take};
use poolscope::debug::SearchOptions;
use poolscope::malloc::books::Tally;
use poolscope::malloc::chunk::ChunkState;
use poolscope::snapshot::model::{FreezeInfo, Snapshot};
use poolscope_fixtures::{Churn, Life, LivePointer};
use watch::{Watch, Witnessed};

/// Why there is nothing to compare.
pub type Failure = Box<dyn std::error::Error>;

/// Chunks that are wrongly called in use, and those that are in use and were not found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Difference {
    pub extra: Tally,
    pub missing: Tally,
}

impl Difference {
    /// Both together, bytes with headers.
    pub fn sum(&self) -> Tally {
        Tally { chunks: self.extra.chunks + self.missing.chunks, bytes: self.extra.bytes + self.missing.bytes }
    }
}

/// What a snapshot says against what was so. Where a thread's malloc or free was under way, its block may count or not.
#[derive(Debug, Clone)]
pub struct Comparison {
    pub freeze: FreezeInfo,
    /// How the heap is at odds with malloc's books.
    pub problems: Vec<String>,
    /// Chunks that it calls in use, without the structures of thread caches.
    pub in_use: Tally,
    /// Structures of thread caches that it found.
    pub tcaches: u64,
    /// Against the moment of the last stop.
    pub at_last_stop: Difference,
    /// What was so at none of the stops: called in use and never was, or always in use and not found.
    pub at_no_stop: Difference,
    /// Mallocs and frees by the program between the first stop and the last one.
    pub changes: u64,
    /// Threads that did not churn at the last stop but waited, as there was no room left in their logs.
    pub held_up: u64,
}

/// Takes a snapshot and compares it. The program rests afterwards, until the next one is taken.
///
/// # Errors
/// What [`take`] says, and when the program's logs cannot be read.
pub fn compare(churn: &mut Churn, max_pause: Option<Duration>) -> Result<Comparison, Failure> {
    let options =
        Options { debug: SearchOptions::from_environment(), with_chunks: true, max_pause, ..Options::default() };
    let (pid, held_up) = (churn.pid() as i32, churn.held_up());
    churn.resume()?;
    let watch = Watch::over(churn);
    let snapshot = take(pid, &options, &watch)?;
    let Witnessed { times, lives, changes } = watch.witnessed()?;
    churn.pause()?;
    let (mut found, tcaches) = in_use(&snapshot)?;
    let mut in_use = Tally::default();
    found.keys().for_each(|(_, size)| in_use.add(*size));
    let (mut at_last_stop, mut at_no_stop) = (Difference::default(), Difference::default());
    let always: Vec<Known> = churn.before().live.iter().map(Known::before).collect();
    for known in lives.iter().map(|life| Known::of(life, &times)).chain(always) {
        match found.get_mut(&(known.address, known.size)) {
            Some(seen) => {
                seen.at_some_stop = true;
                seen.at_last_stop |= known.maybe_at_last;
            }
            None if known.at_all => {
                at_no_stop.missing.add(known.size);
                at_last_stop.missing.add(known.size);
            }
            None if known.at_last => at_last_stop.missing.add(known.size),
            None => {}
        }
    }
    for ((_, size), seen) in &found {
        if !seen.at_last_stop {
            at_last_stop.extra.add(*size);
        }
        if !seen.at_some_stop {
            at_no_stop.extra.add(*size);
        }
    }
    let freeze = snapshot.freeze.ok_or("the snapshot says nothing of its stops")?;
    let problems = snapshot.books.map(|books| books.problems).ok_or("the heap was not walked")?;
    Ok(Comparison {
        freeze,
        problems,
        in_use,
        tcaches,
        at_last_stop,
        at_no_stop,
        changes,
        held_up: churn.held_up() - held_up,
    })
}

/// A block that may have been live at one of the stops.
struct Known {
    address: u64,
    size: u64,
    maybe_at_last: bool,
    at_last: bool,
    at_all: bool,
}

impl Known {
    fn of(life: &Life, times: &[u64]) -> Known {
        let last = times.last().copied().unwrap_or_default();
        Known {
            address: life.address,
            size: life.size,
            maybe_at_last: life.may_have_been_live(last),
            at_last: life.was_live(last),
            at_all: times.iter().all(|time| life.was_live(*time)),
        }
    }

    /// One from before the program's threads began.
    fn before(pointer: &LivePointer) -> Known {
        let (address, size) = (pointer.address, pointer.chunk_size());
        Known { address, size, maybe_at_last: true, at_last: true, at_all: true }
    }
}

/// When a chunk that was found was in use.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    at_last_stop: bool,
    at_some_stop: bool,
}

/// Chunks in use by address and size, without the structures of thread caches; and how many of these there are.
type InUse = (HashMap<(u64, u64), Seen>, u64);

fn in_use(snapshot: &Snapshot) -> Result<InUse, Failure> {
    let (mut chunks, mut tcaches) = (HashMap::new(), 0);
    let table = snapshot.chunks.as_ref().ok_or("the snapshot has no chunks")?;
    for chunk in table.iter().filter(|chunk| chunk.state == ChunkState::InUse) {
        let owner = chunk.owner.and_then(|owner| snapshot.owners.get(owner as usize)).ok_or("a chunk has no owner")?;
        match owner.owner.as_str() {
            "glibc.tcache" => tcaches += 1,
            _ if chunks.insert((chunk.address, chunk.size), Seen::default()).is_some() => {
                return Err(format!("the chunk at {:#x} is there twice", chunk.address).into());
            }
            _ => {}
        }
    }
    Ok((chunks, tcaches))
}
