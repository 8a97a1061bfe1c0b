//! The stop: every thread of the target held by ptrace, for as long as a [`Freeze`] lives and never longer.
//!
//! `PTRACE_SEIZE` does not stop the target and sends it no signal; `PTRACE_INTERRUPT` stops it without one. Whatever
//! becomes of us, the target runs on: on return, error and panic the guard's `Drop` detaches; when the tracing thread ends,
//! killed or not, the kernel detaches and resumes all its tracees (`ptrace(2)`; that is why `PTRACE_O_EXITKILL` is never set).
//!
//! A worker caught in the middle of `malloc` has a heap that does not add up. A single-threaded glibc takes no lock there,
//! so no lock tells. Instead, each thread is brought to stand in a system call that malloc does not make: between events
//! in the worker's event wait where that comes soon enough, else in any other. There the heap and the pools are whole. A
//! thread that makes none is judged by its program counter and its stack, and runs on for a moment if it is in malloc.

use crate::addr::Addr;
use crate::target::bring::{Usher, registers_of};
use crate::target::place::Judge;
pub use crate::target::place::StopPlace;
use crate::target::process::tracer_of;
use crate::target::registers::ThreadRegisters;
use crate::target::threads::{ASK_AGAIN, Stop, TracedThread, thread_pointer};
use crate::target::tracees::while_reaping;
use nix::errno::Errno;
use nix::unistd::{Pid, gettid};
use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Why the target could not be stopped. It has been let go again, as far as it had been stopped.
#[derive(Debug, Error)]
pub enum FreezeError {
    /// The kernel refused the attach.
    #[error("the kernel refused to attach to {tid} ({errno}): {refusal}")]
    Refused {
        /// The thread.
        tid: i32,
        /// The kernel's answer.
        errno: Errno,
        /// What stood in the way.
        refusal: crate::target::access::Refusal,
    },
    /// Somebody else traces it, and went on doing so while we waited.
    #[error(
        "{pid} is being traced by {tracer} ({name}), and Linux allows one tracer: wait until that has ended, or detach it"
    )]
    Traced {
        /// The target.
        pid: i32,
        /// The process that traces it.
        tracer: i32,
        /// Its name.
        name: String,
    },
    /// A thread did not stop in time.
    #[error(
        "thread {tid} did not stop within {waited:?} and was let go: it got no processor in that time, or is in an \
         uninterruptible wait of the kernel (a hung disk or NFS mount, say); try again, with a longer --max-pause if one is \
         given, and if it is so again, when `cat /proc/{tid}/wchan` shows another place"
    )]
    DoesNotStop {
        /// The thread.
        tid: i32,
        /// How long we waited.
        waited: Duration,
    },
    /// In stops of that length there is no time to read.
    #[error(
        "process {pid} could not be read in stops of {longest:?}: the last {stops} had time for {reads} reads in all, being over \
         before its threads stood still at a good place, or before poolscope got a processor; give a longer --max-pause, {:?} \
         say",
        (*longest * 2).max(Duration::from_millis(5))
    )]
    TooShort {
        /// The target.
        pid: i32,
        /// How long a stop may be.
        longest: Duration,
        /// How many stops there were lately.
        stops: u32,
        /// How many reads they let in.
        reads: u64,
    },
    /// The process ended.
    #[error("process {0} exited while it was being stopped: give another worker's pid")]
    Gone(i32),
}

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For another tracer to let go: two poolscopes at once are the likely case, and each holds on for milliseconds.
    pub tracer: Duration,
    /// For a thread to stop once asked to.
    pub stop: Duration,
    /// The same for all others, while the main thread stands still already.
    pub others: Duration,
    /// For the event wait. The target runs on meanwhile, slowed by one brief stop for each of its system calls.
    pub event_wait: Duration,
    /// For any other system call after that.
    pub system_call: Duration,
    /// For a thread to come out of malloc, where that can be told.
    pub allocation: Duration,
    /// For all three, where other threads of the target stand still meanwhile.
    pub standing: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            tracer: Duration::from_secs(2),
            stop: Duration::from_millis(200),
            others: Duration::from_millis(40),
            event_wait: Duration::from_millis(20),
            system_call: Duration::from_millis(20),
            allocation: Duration::from_millis(20),
            standing: Duration::from_millis(40),
        }
    }
}

impl Patience {
    /// The same for a process whose first thread stands still while the next ones are brought to a good place.
    fn for_threads(self, threads: usize) -> Patience {
        if threads <= 1 {
            return self;
        }
        let third = self.standing / 3;
        Patience {
            event_wait: self.event_wait.min(third),
            system_call: self.system_call.min(third),
            allocation: self.allocation.min(third),
            stop: self.stop.min(self.others),
            ..self
        }
    }
}

/// All threads of a process, stopped. Dropping it lets them go.
///
/// Linux takes ptrace requests only from the thread that attached, so a `Freeze` stays on the thread that made it.
#[derive(Debug)]
pub struct Freeze {
    pid: i32,
    threads: Vec<TracedThread>,
    place: StopPlace,
    waited_in_vain: bool,
    late: Option<Late>,
    not_send: PhantomData<*const ()>,
}

/// A thread that did not stop in time.
#[derive(Debug, Clone, Copy)]
struct Late {
    tid: i32,
    waited: Duration,
}

impl From<Late> for FreezeError {
    fn from(Late { tid, waited }: Late) -> FreezeError {
        FreezeError::DoesNotStop { tid, waited }
    }
}

impl Freeze {
    /// Stops all threads of `pid` and brings them to a place where the heap is whole, if that can be had in time.
    ///
    /// Call it on a thread of its own that ends soon after: a thread of the target that cannot be stopped cannot be
    /// detached from either, and stays seized until its tracer ends.
    ///
    /// # Errors
    /// [`FreezeError`]; the target then runs on.
    pub fn stop(pid: i32, patience: Patience) -> Result<Freeze, FreezeError> {
        Freeze::stop_judged(pid, patience, None)
    }

    /// The same, with somebody who can tell of a thread in user code whether it is in the middle of an allocation.
    ///
    /// # Errors
    /// As [`Freeze::stop`].
    pub fn stop_judged(pid: i32, patience: Patience, judge: Option<&dyn Judge>) -> Result<Freeze, FreezeError> {
        Freeze::attempt(pid, patience, judge).and_then(Freeze::standing)
    }

    /// The same, but a thread that does not stop while the main thread stands still is no error yet: whoever calls lets the
    /// target go and may try again. [`Freeze::standing`] tells.
    pub(super) fn attempt(pid: i32, patience: Patience, judge: Option<&dyn Judge>) -> Result<Freeze, FreezeError> {
        let mut freeze = Freeze {
            pid,
            threads: Vec::new(),
            place: StopPlace::BetweenEvents,
            waited_in_vain: false,
            late: None,
            not_send: PhantomData,
        };
        let mut known = BTreeSet::new();
        freeze.seize_new(&mut known, patience)?;
        freeze.bring_main(patience, judge)?;
        let mut clock = None;
        let mut brought = 0;
        // A thread that is brought to its place runs for a moment, and can start another one in that.
        loop {
            freeze.late = freeze.stop_new(&mut known, patience)?;
            if freeze.late.is_some() {
                freeze.place = StopPlace::InUserCode;
                break;
            }
            let begin = *clock.get_or_insert_with(Instant::now);
            if freeze.threads.len() == brought {
                break;
            }
            let patience = patience.for_threads(freeze.threads.len());
            let usher = Usher { pid, begin, patience, judge, company: freeze.company() };
            let mut new = freeze.threads.iter_mut().skip(brought).filter(|thread| thread.tid.as_raw() != pid);
            match new.try_for_each(|thread| usher.bring(thread).map(drop)) {
                Err(FreezeError::DoesNotStop { tid, waited }) => {
                    freeze.late = Some(Late { tid, waited });
                    freeze.place = StopPlace::InUserCode;
                    break;
                }
                brought => brought?,
            }
            freeze.place = usher.settle(&mut freeze.threads)?;
            brought = freeze.threads.len();
            // It is on its way to a stop, and got no processor for that: nobody stands there waiting for it.
            if freeze.threads.iter().any(TracedThread::is_running) {
                break;
            }
        }
        match freeze.threads.iter().any(|thread| thread.tid.as_raw() == pid && !thread.is_gone()) {
            true => Ok(freeze),
            false => Err(FreezeError::Gone(pid)),
        }
    }

    /// True if some thread did not stop in time, so that nothing can be relied on.
    pub(super) fn is_late(&self) -> bool {
        self.late.is_some()
    }

    /// This, if no thread was late.
    pub(super) fn standing(self) -> Result<Freeze, FreezeError> {
        self.late.map_or(Ok(()), |late| Err(late.into())).map(|()| self)
    }

    /// Where the threads stand.
    pub fn place(&self) -> StopPlace {
        self.place
    }

    /// True if the main thread was waited for and stood in the same system call all the time: it may have no event loop.
    pub fn waited_in_vain(&self) -> bool {
        self.waited_in_vain
    }

    /// Since when the first of the threads has been standing still, at the earliest.
    pub fn since(&self) -> Instant {
        self.threads.iter().filter_map(TracedThread::stopped_at).min().unwrap_or_else(Instant::now)
    }

    /// The ids of the stopped threads, the process's own first.
    pub fn thread_ids(&self) -> Vec<i32> {
        self.threads.iter().filter(|thread| !thread.is_gone()).map(|thread| thread.tid.as_raw()).collect()
    }

    /// Each stopped thread with its thread pointer, the address that its thread-local variables are relative to.
    pub fn thread_pointers(&self) -> Vec<(i32, Addr)> {
        let alive = self.threads.iter().filter(|thread| !thread.is_gone());
        alive.filter_map(|thread| Some((thread.tid.as_raw(), Addr(thread_pointer(thread.tid)?)))).collect()
    }

    /// What is in the general registers of all threads: a pointer may be nowhere else.
    pub fn registers(&self) -> Vec<ThreadRegisters> {
        let alive = self.threads.iter().filter(|thread| !thread.is_gone());
        alive.map(registers_of).collect()
    }

    /// Lets the target go. Returns the longest time that any one thread stood still.
    pub fn release(mut self) -> Duration {
        self.detach_all(LETTING_GO);
        self.threads.iter().map(TracedThread::longest_stop).max().unwrap_or_default()
    }

    /// The same for who goes on after that.
    ///
    /// # Errors
    /// [`FreezeError::DoesNotStop`] for a thread that was on its way to a stop and could not be let go: the kernel does that
    /// when the calling thread ends, which it must do soon.
    pub fn let_go(mut self) -> Result<Duration, FreezeError> {
        self.detach_all(LETTING_GO_ON);
        match self.threads.iter().find(|thread| !thread.is_gone()) {
            Some(thread) => Err(FreezeError::DoesNotStop { tid: thread.tid.as_raw(), waited: LETTING_GO_ON }),
            None => Ok(self.threads.iter().map(TracedThread::longest_stop).max().unwrap_or_default()),
        }
    }

    /// Brings the main thread to its place while all others run: an event loop may have its event to end first, and who is
    /// not needed for that need not stand still meanwhile. It may also wait for one of the others.
    fn bring_main(&mut self, patience: Patience, judge: Option<&dyn Judge>) -> Result<(), FreezeError> {
        let pid = self.pid;
        let company = self.company();
        let main = self.threads.iter_mut().find(|thread| thread.tid.as_raw() == pid).ok_or(FreezeError::Gone(pid))?;
        let usher = Usher { pid, begin: Instant::now(), patience, judge, company };
        usher.halt(main)?;
        let usher = Usher { begin: Instant::now(), ..usher };
        self.waited_in_vain = usher.bring(main)?;
        if main.is_gone() { Err(FreezeError::Gone(pid)) } else { Ok(()) }
    }

    /// Stops the threads that run, and those that they start meanwhile. All are attached to first and stopped then, so that
    /// none of them stands still while we attach to another. Who has stopped starts no thread: at the end a look at the list shows no
    /// new one. Returns a thread that does not stop: one that reads from a slow disk, say, while the main thread stands still.
    fn stop_new(&mut self, known: &mut BTreeSet<i32>, patience: Patience) -> Result<Option<Late>, FreezeError> {
        let mut deadline = None;
        loop {
            self.seize_new(known, patience)?;
            if !self.threads.iter().any(TracedThread::is_running) {
                return Ok(None);
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + patience.others);
            self.interrupt_running();
            let company = self.company();
            for thread in self.threads.iter_mut().filter(|thread| thread.is_running()) {
                if thread.wait_insisting(deadline, &company) == Stop::TimedOut {
                    return Ok(Some(Late { tid: thread.tid.as_raw(), waited: patience.others }));
                }
            }
        }
    }

    /// Attaches to the threads that are not known yet.
    fn seize_new(&mut self, known: &mut BTreeSet<i32>, patience: Patience) -> Result<(), FreezeError> {
        for _ in 0..LISTINGS {
            let Some(tids) = self.new_threads(known)? else { break };
            self.seize_all(&tids, patience.tracer)?;
        }
        Ok(())
    }

    fn seize_all(&mut self, tids: &[i32], patience: Duration) -> Result<(), FreezeError> {
        // To hold one thread cannot keep it from anything.
        if let ([tid], true) = (tids, self.threads.is_empty()) {
            self.threads.extend(self.seize_patiently(*tid, patience)?);
            return Ok(());
        }
        while_reaping(|company| {
            self.threads.iter().for_each(|thread| company.add(thread.tid));
            for tid in tids {
                let seized = self.seize_patiently(*tid, patience)?;
                seized.iter().for_each(|thread| company.add(thread.tid));
                self.threads.extend(seized);
            }
            Ok(())
        })
    }

    /// Threads that are not known yet; `None` if there are none.
    fn new_threads(&self, known: &mut BTreeSet<i32>) -> Result<Option<Vec<i32>>, FreezeError> {
        let new: Vec<i32> = self.listed_threads()?.into_iter().filter(|tid| known.insert(*tid)).collect();
        Ok((!new.is_empty()).then_some(new))
    }

    fn interrupt_running(&mut self) {
        for thread in self.threads.iter_mut().filter(|thread| thread.is_running()) {
            thread.interrupt();
        }
    }

    /// Attaches to a thread; waits for another tracer to let go of it. `Ok(None)` if the thread has exited.
    fn seize_patiently(&self, tid: i32, patience: Duration) -> Result<Option<TracedThread>, FreezeError> {
        /// What keeps us out for a moment and cannot be seen any more when we look for it is worth another try: a tracer that lets
        /// go, a main thread that has ended because another one calls `execve`.
        const UNEXPLAINED: Duration = Duration::from_millis(100);
        /// On a busy machine that time may have room for a single try, and the next program that calls `execve` is met again.
        const UNEXPLAINED_TRIES: u32 = 30;
        /// Others may stand still meanwhile.
        const UNEXPLAINED_AT_MOST: Duration = Duration::from_secs(1);
        let deadline = Instant::now() + patience;
        let mut unexplained = (Instant::now(), 0);
        loop {
            let errno = match TracedThread::seize(Pid::from_raw(tid)) {
                Ok(seized) => return Ok(seized),
                Err(errno) => errno,
            };
            let tracer = tracer_of(tid);
            unexplained = match (&tracer, unexplained) {
                (None, (since, tries)) => (since, tries + 1),
                (Some(_), _) => (Instant::now(), 0),
            };
            let (waited, tries) = (unexplained.0.elapsed(), unexplained.1);
            let is_enough = tries >= UNEXPLAINED_TRIES && waited >= UNEXPLAINED || waited >= UNEXPLAINED_AT_MOST;
            match tracer {
                None if is_enough => {
                    let refusal = crate::target::access::explain(self.pid);
                    return Err(FreezeError::Refused { tid, errno, refusal });
                }
                Some((tracer, name)) if Instant::now() >= deadline => {
                    return Err(FreezeError::Traced { pid: self.pid, tracer, name });
                }
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    fn listed_threads(&self) -> Result<Vec<i32>, FreezeError> {
        let entries = std::fs::read_dir(format!("/proc/{}/task", self.pid)).map_err(|_| FreezeError::Gone(self.pid))?;
        let mut tids: Vec<i32> =
            entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok()).collect();
        tids.sort_unstable_by_key(|tid| (*tid != self.pid, *tid));
        Ok(tids)
    }

    /// Lets all threads go that stand still, and for so long those that are on their way to a stop, as they get there.
    fn detach_all(&mut self, patience: Duration) {
        let some_were_gone = self.threads.iter().any(TracedThread::is_gone);
        self.threads.iter_mut().for_each(TracedThread::detach);
        if !some_were_gone && self.threads.iter().all(TracedThread::is_gone) {
            return;
        }
        let began = Instant::now();
        self.detach_late(began, patience);
        // One that has called execve meanwhile has the id of the first thread from then on, which was ended by that or is let go
        // already.
        while began.elapsed() < patience && traces_here(self.pid) {
            self.threads.push(TracedThread::traced(Pid::from_raw(self.pid)));
            self.detach_late(began, patience);
        }
    }

    /// A running thread cannot be detached from: some are left when we leave in the middle of stopping. By turns: who does not
    /// stop must not keep those that have.
    fn detach_late(&mut self, began: Instant, patience: Duration) {
        let company = self.company();
        let mut asked: Option<Instant> = None;
        while self.threads.iter().any(|thread| !thread.is_gone()) && began.elapsed() < patience {
            // Again and again: nobody has asked who has another one's id since an execve.
            if asked.is_none_or(|asked| asked.elapsed() >= ASK_AGAIN) {
                self.interrupt_running();
                asked = Some(Instant::now());
            }
            for thread in self.threads.iter_mut().filter(|thread| !thread.is_gone()) {
                // The first thread is a zombie for a moment when another one calls execve, and also if it has ended for good.
                match began.elapsed() < EXECVE {
                    true => thread.look(),
                    false => drop(thread.wait(Instant::now(), &company)),
                }
                thread.detach();
            }
            if self.threads.iter().any(|thread| !thread.is_gone()) {
                std::thread::sleep(BETWEEN_TURNS);
            }
        }
    }

    /// The ids of all threads that we trace.
    fn company(&self) -> Vec<Pid> {
        self.threads.iter().filter(|thread| !thread.is_gone()).map(|thread| thread.tid).collect()
    }
}

/// How often new threads are attached to before all are stopped: some may start others faster than that.
const LISTINGS: usize = 8;

/// How long to wait for a thread that has to stop before it can be let go.
const LETTING_GO: Duration = Duration::from_millis(200);

/// The same for who wants to stop the process again: nobody stands still meanwhile, and whom we still trace then cannot be
/// attached to. A read from a slow disk may take that long.
const LETTING_GO_ON: Duration = Duration::from_secs(2);

const BETWEEN_TURNS: Duration = Duration::from_micros(50);

/// How long an execve takes at most to put another thread in the place of the first.
const EXECVE: Duration = Duration::from_millis(100);

/// True if the calling thread traces the thread of that id.
fn traces_here(tid: i32) -> bool {
    let status = procfs::process::Process::new(tid).and_then(|entry| entry.status());
    status.is_ok_and(|status| status.tracerpid == gettid().as_raw())
}

impl Drop for Freeze {
    fn drop(&mut self) {
        self.detach_all(LETTING_GO);
    }
}
