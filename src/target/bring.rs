//! Bringing threads to a place where the heap is whole.

use super::freeze::{FreezeError, Patience};
use super::place::{Judge, Standing, StopPlace, judged_place, place_of};
use super::registers::ThreadRegisters;
use super::threads::{Stop, TracedThread, registers};
use super::tracees::attend;
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// How long a thread runs, at first, that was found in the middle of an allocation: most take less than a microsecond.
const SHORTEST_RUN: Duration = Duration::from_micros(20);

/// How long at most, for each such thread: they may have to share a processor.
const LONGEST_RUN: Duration = Duration::from_micros(100);

/// How often others are attended to while a thread is brought to its place. One that makes system calls all the time is never
/// waited for so long that this would be done then.
const ATTEND_EVERY: Duration = Duration::from_millis(1);

/// Brings threads of a process to their places.
pub(super) struct Usher<'a> {
    pub(super) pid: i32,
    /// Since when they are being brought there.
    pub(super) begin: Instant,
    pub(super) patience: Patience,
    pub(super) judge: Option<&'a dyn Judge>,
    /// All threads that we trace.
    pub(super) company: Vec<Pid>,
}

impl Usher<'_> {
    /// Brings one thread to the best system call that can be had before its time is up; it is stopped afterwards. True if the
    /// time was for nothing: it waits all the time in another system call than an event loop does.
    pub(super) fn bring(&self, thread: &mut TracedThread) -> Result<bool, FreezeError> {
        let Patience { event_wait, system_call, .. } = self.patience;
        let last_call = self.begin + event_wait + system_call;
        let mut in_vain = false;
        let mut attended = Instant::now();
        loop {
            if thread.is_gone() {
                return Ok(false);
            }
            let (wanted, deadline) = match self.begin.elapsed() < event_wait {
                true => (StopPlace::BetweenEvents, self.begin + event_wait),
                false => (StopPlace::InSystemCall, last_call),
            };
            if self.is_at(thread, wanted) || thread.is_in_group_stop() || Instant::now() >= last_call {
                return Ok(in_vain);
            }
            thread.resume_to_syscall();
            if thread.wait(deadline, &self.company) == Stop::TimedOut {
                // It waits in another system call than an event loop does; or it makes none, because it spins or works long on
                // one event, and is read all the same.
                self.halt(thread)?;
                in_vain = self.is_at(thread, StopPlace::InSystemCall);
            }
            if attended.elapsed() >= ATTEND_EVERY {
                self.company.iter().filter(|tid| **tid != thread.tid).for_each(|tid| attend(*tid));
                attended = Instant::now();
            }
        }
    }

    /// Lets those threads run on for a moment, again and again, that stand in the middle of an allocation. All of them at
    /// once: one may wait for a lock that another one holds. Returns where they stand then.
    ///
    /// On a machine whose processors are all busy one of them may not get its turn in time: that is then
    /// [`StopPlace::InUserCode`], and it has not stopped yet. So the others do not stand there waiting for it.
    pub(super) fn settle(&self, threads: &mut [TracedThread]) -> Result<StopPlace, FreezeError> {
        let Patience { event_wait, system_call, allocation, .. } = self.patience;
        // Threads that run start others, for which this is done again: their time is that of the first ones.
        let last_try = (Instant::now() + allocation).min(self.begin + event_wait + system_call + allocation);
        let mut run = SHORTEST_RUN;
        let mut places: Vec<StopPlace> = threads.iter().map(|thread| self.place(thread)).collect();
        loop {
            let place = places.iter().copied().max().unwrap_or(StopPlace::BetweenEvents);
            let is_locked = place < StopPlace::InUserCode && self.judge.is_some_and(Judge::is_locked);
            let place = if is_locked { StopPlace::InUserCode } else { place };
            if place < StopPlace::InUserCode || self.judge.is_none() || Instant::now() >= last_try {
                return Ok(place);
            }
            let both = threads.iter_mut().zip(&mut places);
            let mut chosen: Vec<_> = both
                .filter(|(thread, place)| {
                    (is_locked || **place == StopPlace::InUserCode) && !thread.is_gone() && !thread.is_in_group_stop()
                })
                .collect();
            if chosen.is_empty() {
                return Ok(place);
            }
            chosen.iter_mut().for_each(|(thread, _)| thread.resume());
            std::thread::sleep(run);
            run = (run * 2).min(LONGEST_RUN * chosen.len() as u32);
            chosen.iter_mut().for_each(|(thread, _)| thread.interrupt());
            for (thread, place) in chosen {
                if thread.wait(last_try.max(Instant::now()), &self.company) == Stop::TimedOut {
                    return Ok(StopPlace::InUserCode);
                }
                *place = self.place(thread);
            }
        }
    }

    /// Stops a thread wherever it is.
    pub(super) fn halt(&self, thread: &mut TracedThread) -> Result<(), FreezeError> {
        thread.interrupt();
        match thread.wait_insisting(Instant::now() + self.patience.stop, &self.company) {
            Stop::TimedOut => Err(FreezeError::DoesNotStop { tid: thread.tid.as_raw(), waited: self.patience.stop }),
            _ => Ok(()),
        }
    }

    /// True if the thread is at a place as good as `wanted`. Its stack is looked at only if that could make a difference.
    fn is_at(&self, thread: &TracedThread, wanted: StopPlace) -> bool {
        place_of(thread.system_call(), self.is_main(thread)) <= wanted && self.place(thread) <= wanted
    }

    fn place(&self, thread: &TracedThread) -> StopPlace {
        if thread.is_gone() {
            return StopPlace::BetweenEvents;
        }
        let standing = || self.judge.map_or(Standing::Unknown, |judge| judge.standing(&registers_of(thread)));
        judged_place(thread.system_call(), self.is_main(thread), standing)
    }

    fn is_main(&self, thread: &TracedThread) -> bool {
        thread.tid.as_raw() == self.pid
    }
}

/// What is in the registers of a thread that stands still.
pub(super) fn registers_of(thread: &TracedThread) -> ThreadRegisters {
    ThreadRegisters { tid: thread.tid.as_raw(), words: registers(thread.tid) }
}
