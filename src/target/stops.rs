//! Reading a target in stops of which none is longer than promised.
//!
//! One thread of ours holds the target and does nothing else, since Linux takes ptrace requests from the tracing thread
//! only. Whoever reads goes through a [`StoppedMemory`], whose reads are answered while the target stands still and wait
//! while it runs. So what follows a pointer need not know of stops; what relies on two reads belonging together asks for
//! their [`Moment`]s.

use super::freeze::{Freeze, FreezeError, Patience};
use super::live::LiveMemory;
use super::memory::{Fault, Memory, Moment};
use super::place::{Judge, StopPlace};
use super::registers::ThreadRegisters;
use super::urgency::{Rank, Readers, Urgency};
use crate::addr::{Addr, AddrRange};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

/// How a target may be stopped.
#[derive(Debug, Clone, Copy, Default)]
pub struct StopLimits<'a> {
    /// How long a thread may stand still at a time; `None` for one stop of any length.
    pub longest: Option<Duration>,
    /// How long to wait for what.
    pub patience: Patience,
    /// Who tells whether a thread is in the middle of an allocation, if somebody can.
    pub judge: Option<&'a dyn Judge>,
}

/// A stop that is over.
#[derive(Debug, Clone)]
pub struct PastStop {
    /// The longest time that a thread stood still in it.
    pub pause: Duration,
    /// From when until when all threads stood still and could be read, by `CLOCK_MONOTONIC`.
    pub still: std::ops::Range<Instant>,
    /// Where the target stood.
    pub place: StopPlace,
    /// False if that was no good place, and the target was let go at once for another try.
    pub is_used: bool,
    /// What was in the registers of all threads.
    pub registers: Vec<ThreadRegisters>,
}

/// What came of reading in stops.
#[derive(Debug)]
pub struct StopLog {
    /// Every stop, in order, also those that were not used; none if nothing was read.
    pub stops: Vec<PastStop>,
    /// From the beginning of the first stop that was used to the end of the last one.
    pub elapsed: Duration,
}

/// The part of a stop that is kept for what cannot be foreseen: the read that is under way when the time is up, and letting
/// go.
const RESERVE: u32 = 8;

/// The same at least.
const SMALLEST_RESERVE: Duration = Duration::from_micros(500);

/// After a stop the target runs for this many times as long, so that it catches up with what has come in meanwhile.
const REST: u32 = 3;

/// And for this long at least.
const SHORTEST_REST: Duration = Duration::from_millis(10);

/// After so many stops in a row in which nothing was read, and so long a time, it is given up: on a machine whose processors are
/// all busy many short ones in a row come to nothing.
const USELESS_STOPS: u32 = 20;
const USELESS_STOPS_FOR: Duration = Duration::from_secs(3);

/// It is looked so often whether there were fewer reads than stops, if there were as many stops as above. Stops of a millisecond
/// let one in now and then: of a worker with 120 MiB such reading went on for minutes.
const COUNT_READS_EVERY: Duration = Duration::from_secs(10);

/// How often in a row, and how long in all, a stop is tried again that has come in the middle of an allocation, or in which some
/// thread did not stop. Threads that do nothing but allocate are seldom all outside; one that reads from a disk stops when it
/// has read.
const BAD_STOPS: u32 = 30;
const BAD_STOPS_FOR: Duration = Duration::from_secs(3);

/// How long to wait for the event wait, and then for any other system call, where the main thread was waited for
/// in vain before the stop before.
const SHORT_PATIENCE: Duration = Duration::from_millis(2);

/// How often it is looked whether somebody wants to read, when the target has run for long enough.
const LOOK_FOR_READERS: Duration = Duration::from_micros(200);

/// How often a reader whose time is up looks whether the next stop has begun, before it waits for that in the kernel.
const LOOK_AGAIN: Duration = Duration::from_micros(20);

/// Runs `work` on the memory of a process that is stopped at the first read, and let go when `work` returns. If that takes
/// longer than a stop may, the target runs in between, and reads wait.
///
/// # Errors
/// [`FreezeError`] if it could not be stopped, also not a further time: what `work` has done is then dropped.
pub fn read_stopped<R>(
    memory: &LiveMemory,
    limits: StopLimits<'_>,
    work: impl FnOnce(&StoppedMemory<'_>) -> R,
) -> Result<(R, StopLog), StopsError> {
    let gate = Gate::default();
    let (ready, is_ready) = channel();
    let (starter, word) = channel();
    std::thread::scope(|scope| {
        // Only the end of the tracing thread makes the kernel let go of a thread of the target that would not stop.
        let keeper = Keeper { pid: memory.pid(), limits, gate: &gate, word };
        let keeper = std::thread::Builder::new().spawn_scoped(scope, move || keeper.run(&ready))?;
        let answer = is_ready.recv().ok().map(|()| {
            let starter = Starter { sender: starter, has_started: AtomicBool::new(false) };
            let is_one_stop = limits.longest.is_none();
            work(&StoppedMemory { memory, gate: &gate, starter: &starter, is_one_stop })
        });
        let log = keeper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        // The keeper says that it is ready before anything that can fail.
        answer.map(|answer| (answer, log)).ok_or_else(|| FreezeError::Gone(memory.pid()).into())
    })
}

/// Why a target could not be read in stops.
#[derive(Debug, thiserror::Error)]
pub enum StopsError {
    /// It could not be stopped.
    #[error(transparent)]
    Freeze(#[from] FreezeError),
    /// This process got no thread to stop it with.
    #[error("no thread could be started to stop the process with: {0}")]
    Thread(#[from] std::io::Error),
}

/// What readers wait at while the target runs: the keeper holds it for writing then.
#[derive(Debug, Default)]
struct Gate {
    window: RwLock<Window>,
    /// Those who read, urgent only while the gate is open: what they do besides must not keep the target from its processor.
    readers: Readers,
    /// How many reads were let in.
    reads: AtomicU64,
    /// How many readers are about to read, or wait until they can.
    waiting: AtomicU32,
    /// The moment at which one was let in latest.
    latest: AtomicU32,
    /// No read is let in at a moment before this one.
    earliest: AtomicU32,
}

/// The time in which the target may be read.
#[derive(Debug, Default, Clone)]
struct Window {
    moment: Moment,
    /// When the target is to run again.
    deadline: Option<Instant>,
    /// True once there will be no further stop.
    is_over: bool,
    /// Each thread with its thread pointer.
    threads: Vec<(i32, Addr)>,
}

impl StopLog {
    /// The stops in which the target was read.
    pub fn used(&self) -> impl DoubleEndedIterator<Item = &PastStop> {
        self.stops.iter().filter(|stop| stop.is_used)
    }
}

impl Gate {
    /// Waits until the target stands still. It does so for as long as the guard lives.
    fn enter(&self) -> Result<RwLockReadGuard<'_, Window>, Fault> {
        self.readers.join();
        loop {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            let window = self.window.read().unwrap_or_else(PoisonError::into_inner);
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            if window.is_over {
                return Err(Fault::Gone);
            }
            let is_early = window.moment.0 < self.earliest.load(Ordering::Relaxed);
            if !is_early && window.deadline.is_none_or(|deadline| Instant::now() < deadline) {
                self.reads.fetch_add(1, Ordering::Relaxed);
                self.latest.store(window.moment.0, Ordering::Relaxed);
                return Ok(window);
            }
            drop(window);
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn close(&self) -> ClosedGate<'_> {
        self.window.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The memory of a target that stands still whenever it is read.
#[derive(Debug, Clone, Copy)]
pub struct StoppedMemory<'a> {
    memory: &'a LiveMemory,
    gate: &'a Gate,
    starter: &'a Starter,
    /// True if no further stop follows the first one, however long it takes.
    is_one_stop: bool,
}

/// Tells the keeper to begin, and by its end that the work is done.
#[derive(Debug)]
struct Starter {
    sender: Sender<Moment>,
    has_started: AtomicBool,
}

impl StoppedMemory<'_> {
    fn enter(&self) -> Result<RwLockReadGuard<'_, Window>, Fault> {
        if !self.starter.has_started.swap(true, Ordering::Relaxed) {
            // If the keeper is gone, the gate says so.
            let _ = self.starter.sender.send(Moment::default());
        }
        self.gate.enter()
    }

    /// Each thread of the target with its thread pointer, as of the latest stop.
    ///
    /// # Errors
    /// [`Fault::Gone`] if the target could not be stopped.
    pub fn threads(&self) -> Result<Vec<(i32, Addr)>, Fault> {
        Ok(self.enter()?.threads.clone())
    }
}

impl Memory for StoppedMemory<'_> {
    fn read(&self, address: Addr, buffer: &mut [u8]) -> Result<(), Fault> {
        let _still = self.enter()?;
        self.memory.read(address, buffer)
    }

    fn read_ranges(&self, ranges: &[AddrRange], buffer: &mut [u8]) -> Result<(), Fault> {
        self.read_ranges_at(ranges, buffer).map(drop)
    }

    fn read_ranges_at(&self, ranges: &[AddrRange], buffer: &mut [u8]) -> Result<Moment, Fault> {
        let still = self.enter()?;
        self.memory.read_ranges(ranges, buffer).map(|()| still.moment)
    }

    fn moment(&self) -> Moment {
        self.enter().map(|still| still.moment).unwrap_or_default()
    }

    fn latest_moment(&self) -> Moment {
        Moment(self.gate.latest.load(Ordering::Relaxed))
    }

    /// Ends the stop of the latest read and waits for the next one, unless all is read in one.
    fn next_moment(&self) {
        if self.is_one_stop {
            return;
        }
        let latest = self.latest_moment();
        self.gate.earliest.store(latest.0 + 1, Ordering::Relaxed);
        // If the keeper is gone, the gate says so.
        let _ = self.starter.sender.send(latest);
        drop(self.enter());
    }
}

/// Says at the end that there will be no further stop.
struct OverWhenDropped<'a>(&'a Gate);

impl Drop for OverWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.close().is_over = true;
    }
}

/// The gate while nobody may read.
type ClosedGate<'a> = RwLockWriteGuard<'a, Window>;

/// How often in a row a stop was of no use, and why.
#[derive(Debug, Default)]
struct Tries {
    /// Threads were in the middle of an allocation, or had not stopped in time.
    bad: u32,
    /// Since when that has been so.
    since: Option<Instant>,
    /// The main thread stood in the same system call all the time.
    waited_in_vain: bool,
}

impl Tries {
    /// True if one more bad stop need not be used.
    fn may_go_on(&self) -> bool {
        self.bad < BAD_STOPS && self.since.is_none_or(|since| since.elapsed() < BAD_STOPS_FOR)
    }
}

/// What stops were of use for.
#[derive(Debug, Clone, Copy)]
struct Use {
    /// How many stops there were, and how many times somebody was let in to read.
    stops: u32,
    reads: u64,
    /// Since when these are counted, and how many reads there had been before.
    since: Instant,
    reads_before: u64,
    /// How many stops in a row nobody was let in, and since when.
    useless: u32,
    useful_at: Instant,
}

impl Use {
    fn since(now: Instant, reads_before: u64) -> Use {
        Use { stops: 0, reads: 0, since: now, reads_before, useless: 0, useful_at: now }
    }

    /// Counts a stop at whose end there had been so many reads in all. If it is of no use to go on: of how many stops, and how
    /// many reads these had.
    fn count(&mut self, reads: u64, now: Instant) -> Option<(u32, u64)> {
        let reads = reads.saturating_sub(self.reads_before);
        self.useless += 1;
        if reads > self.reads {
            (self.useless, self.useful_at) = (0, now);
        }
        self.stops += 1;
        self.reads = reads;
        if self.useless >= USELESS_STOPS && now.duration_since(self.useful_at) > USELESS_STOPS_FOR {
            return Some((self.useless, 0));
        }
        if self.stops < USELESS_STOPS || now.duration_since(self.since) <= COUNT_READS_EVERY {
            return None;
        }
        if self.reads < u64::from(self.stops) {
            return Some((self.stops, self.reads));
        }
        let Use { useless, useful_at, .. } = *self;
        *self = Use { useless, useful_at, ..Use::since(now, self.reads_before + self.reads) };
        None
    }
}

/// What came of an attempt to stop the target.
enum Attempt {
    /// It stands still and can be read.
    Good(Freeze),
    /// It runs again.
    Bad(PastStop),
}

/// Holds the target and lets it go.
struct Keeper<'a> {
    pid: i32,
    limits: StopLimits<'a>,
    gate: &'a Gate,
    /// One word is sent to begin, and the moment of each stop that is to end early; the sender is dropped when the work is done,
    /// and also if it panics.
    word: Receiver<Moment>,
}

impl<'a> Keeper<'a> {
    fn run(self, ready: &Sender<()>) -> Result<StopLog, FreezeError> {
        let _urgency = Urgency::begin(Rank::Keeper);
        // Dropped after the gate is free again, also by a panic: who waits there must not wait for ever.
        let _over = OverWhenDropped(self.gate);
        let mut gate = self.gate.close();
        // Nobody reads before the gate is held.
        let _ = ready.send(());
        let mut log = StopLog { stops: Vec::new(), elapsed: Duration::ZERO };
        let (mut tries, mut began) = (Tries::default(), None);
        let mut moment = Moment(0);
        let mut outcome = Ok(());
        gate.is_over = self.word.recv().is_err();
        let mut usefulness = Use::since(Instant::now(), 0);
        while !gate.is_over {
            let freeze = match self.attempt(&mut tries) {
                Ok(Attempt::Good(freeze)) => freeze,
                Ok(Attempt::Bad(stop)) => {
                    gate.is_over = self.rest_after(stop.pause);
                    log.stops.push(stop);
                    continue;
                }
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            };
            let began = *began.get_or_insert(freeze.since());
            gate.moment = moment;
            let (stop, is_done);
            (gate, stop, is_done) = self.hold(gate, freeze);
            let pause = stop.pause;
            moment.0 += 1;
            log.elapsed = began.elapsed();
            log.stops.push(stop);
            let in_vain = usefulness.count(self.gate.reads.load(Ordering::Relaxed), Instant::now());
            if let (Some(longest), Some((stops, reads)), false) = (self.limits.longest, in_vain, is_done) {
                outcome = Err(FreezeError::TooShort { pid: self.pid, longest, stops, reads });
                break;
            }
            gate.is_over = is_done || self.rest_after(pause);
        }
        gate.is_over = true;
        outcome.map(|()| log)
    }

    /// Stops the target; lets it go at once if some thread is not where it can be read, unless that was so too often.
    fn attempt(&self, tries: &mut Tries) -> Result<Attempt, FreezeError> {
        let is_last_try = !tries.may_go_on();
        let takes_any_place = is_last_try || self.limits.judge.is_none();
        let patience = self.patience(takes_any_place, tries.waited_in_vain);
        let freeze = Freeze::attempt(self.pid, patience, self.limits.judge)?;
        let (since, place) = (freeze.since(), freeze.place());
        tries.since.get_or_insert(since);
        tries.waited_in_vain = freeze.waited_in_vain();
        let is_bad = freeze.is_late() || place == StopPlace::InUserCode && !takes_any_place;
        if is_last_try || !is_bad {
            (tries.bad, tries.since) = (0, None);
            return freeze.standing().map(Attempt::Good);
        }
        tries.bad += 1;
        let pause = freeze.let_go()?;
        let still = since..Instant::now();
        Ok(Attempt::Bad(PastStop { pause, still, place, is_used: false, registers: Vec::new() }))
    }

    /// Opens the gate for as long as the target may stand still, and lets it go. Returns the gate, closed, and true if the work is
    /// done.
    fn hold(&self, mut gate: ClosedGate<'a>, freeze: Freeze) -> (ClosedGate<'a>, PastStop, bool) {
        let (since, place) = (freeze.since(), freeze.place());
        gate.deadline = self.deadline(since);
        gate.threads = freeze.thread_pointers();
        let moment = gate.moment;
        let registers = freeze.registers();
        self.gate.readers.set_urgent(true);
        let opened = Instant::now();
        drop(gate);
        let is_done = self.wait(since, moment);
        let gate = self.gate.close();
        let still = opened..Instant::now();
        let pause = freeze.release();
        self.gate.readers.set_urgent(false);
        (gate, PastStop { pause, still, place, is_used: true, registers }, is_done)
    }

    /// Lets the target run for a while after it has stood still for `pause`, and on until somebody wants to read; true if the
    /// work is done.
    fn rest_after(&self, pause: Duration) -> bool {
        let end = Instant::now() + (pause * REST).max(SHORTEST_REST);
        loop {
            // A word to end a stop that has ended by itself is no reason to begin the next one early.
            match self.word.recv_timeout(end.saturating_duration_since(Instant::now()).max(LOOK_FOR_READERS)) {
                Err(RecvTimeoutError::Disconnected) => return true,
                _ if Instant::now() >= end && self.gate.waiting.load(Ordering::SeqCst) > 0 => return false,
                _ => {}
            }
        }
    }

    /// Waits until the work is done, the time is up, or the stop, which is that of `moment`, is to end; true if the work is done.
    fn wait(&self, since: Instant, moment: Moment) -> bool {
        let Some(deadline) = self.deadline(since) else { return self.word.recv().is_err() };
        loop {
            match self.word.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Err(RecvTimeoutError::Disconnected) => return true,
                // That of a stop which has ended by itself meanwhile.
                Ok(of) if of != moment => {}
                Ok(_) | Err(RecvTimeoutError::Timeout) => return false,
            }
        }
    }

    /// When a stop that began at `since` has to end; `None` if it need not, or so late that no clock has it.
    fn deadline(&self, since: Instant) -> Option<Instant> {
        self.limits.longest.and_then(|longest| since.checked_add(longest - reserve(longest)))
    }

    /// Threads that stand still while others are brought to a good place must not use up the time for reading. Who was
    /// waited for in vain before is hardly waited for again.
    fn patience(&self, takes_any_place: bool, waited_in_vain: bool) -> Patience {
        let Patience { others, standing, allocation, event_wait, system_call, .. } = self.limits.patience;
        let most = if waited_in_vain { SHORT_PATIENCE } else { Duration::MAX };
        Patience {
            event_wait: event_wait.min(most),
            system_call: system_call.min(most),
            others: self.limits.longest.map_or(others, |longest| others.min(longest / 2)),
            standing: self.limits.longest.map_or(standing, |longest| standing.min(longest / 4)),
            // The place is taken as it is: whoever waits for a thread may find it still running.
            allocation: if takes_any_place { Duration::ZERO } else { allocation },
            ..self.limits.patience
        }
    }
}

fn reserve(longest: Duration) -> Duration {
    (longest / RESERVE).max(SMALLEST_RESERVE).min(longest / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of stops of which each takes so many milliseconds and lets in so many reads.
    fn counted(stops: u32, milliseconds: u64, reads: impl Fn(u32) -> u64) -> Option<(u32, u64)> {
        let begin = Instant::now();
        let mut usefulness = Use::since(begin, 0);
        let mut all = 0;
        (1..=stops).find_map(|stop| {
            all += reads(stop);
            usefulness.count(all, begin + Duration::from_millis(milliseconds) * stop)
        })
    }

    #[test]
    fn many_stops_in_a_row_without_a_read_are_given_up_after_a_while() {
        assert_eq!(counted(1000, 200, |_| 0), Some((20, 0)));
        assert_eq!(counted(1000, 10, |_| 0), Some((301, 0)));
        assert_eq!(counted(19, 1_000, |_| 0), None);
        assert_eq!(counted(300, 10, |_| 0), None);
    }

    #[test]
    fn fewer_reads_than_stops_are_given_up_after_a_longer_while() {
        assert_eq!(counted(10_000, 20, |stop| u64::from(stop % 3 == 0)), Some((501, 167)));
        assert_eq!(counted(10_000, 20, |_| 1), None);
        assert_eq!(counted(10_000, 20, |stop| u64::from(stop % 3 == 0) * 4), None);
    }

    #[test]
    fn who_was_of_use_before_is_counted_anew() {
        assert_eq!(counted(10_000, 20, |stop| if stop <= 501 { 5 } else { u64::from(stop % 2) }), Some((501, 250)));
    }

    #[test]
    fn few_stops_in_a_long_time_are_not_given_up() {
        assert_eq!(counted(19, 5_000, |stop| u64::from(stop % 2 == 0)), None);
    }
}
