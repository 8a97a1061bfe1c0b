//! Where snapshots come from: a running process, a core, or a file that one was saved in.

use super::plan::Target;
use crate::analysis::doctor::{self, Diagnosis};
use crate::analysis::processes::{self, Listed};
use crate::analysis::{self, KnownFiles, Options, Progress};
use crate::snapshot::explanation::Explanation;
use crate::snapshot::file::{self, Wanted};
use crate::snapshot::model::Snapshot;
use anyhow::Context;
use std::path::Path;

/// Finds processes, and makes snapshots of targets, also of several at once.
pub(super) trait Obtain: Sync {
    /// Every nginx process.
    fn processes(&self) -> Vec<Listed>;

    /// The workers of a master, largest first.
    fn workers_of(&self, master: i32) -> anyhow::Result<Vec<i32>>;

    /// What stands in the way of a snapshot of a process.
    fn examine(&self, pid: i32, options: &Options, progress: &dyn Progress) -> anyhow::Result<Diagnosis>;

    /// The snapshots of a target: one, or as many as its file holds.
    fn obtain(
        &self,
        target: &Target,
        wanted: Wanted,
        options: &Options,
        progress: &dyn Progress,
    ) -> anyhow::Result<Vec<Snapshot>>;

    /// What is at these addresses.
    fn explain(
        &self,
        target: &Target,
        addresses: &[u64],
        options: &Options,
        progress: &dyn Progress,
    ) -> anyhow::Result<(Snapshot, Vec<Explanation>)>;
}

/// The real ones.
#[derive(Default)]
pub(super) struct Real {
    known: KnownFiles,
}

impl Obtain for Real {
    fn processes(&self) -> Vec<Listed> {
        processes::list()
    }

    fn workers_of(&self, master: i32) -> anyhow::Result<Vec<i32>> {
        Ok(processes::workers_of(master)?)
    }

    fn examine(&self, pid: i32, options: &Options, progress: &dyn Progress) -> anyhow::Result<Diagnosis> {
        Ok(doctor::examine(pid, options, &self.known, progress)?)
    }

    fn obtain(
        &self,
        target: &Target,
        wanted: Wanted,
        options: &Options,
        progress: &dyn Progress,
    ) -> anyhow::Result<Vec<Snapshot>> {
        Ok(match target {
            Target::Pid(pid) => vec![analysis::take_knowing(*pid, options, &self.known, progress)?],
            Target::Core(path) => vec![analysis::read_core(path, options, progress)?],
            Target::File(path) if is_snapshot(path)? => {
                progress.step("reading the snapshot");
                vec![file::load(path, wanted)?]
            }
            Target::File(path) => vec![analysis::read_core(path, options, progress)?],
        })
    }

    fn explain(
        &self,
        target: &Target,
        addresses: &[u64],
        options: &Options,
        progress: &dyn Progress,
    ) -> anyhow::Result<(Snapshot, Vec<Explanation>)> {
        Ok(match target {
            Target::Pid(pid) => analysis::explain_live(*pid, addresses, options, progress)?,
            Target::Core(path) => analysis::explain_core(path, addresses, options, progress)?,
            Target::File(path) if is_snapshot(path)? => {
                let snapshot = file::load(path, Wanted { pools: true, chunks: true })?;
                let explained = analysis::explain_saved(&snapshot, addresses);
                (snapshot, explained)
            }
            Target::File(path) => analysis::explain_core(path, addresses, options, progress)?,
        })
    }
}

/// True if the file is to be read as a saved snapshot, whatever its name; false if it is to be read as a core.
fn is_snapshot(path: &Path) -> anyhow::Result<bool> {
    // To look at what comes through a pipe takes it away from whoever reads it next.
    let is_stream = std::fs::metadata(path).is_ok_and(|data| !data.is_file() && !data.is_dir());
    anyhow::ensure!(
        !is_stream,
        "{} is no regular file: give a core that comes through a pipe with --core, and save a snapshot to a file first",
        path.display()
    );
    let look = file::look_at(path).with_context(|| format!("cannot read {}", path.display()))?;
    // What is neither is best told by the reader of snapshots: it says what the file looks like.
    Ok(!matches!(look, file::Look::Core | file::Look::Elf))
}
