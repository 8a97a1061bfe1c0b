//! Snapshots of several targets: made side by side, shown in order.

use super::Session;
use crate::cli::plan::Target;
use crate::cli::progress::Steps;
use crate::snapshot::file::Wanted;
use crate::snapshot::model::Snapshot;
use std::collections::VecDeque;
use std::io;

/// Obtains the snapshots of each target and hands them to `show`, in the order of the targets. At most as many as there are
/// processors are in work or wait to be shown: each takes memory.
///
/// # Errors
/// Those of `show`; nothing more is begun then.
pub(super) fn obtain_each(
    session: &mut Session<'_>,
    targets: &[Target],
    wanted: Wanted,
    mut show: impl FnMut(&mut Session<'_>, &Target, Vec<Snapshot>) -> io::Result<()>,
) -> io::Result<()> {
    let [_, _, ..] = targets else {
        return targets.iter().try_for_each(|target| {
            let snapshots = session.obtain(target, wanted);
            show(session, target, snapshots)
        });
    };
    let (from, options) = (session.from, &session.plan.options);
    let steps = Steps::new(session.plan.progress);
    let obtain = |target: &Target| from.obtain(target, wanted, options, &steps.of(target.to_string()));
    std::thread::scope(|scope| {
        let mut waiting = targets.iter();
        let mut in_work = VecDeque::new();
        loop {
            while in_work.len() < most_at_once(options.memory_limit) {
                let Some(target) = waiting.next() else { break };
                let thread = std::thread::Builder::new().spawn_scoped(scope, move || obtain(target));
                in_work.push_back((target, thread));
            }
            let Some((target, thread)) = in_work.pop_front() else { return Ok(()) };
            let obtained = match thread.map(|thread| thread.join()) {
                Ok(Ok(obtained)) => obtained,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                // Without a thread of its own it is its turn now.
                Err(_) => obtain(target),
            };
            let hidden = steps.hide();
            let snapshots = session.accept(obtained);
            show(session, target, snapshots)?;
            drop(hidden);
        }
    })
}

/// How many are in work at the same time: each takes memory of ours. What it may take is foreseen for one alone.
fn most_at_once(memory_limit: Option<u64>) -> usize {
    const MOST: usize = 4;
    match memory_limit {
        Some(_) => 1,
        None => std::thread::available_parallelism().map_or(1, usize::from).min(MOST),
    }
}
