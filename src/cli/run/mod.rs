//! The commands: each obtains a snapshot, chooses what to show of it, and shows it.

mod compare;
mod examine;
mod explain;
mod export;
mod list;
mod processes;
mod several;
mod show;

use super::obtain::Obtain;
use super::outcome::{Outcome, for_terminal, shortcoming};
use super::plan::{Plan, Target, Task};
use super::progress::Steps;
use crate::snapshot::file::Wanted;
use crate::snapshot::model::Snapshot;
use anyhow::Context;
use std::io::{self, Write};

/// Does what is planned. What goes wrong with one of several targets is said on `err`.
///
/// # Errors
/// If `out` cannot be written to.
pub(super) fn run(plan: &Plan, from: &dyn Obtain, out: &mut dyn Write, err: &mut dyn Write) -> anyhow::Result<Outcome> {
    let mut session = Session { plan, from, err, outcome: Outcome::Fine };
    let written = match &plan.task {
        Task::Processes { format } => processes::run(&mut session, *format, out),
        Task::Examine { pids, json } => examine::run(&mut session, pids, *json, out),
        Task::Show { of, format, save } => show::run(&mut session, of, format, save.as_ref(), out),
        Task::Diff { targets, format, allowed } => compare::run(&mut session, targets, *format, *allowed, out),
        Task::Pools { target, filter, sort, top, format } => {
            list::pools(&mut session, target, filter, *sort, *top, *format, out)
        }
        Task::Chunks { target, filter, sort, top, format } => {
            list::chunks(&mut session, target, filter, (*sort, *top), *format, out)
        }
        Task::Explain { target, addresses, top, json } => {
            explain::run(&mut session, target, addresses, *top, *json, out)
        }
    };
    written.and_then(|()| out.flush()).context("cannot write the output")?;
    Ok(session.outcome)
}

/// A command that is being done.
struct Session<'a> {
    plan: &'a Plan,
    from: &'a dyn Obtain,
    err: &'a mut dyn Write,
    outcome: Outcome,
}

impl Session<'_> {
    /// Obtains the snapshots of a target, mostly one, and says why if there is none.
    fn obtain(&mut self, target: &Target, wanted: Wanted) -> Vec<Snapshot> {
        let progress = Steps::new(self.plan.progress);
        let obtained = self.from.obtain(target, wanted, &self.plan.options, &progress);
        drop(progress);
        self.accept(obtained)
    }

    /// What was obtained, as it may be shown; says why if there is nothing.
    fn accept(&mut self, obtained: anyhow::Result<Vec<Snapshot>>) -> Vec<Snapshot> {
        let mut snapshots = obtained.unwrap_or_else(|error| {
            self.fail(&told(&error));
            Vec::new()
        });
        // What was saved with clients in it may be shown to somebody who must not see them.
        if !self.plan.options.show_clients {
            snapshots.iter_mut().for_each(Snapshot::hide_clients);
        }
        snapshots
    }

    /// The same where only one can be looked at.
    fn obtain_one(&mut self, target: &Target, wanted: Wanted) -> Option<Snapshot> {
        let mut obtained = self.obtain(target, wanted);
        match obtained.len() {
            0 => None,
            1 => obtained.pop(),
            count => {
                self.fail(&format!("{target} holds {count} snapshots: give a file with one"));
                None
            }
        }
    }

    /// Says what is missing from a snapshot.
    fn warn(&mut self, target: &Target, snapshot: &Snapshot) {
        let Some(missing) = shortcoming(snapshot) else { return };
        self.outcome = self.outcome.max(Outcome::Incomplete);
        let told = self.plan.task.where_it_is_told(target);
        self.tell(&format!("the snapshot of {target} is incomplete: {missing}; {told}"));
    }

    /// Says why something cannot be done.
    fn fail(&mut self, why: &str) {
        self.outcome = Outcome::Failed;
        self.say(why);
    }

    /// Says something that nobody needs who wants quiet.
    fn tell(&mut self, sentence: &str) {
        if !self.plan.quiet {
            self.say(sentence);
        }
    }

    fn say(&mut self, sentence: &str) {
        // There is nowhere left to say that this cannot be said.
        let _ = writeln!(self.err, "poolscope: {}", for_terminal(sentence));
    }
}

/// An error in one sentence. Those of the library name their cause themselves; what is added here does not.
fn told(error: &anyhow::Error) -> String {
    match error.chain().nth(1) {
        Some(cause) if !error.to_string().contains(&cause.to_string()) => format!("{error:#}"),
        _ => error.to_string(),
    }
}

/// Nothing can be listed.
fn failed(session: &mut Session<'_>, why: &str) -> io::Result<()> {
    session.fail(why);
    Ok(())
}

#[cfg(test)]
mod tests;
