//! Being served first while the target stands still.
//!
//! On a machine whose processors are all busy, a reader that waits for its turn makes the stop several times as long as the
//! reading takes. So threads that work during a stop have real-time priority for as long as that; they sleep while the
//! target runs. The kernel puts such threads on idle processors first, and never gives them the last 5 % of a second.

use nix::libc;

/// Gives the calling thread, and those that it starts meanwhile, priority over ordinary ones for as long as it lives. Where
/// that is not permitted (it takes `CAP_SYS_NICE`), nothing happens.
#[derive(Debug)]
pub struct Urgency {
    /// Policy and priority as they were; `None` if they are unchanged.
    before: Option<(libc::c_int, libc::sched_param)>,
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
        let mut before = libc::sched_param { sched_priority: 0 };
        // SAFETY: 0 is the calling thread, and `before` is a valid place for what the kernel writes.
        let policy = unsafe {
            libc::sched_getparam(0, &raw mut before);
            libc::sched_getscheduler(0)
        };
        let is_ordinary = matches!(policy, libc::SCHED_OTHER | libc::SCHED_BATCH | libc::SCHED_IDLE);
        let changed = is_ordinary && set(libc::SCHED_RR, libc::sched_param { sched_priority: rank as libc::c_int });
        Urgency { before: changed.then_some((policy, before)) }
    }
}

/// True if a thread of this process may have priority over ordinary ones.
pub fn is_permitted() -> bool {
    Urgency::begin(Rank::Reader).before.is_some()
}

impl Drop for Urgency {
    fn drop(&mut self) {
        if let Some((policy, parameters)) = self.before {
            set(policy, parameters);
        }
    }
}

/// True if the kernel took it.
fn set(policy: libc::c_int, parameters: libc::sched_param) -> bool {
    // SAFETY: 0 is the calling thread, and the kernel only reads `parameters`.
    unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) == 0 }
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
}
