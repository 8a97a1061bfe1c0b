//! The Parquet files of one export.

use crate::report::parquet::{GroupRow, OwnerRow, PoolLine, Table};
use crate::snapshot::human::utc_compact;
use crate::snapshot::model::Snapshot;
use anyhow::Context;
use std::fs::{File, OpenOptions};
use std::io::BufWriter;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// All tables while they are being written. Files that are not finished have another ending, which no query reads, and are
/// removed.
pub(super) struct Tables {
    owners: Part<OwnerRow>,
    pools: Part<PoolLine>,
    groups: Part<GroupRow>,
}

impl Tables {
    /// Begins a file for each in a directory, named after the time of the export and our pid, so that each export has its own.
    pub(super) fn create(directory: &Path) -> anyhow::Result<Tables> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let which = format!("{}-{}", utc_compact(now.as_secs()), std::process::id());
        Ok(Tables {
            owners: Part::create(directory.join(format!("owners-{which}.parquet")))?,
            pools: Part::create(directory.join(format!("pools-{which}.parquet")))?,
            groups: Part::create(directory.join(format!("groups-{which}.parquet")))?,
        })
    }

    /// Adds the rows of a snapshot.
    pub(super) fn add(&mut self, snapshot: &Snapshot) -> anyhow::Result<()> {
        self.owners.add(snapshot)?;
        self.pools.add(snapshot)?;
        self.groups.add(snapshot)
    }

    /// Ends all files, and gives back their names.
    pub(super) fn finish(self) -> anyhow::Result<[PathBuf; 3]> {
        let (owners, pools, groups) = (self.owners.complete()?, self.pools.complete()?, self.groups.complete()?);
        Ok([owners.publish()?, pools.publish()?, groups.publish()?])
    }
}

/// One file.
struct Part<R> {
    table: Option<Table<R, BufWriter<File>>>,
    /// Where it is being written.
    draft: PathBuf,
    path: PathBuf,
}

impl<R: crate::report::parquet::Record> Part<R> {
    fn create(path: PathBuf) -> anyhow::Result<Part<R>> {
        let draft = path.with_extension("parquet.part");
        let written = || format!("cannot write {}", draft.display());
        // As snapshots are: names of upstreams and addresses are for nobody else.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).with_context(written)?;
        let table = Table::create(BufWriter::new(file)).with_context(written)?;
        Ok(Part { table: Some(table), draft, path })
    }

    fn add(&mut self, snapshot: &Snapshot) -> anyhow::Result<()> {
        let Some(table) = &mut self.table else { return Ok(()) };
        table.add(snapshot).with_context(|| format!("cannot write {}", self.draft.display()))
    }

    /// Writes what is left to disk.
    fn complete(mut self) -> anyhow::Result<Part<R>> {
        let written = || format!("cannot write {}", self.draft.display());
        if let Some(table) = self.table.take() {
            table.finish().with_context(written)?;
        }
        File::open(&self.draft).and_then(|file| file.sync_all()).with_context(written)?;
        Ok(self)
    }

    /// Gives it the name by which queries find it.
    fn publish(mut self) -> anyhow::Result<PathBuf> {
        std::fs::rename(&self.draft, &self.path).with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(std::mem::take(&mut self.path))
    }
}

impl<R> Drop for Part<R> {
    /// Gone already, if it was finished.
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.draft);
    }
}
