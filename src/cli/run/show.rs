//! Whole snapshots: shown, and saved.

use super::export::Tables;
use super::{Session, several};
use crate::cli::plan::{Save, ShowFormat, Target, Whose};
use crate::report::json;
use crate::report::openmetrics::Exposition;
use crate::report::table::{self, Page};
use crate::snapshot::file::{self, Wanted};
use crate::snapshot::human::{human_bytes, utc_compact};
use crate::snapshot::model::Snapshot;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// `poolscope snapshot` and `poolscope report`.
pub(super) fn run(
    session: &mut Session<'_>,
    of: &Whose,
    format: &ShowFormat,
    save: Option<&Save>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Some(targets) = targets(session, of) else { return Ok(()) };
    let Some(mut view) = View::of(session, format) else { return Ok(()) };
    let wanted = Wanted { pools: true, chunks: session.plan.options.with_chunks };
    several::obtain_each(session, &targets, wanted, |session, target, snapshots| {
        for snapshot in snapshots {
            session.warn(target, &snapshot);
            if let Some(save) = save {
                keep(session, &snapshot, save);
            }
            view.add(session, snapshot, out)?;
            out.flush()?;
        }
        Ok(())
    })?;
    view.end(session, out)
}

/// Whom to look at; says why if that cannot be told.
fn targets(session: &mut Session<'_>, of: &Whose) -> Option<Vec<Target>> {
    match of {
        Whose::Targets(targets) => Some(targets.clone()),
        Whose::WorkersOf(master) => match session.from.workers_of(*master) {
            Ok(workers) => Some(workers.into_iter().map(Target::Pid).collect()),
            Err(error) => {
                session.fail(&super::told(&error));
                None
            }
        },
    }
}

/// How snapshots are shown, and what of them waits for the end: several may make one text or table.
enum View {
    Table { page: Page, is_first: bool },
    Json { chunks: bool },
    OpenMetrics { gauges: Exposition, is_empty: bool },
    Parquet { tables: Box<Tables>, is_empty: bool },
}

impl View {
    fn of(session: &mut Session<'_>, format: &ShowFormat) -> Option<View> {
        Some(match format {
            ShowFormat::Table(page) => View::Table { page: *page, is_first: true },
            ShowFormat::Json { chunks } => View::Json { chunks: *chunks },
            ShowFormat::OpenMetrics => View::OpenMetrics { gauges: Exposition::default(), is_empty: true },
            ShowFormat::Parquet { directory } => match Tables::create(directory) {
                Ok(tables) => View::Parquet { tables: Box::new(tables), is_empty: true },
                Err(error) => {
                    session.fail(&format!("{error:#}"));
                    return None;
                }
            },
        })
    }

    fn add(&mut self, session: &mut Session<'_>, mut snapshot: Snapshot, out: &mut dyn Write) -> io::Result<()> {
        match self {
            View::Table { page, is_first } => {
                if !std::mem::take(is_first) {
                    out.write_all(b"\n")?;
                }
                table::write(&snapshot, page, out)
            }
            View::Json { chunks } => {
                snapshot.chunks = snapshot.chunks.filter(|_| *chunks);
                json::write(&snapshot, out)
            }
            View::OpenMetrics { gauges, is_empty } => {
                match gauges.add(&snapshot) {
                    Ok(()) => *is_empty = false,
                    Err(error) => session.fail(&error.to_string()),
                }
                Ok(())
            }
            View::Parquet { tables, is_empty } => {
                match tables.add(&snapshot) {
                    Ok(()) => *is_empty = false,
                    Err(error) => session.fail(&format!("{error:#}")),
                }
                Ok(())
            }
        }
    }

    fn end(self, session: &mut Session<'_>, out: &mut dyn Write) -> io::Result<()> {
        match self {
            View::Table { .. } | View::Json { .. } => Ok(()),
            // A file without any gauge would take the place of a good one, and a table without rows says nothing.
            View::OpenMetrics { is_empty: true, .. } | View::Parquet { is_empty: true, .. } => Ok(()),
            View::OpenMetrics { gauges, .. } => gauges.write(out),
            View::Parquet { tables, .. } => {
                match tables.finish() {
                    Ok(names) => names.iter().for_each(|name| session.tell(&format!("wrote {}", name.display()))),
                    Err(error) => session.fail(&format!("{error:#}")),
                }
                Ok(())
            }
        }
    }
}

/// Saves a snapshot. That it cannot be saved is said, and does not keep it from being shown.
fn keep(session: &mut Session<'_>, snapshot: &Snapshot, save: &Save) {
    let path = match save {
        Save::File(path) => path.clone(),
        Save::Directory(directory) => free_name(directory, snapshot),
    };
    match file::save(snapshot, &path) {
        Ok(()) => {
            let size = std::fs::metadata(&path).map(|data| format!(" ({})", human_bytes(data.len())));
            session.tell(&format!("saved {}{}", path.display(), size.unwrap_or_default()));
        }
        Err(error) => session.fail(&error.to_string()),
    }
}

/// A name in the directory that nothing has yet: several snapshots of a process may be taken in one second.
fn free_name(directory: &Path, snapshot: &Snapshot) -> PathBuf {
    const MOST: u32 = 10_000;
    let path = |number| directory.join(file_name(snapshot, number));
    (1..MOST).map(path).find(|path| !path.exists()).unwrap_or_else(|| path(MOST))
}

/// `nginx-4242-20260301T040500Z.snap`: whose it is and when it was taken, in an order that sorts.
fn file_name(snapshot: &Snapshot, number: u32) -> PathBuf {
    let executable = PathBuf::from(&snapshot.process.executable);
    let name = executable.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = if name.is_empty() { "process".to_owned() } else { name };
    let number = if number > 1 { format!("-{number}") } else { String::new() };
    format!("{name}-{}-{}{number}.snap", snapshot.process.pid, utc_compact(snapshot.taken_at as u64)).into()
}
