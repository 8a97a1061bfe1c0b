//! Stopping a process again and again as a snapshot does, without the time that debug info takes.

use poolscope::analysis::Options;
use poolscope::debug::SearchOptions;
use poolscope::target::freeze::{Freeze, FreezeError, Patience};
use poolscope::target::live::LiveMemory;
use poolscope::target::memory::Memory;
use poolscope::target::stops::{StopLimits, StopsError, read_stopped};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A snapshot with what the environment says of debug info.
pub fn options() -> Options {
    Options { debug: SearchOptions::from_environment(), with_chunks: false, ..Options::default() }
}

/// What can come of a stop on a busy machine, and is as it should be.
pub trait TooBusy {
    /// True if a thread did not come to its stop in time and was let go, or if no time was left to read.
    fn is_too_busy(&self) -> bool;
}

impl TooBusy for FreezeError {
    fn is_too_busy(&self) -> bool {
        matches!(self, FreezeError::DoesNotStop { .. } | FreezeError::TooShort { .. })
    }
}

impl TooBusy for StopsError {
    fn is_too_busy(&self) -> bool {
        matches!(self, StopsError::Freeze(error) if error.is_too_busy())
    }
}

/// On a machine whose processors others keep busy, a thread of the target may not come to its stop in time: it is let go and an
/// error says so, which is as it should be, and it is tried again.
pub fn patiently<T, E: TooBusy>(mut look: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    const TRIES: u32 = 20;
    let mut tries = 0;
    loop {
        tries += 1;
        match look() {
            Err(error) if error.is_too_busy() && tries < TRIES => {}
            outcome => return outcome,
        }
    }
}

/// One stop, by a thread of its own as in a snapshot. Gives the pause.
pub fn stop_once(pid: u32) -> Result<Duration, StopsError> {
    Ok(patiently(|| try_to_stop(pid))?)
}

/// The same, which may come to nothing.
pub fn try_to_stop(pid: u32) -> Result<Duration, FreezeError> {
    std::thread::scope(|scope| {
        scope.spawn(|| Freeze::stop(pid as i32, Patience::default()).map(Freeze::release)).join().unwrap()
    })
}

/// Three stops by one thread, in each of which something is read.
pub fn stop_thrice(pid: u32) -> Result<(), StopsError> {
    patiently(|| try_to_stop_thrice(pid))
}

fn try_to_stop_thrice(pid: u32) -> Result<(), StopsError> {
    let memory = LiveMemory::open(pid as i32).map_err(|_| FreezeError::Gone(pid as i32))?;
    let limits = StopLimits { longest: Some(Duration::from_millis(8)), ..StopLimits::default() };
    let deadline = Instant::now() + Duration::from_secs(5);
    let read = read_stopped(&memory, limits, |memory| {
        let first = memory.moment();
        let goes_on = || memory.moment().0 < first.0 + 2 && memory.threads().is_ok();
        while goes_on() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_micros(300));
        }
    });
    read.map(drop)
}

/// A process that has ended, or was about to, cannot be stopped; anything else would be a fault.
pub fn tell_fault(outcome: Result<(), StopsError>) {
    match outcome {
        Ok(()) | Err(StopsError::Freeze(FreezeError::Gone(_))) => {}
        Err(error) => panic!("{error}"),
    }
}

/// From one look to the next.
const BETWEEN: Duration = Duration::from_millis(1);

/// Stops processes again and again, in both ways, while something else happens.
pub struct Looking<'a> {
    over: &'a AtomicBool,
    looks: &'a AtomicU32,
}

impl Looking<'_> {
    /// How many looks there were.
    pub fn count(&self) -> u32 {
        self.looks.load(Ordering::Relaxed)
    }

    /// Waits for some more.
    pub fn wait_for_more(&self) {
        let before = self.count();
        super::state::wait_until("a further look", || self.count() > before + 1);
    }
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Does `work` while the processes that `pids` gives are stopped again and again.
pub fn while_looking<R>(pids: impl Fn() -> Vec<u32> + Sync, work: impl FnOnce(&Looking<'_>) -> R) -> R {
    let (over, looks) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for pid in pids() {
                    // Between two looks the process must be as its owner wants it.
                    std::thread::sleep(BETWEEN);
                    tell_fault(match looks.fetch_add(1, Ordering::Relaxed) % 3 {
                        0 => stop_thrice(pid),
                        _ => stop_once(pid).map(drop),
                    });
                }
            }
        });
        // Also when `work` panics the looking must end, or the scope would wait for it for ever.
        let looking = Looking { over: &over, looks: &looks };
        work(&looking)
    })
}
