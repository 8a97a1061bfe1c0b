//! Being served first while the target stands still.
//!
//! On a machine whose processors are all busy, a reader that waits for its turn makes the stop several times as long as the
//! reading takes. So threads that work during a stop have real-time priority for as long as that. They give it back when the
//! target runs: they go on computing then, and on the only processor that it may use it would stand still for that. The kernel
//! puts such threads on idle processors first, and never gives them the last 5 % of a second.

use nix::libc;
use nix::unistd::gettid;
use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Gives the calling thread, and those that it starts meanwhile, priority over ordinary ones for as long as it lives. Where
/// that is not permitted (it takes `CAP_SYS_NICE`), nothing happens.
#[derive(Debug)]
pub struct Urgency {
    /// How it was served before; `None` if that is unchanged.
    before: Option<Scheduling>,
}

/// Who comes before whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// Reads the target.
    Reader = 1,
    /// Lets it go when the time is up, whatever the readers are doing.
    Keeper = 2,
}

impl Urgency {
    /// Makes the calling thread urgent. It is to be dropped on the same thread.
    pub fn begin(rank: Rank) -> Urgency {
        let before = Scheduling::of_this_thread().filter(|_| Scheduling::urgent(rank).give_to(THIS_THREAD));
        Urgency { before }
    }
}

/// True if a thread of this process may have priority over ordinary ones.
pub fn is_permitted() -> bool {
    Urgency::begin(Rank::Reader).before.is_some()
}

impl Drop for Urgency {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            before.give_to(THIS_THREAD);
        }
    }
}

/// Threads that read a target, urgent only while it stands still.
#[derive(Debug)]
pub struct Readers(Arc<Mutex<Members>>);

#[derive(Debug)]
struct Members {
    threads: Vec<libc::pid_t>,
    is_urgent: bool,
    /// How they are served while the target runs; `None` if that is not ours to change.
    ordinary: Option<Scheduling>,
}

/// What makes a thread one of the readers until it ends, or reads something else.
#[derive(Debug)]
struct Membership {
    thread: libc::pid_t,
    of: Arc<Mutex<Members>>,
}

thread_local! {
    static MEMBERSHIP: RefCell<Option<Membership>> = const { RefCell::new(None) };
}

impl Default for Readers {
    /// None yet. They are served as the calling thread is while the target runs.
    fn default() -> Readers {
        let ordinary = Scheduling::of_this_thread();
        Readers(Arc::new(Mutex::new(Members { threads: Vec::new(), is_urgent: false, ordinary })))
    }
}

impl Readers {
    /// Makes the calling thread one of them.
    pub fn join(&self) {
        // A thread that is about to end has no membership any more.
        let _ = MEMBERSHIP.try_with(|membership| {
            let membership = &mut *membership.borrow_mut();
            if membership.as_ref().is_none_or(|membership| !Arc::ptr_eq(&membership.of, &self.0)) {
                // The one before ends first.
                *membership = None;
                *membership = Some(Membership::begin(&self.0));
            }
        });
    }

    /// Makes all of them urgent, and those that join later, or none any more.
    pub fn set_urgent(&self, is_urgent: bool) {
        let mut members = locked(&self.0);
        members.is_urgent = is_urgent;
        members.threads.iter().for_each(|thread| members.serve(*thread));
    }
}

impl Members {
    /// A thread that a reader has started is served as that one was then, until it reads itself.
    fn serve(&self, thread: libc::pid_t) {
        if let Some(ordinary) = self.ordinary {
            let scheduling = if self.is_urgent { Scheduling::urgent(Rank::Reader) } else { ordinary };
            scheduling.give_to(thread);
        }
    }
}

impl Membership {
    fn begin(of: &Arc<Mutex<Members>>) -> Membership {
        let thread = gettid().as_raw();
        let mut members = locked(of);
        members.threads.push(thread);
        members.serve(thread);
        Membership { thread, of: Arc::clone(of) }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut members = locked(&self.of);
        members.threads.retain(|thread| *thread != self.thread);
        if let Some(ordinary) = members.ordinary.filter(|_| members.is_urgent) {
            ordinary.give_to(self.thread);
        }
    }
}

fn locked(members: &Mutex<Members>) -> MutexGuard<'_, Members> {
    members.lock().unwrap_or_else(PoisonError::into_inner)
}

/// To the kernel this is whoever asks.
const THIS_THREAD: libc::pid_t = 0;

/// How the kernel serves a thread (sched(7)).
#[derive(Debug, Clone, Copy)]
struct Scheduling {
    policy: libc::c_int,
    priority: libc::c_int,
}

impl Scheduling {
    fn urgent(rank: Rank) -> Scheduling {
        Scheduling { policy: libc::SCHED_RR, priority: rank as libc::c_int }
    }

    /// `None` if somebody has given it a priority already, which is then left alone.
    fn of_this_thread() -> Option<Scheduling> {
        // SAFETY: 0 is the calling thread; nothing is written.
        let policy = unsafe { libc::sched_getscheduler(THIS_THREAD) };
        let is_ordinary = matches!(policy, libc::SCHED_OTHER | libc::SCHED_BATCH | libc::SCHED_IDLE);
        is_ordinary.then_some(Scheduling { policy, priority: 0 })
    }

    /// True if the kernel took it.
    fn give_to(self, thread: libc::pid_t) -> bool {
        let parameters = libc::sched_param { sched_priority: self.priority };
        // SAFETY: the kernel only reads `parameters`; the thread is one of ours, and if it has ended nothing happens.
        unsafe { libc::sched_setscheduler(thread, self.policy, &raw const parameters) == 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> libc::c_int {
        // SAFETY: 0 is the calling thread; nothing is written.
        unsafe { libc::sched_getscheduler(0) }
    }

    #[test]
    fn priority_is_as_before_when_it_is_over() {
        let before = policy();
        let urgency = Urgency::begin(Rank::Keeper);
        assert_eq!(policy() == libc::SCHED_RR, urgency.before.is_some());
        drop(urgency);
        assert_eq!(policy(), before);
    }

    #[test]
    fn readers_are_urgent_while_the_target_stands_still() {
        let ordinary = policy();
        let urgent = if is_permitted() { libc::SCHED_RR } else { ordinary };
        let readers = Readers::default();
        let step = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                readers.join();
                let mut seen = vec![policy()];
                for _ in 0..2 {
                    step.wait();
                    step.wait();
                    seen.push(policy());
                }
                seen
            });
            for is_urgent in [true, false] {
                step.wait();
                readers.set_urgent(is_urgent);
                step.wait();
            }
            assert_eq!(reader.join().unwrap(), [ordinary, urgent, ordinary]);
        });
        readers.set_urgent(true);
        readers.join();
        assert_eq!(policy(), urgent);
        // To read something else ends it.
        Readers::default().join();
        assert_eq!(policy(), ordinary);
        assert!(locked(&readers.0).threads.is_empty());
    }
}
