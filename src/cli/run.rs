//! The commands: each takes a snapshot, chooses what to show of it, and shows it.

use super::arena;
use super::outcome::{Outcome, shortcoming, why_no_chunks, why_no_pools};
use super::plan::{ListFormat, Plan, ReportFormat, Task};
use super::progress::Steps;
use crate::analysis::{Options, Progress, SnapshotError};
use crate::report::rows::{self, ChunkFilter, PoolFilter, PoolSort};
use crate::report::{json, table};
use crate::snapshot::model::Snapshot;
use anyhow::Context;
use std::io::{self, Write};

/// Where snapshots come from.
type Take = dyn Fn(i32, &Options, &dyn Progress) -> Result<Snapshot, SnapshotError>;

/// Does what is planned. What goes wrong with one process is said on `err`.
///
/// # Errors
/// If `out` cannot be written to.
pub(super) fn run(plan: &Plan, take: &Take, out: &mut dyn Write, err: &mut dyn Write) -> anyhow::Result<Outcome> {
    let mut session = Session { plan, take, err, outcome: Outcome::Fine };
    let written = match &plan.task {
        Task::Snapshot { pids, format } => session.snapshots(pids, *format, out),
        Task::Pools { pid, filter, sort, top, format } => session.pools(*pid, filter, *sort, *top, *format, out),
        Task::Chunks { pid, filter, format } => session.chunks(*pid, filter, *format, out),
    };
    written.and_then(|()| out.flush()).context("cannot write the output")?;
    Ok(session.outcome)
}

struct Session<'a> {
    plan: &'a Plan,
    take: &'a Take,
    err: &'a mut dyn Write,
    outcome: Outcome,
}

impl Session<'_> {
    fn snapshots(&mut self, pids: &[i32], format: ReportFormat, out: &mut dyn Write) -> io::Result<()> {
        let mut first = true;
        for pid in pids {
            let Some(snapshot) = self.take(*pid) else { continue };
            self.warn(&snapshot);
            match format {
                ReportFormat::Json => json::write(&snapshot, out)?,
                ReportFormat::Table(page) => {
                    if !std::mem::take(&mut first) {
                        out.write_all(b"\n")?;
                    }
                    table::write(&snapshot, &page, out)?;
                }
            }
            out.flush()?;
        }
        Ok(())
    }

    fn pools(
        &mut self,
        pid: i32,
        filter: &PoolFilter,
        sort: PoolSort,
        top: Option<usize>,
        format: ListFormat,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let Some(snapshot) = self.take(pid) else { return Ok(()) };
        if let Some(why) = why_no_pools(&snapshot) {
            return self.fail(&why);
        }
        self.warn(&snapshot);
        let selected = rows::pools(&snapshot, filter, sort, top);
        match format {
            ListFormat::Table { limit } => rows::write_pool_table(&selected, self.plan.style, limit, out),
            ListFormat::Machine(machine) => rows::write(selected.rows.into_iter(), machine, out),
        }
    }

    fn chunks(&mut self, pid: i32, filter: &ChunkFilter, format: ListFormat, out: &mut dyn Write) -> io::Result<()> {
        let Some(snapshot) = self.take(pid) else { return Ok(()) };
        if let Some(why) = why_no_chunks(&snapshot) {
            return self.fail(&why);
        }
        let arena = match filter.arena.map(|arena| arena::find(&snapshot, arena)).transpose() {
            Ok(arena) => arena,
            Err(why) => return self.fail(&why),
        };
        self.warn(&snapshot);
        let filter = ChunkFilter { arena, ..filter.clone() };
        let selected = rows::chunks(&snapshot, &filter);
        match format {
            ListFormat::Table { .. } => rows::write_chunk_table(selected, out),
            ListFormat::Machine(machine) => rows::write(selected, machine, out),
        }
    }

    /// Takes a snapshot, and says why if there is none.
    fn take(&mut self, pid: i32) -> Option<Snapshot> {
        let progress = Steps::new(self.plan.progress);
        let taken = (self.take)(pid, &self.plan.options, &progress);
        drop(progress);
        match taken {
            Ok(snapshot) => Some(snapshot),
            Err(error) => {
                self.outcome = Outcome::Failed;
                self.say(&error.to_string());
                None
            }
        }
    }

    /// Says what is missing from a snapshot.
    fn warn(&mut self, snapshot: &Snapshot) {
        let Some(missing) = shortcoming(snapshot) else { return };
        self.outcome = self.outcome.max(Outcome::Incomplete);
        if !self.plan.quiet {
            let pid = snapshot.process.pid;
            let told = self.plan.task.where_it_is_told(pid);
            self.say(&format!("the snapshot of {pid} is incomplete: {missing}; {told}"));
        }
    }

    /// Says why nothing can be listed.
    fn fail(&mut self, why: &str) -> io::Result<()> {
        self.outcome = Outcome::Failed;
        self.say(why);
        Ok(())
    }

    fn say(&mut self, sentence: &str) {
        // There is nowhere left to say that this cannot be said.
        let _ = writeln!(self.err, "poolscope: {sentence}");
    }
}

#[cfg(test)]
mod tests;
