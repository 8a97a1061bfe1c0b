//! Commands that show whole snapshots.

use super::target::check_directory;
use super::{Save, ShowFormat, Target, Task, Whose, conflict};
use crate::cli::args::{ReportArgs, ReportFormat, SnapshotArgs, SnapshotFormat, TargetArg};
use crate::report::style::Style;
use crate::report::table::Page;
use crate::snapshot::file::{self, SaveError};
use std::path::PathBuf;

const SNAPSHOT: &str = "snapshot";
const REPORT: &str = "report";

/// `poolscope snapshot`.
pub(super) fn snapshot(args: SnapshotArgs, style: Style) -> Result<Task, clap::Error> {
    let typed = args.targets.into_iter().map(|typed| Target::of(SNAPSHOT, typed));
    let core = args.core.core.map(|core| Target::of_core(SNAPSHOT, core));
    let mut targets = Vec::new();
    for target in typed.chain(core) {
        let target = target?;
        // A worker that is named twice need not stand still twice.
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    let of = args.workers_of.map_or(Whose::Targets(targets), Whose::WorkersOf);
    let save = args.output.map(|output| save(output, &of)).transpose()?;
    let format = match args.format {
        SnapshotFormat::Table if args.chunks => return Err(chunks_without_json(SNAPSHOT)),
        SnapshotFormat::Table => ShowFormat::Table(page(args.top, style)),
        _ if args.top.is_some() => return Err(top_without_table(SNAPSHOT)),
        SnapshotFormat::Json => ShowFormat::Json { chunks: args.chunks },
        SnapshotFormat::Openmetrics if args.chunks => return Err(chunks_without_json(SNAPSHOT)),
        SnapshotFormat::Openmetrics => ShowFormat::OpenMetrics,
    };
    Ok(Task::Show { of, format, save })
}

/// `poolscope report`.
pub(super) fn report(args: ReportArgs, style: Style) -> Result<Task, clap::Error> {
    let typed = args.files.into_iter().map(|file| Target::of(REPORT, TargetArg::File(file)));
    let targets = typed.collect::<Result<Vec<_>, _>>()?;
    if args.chunks && args.format != ReportFormat::Json {
        return Err(chunks_without_json(REPORT));
    }
    if args.top.is_some() && args.format != ReportFormat::Table {
        return Err(top_without_table(REPORT));
    }
    let format = match (args.format, args.output) {
        (ReportFormat::Parquet, Some(directory)) => {
            check_directory(REPORT, "--output", &directory, "one to write the tables into")?;
            ShowFormat::Parquet { directory }
        }
        (ReportFormat::Parquet, None) => {
            return Err(conflict(REPORT, "--format parquet needs --output DIR: it writes several files"));
        }
        (_, Some(_)) => {
            return Err(conflict(REPORT, "--output is for --format parquet: other formats go to standard output"));
        }
        (ReportFormat::Json, None) => ShowFormat::Json { chunks: args.chunks },
        (ReportFormat::Openmetrics, None) => ShowFormat::OpenMetrics,
        (ReportFormat::Table, None) => ShowFormat::Table(page(args.top, style)),
    };
    Ok(Task::Show { of: Whose::Targets(targets), format, save: None })
}

fn page(top: Option<u32>, style: Style) -> Page {
    Page { style, top: top.map_or(0, |top| top as usize) }
}

fn chunks_without_json(command: &str) -> clap::Error {
    conflict(command, "--chunks needs --format json: to list chunks for people, use `poolscope chunks`")
}

fn top_without_table(command: &str) -> clap::Error {
    conflict(command, "--top is for the table: other formats hold all pools")
}

/// What can be told before the process has stood still for it, is.
fn save(output: PathBuf, of: &Whose) -> Result<Save, clap::Error> {
    let refused = |error: SaveError| conflict(SNAPSHOT, &format!("--output: {error}"));
    let names_a_directory = output.as_os_str().as_encoded_bytes().ends_with(b"/");
    match output.is_dir() {
        true => file::can_save_in(&output).map(|()| Save::Directory(output)).map_err(refused),
        false if names_a_directory => Err(conflict(
            SNAPSHOT,
            &format!("--output {}: there is no such directory; make it first", output.display()),
        )),
        false if output.as_os_str() == "-" => {
            Err(conflict(SNAPSHOT, "--output needs a file: to standard output, write with --format json"))
        }
        false if !matches!(of, Whose::Targets(targets) if targets.len() == 1) => Err(conflict(
            SNAPSHOT,
            "--output must be a directory for several processes: each is saved in a file of its own",
        )),
        false => match output.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.is_dir()) {
            Some(parent) => Err(conflict(
                SNAPSHOT,
                &format!("--output {}: there is no directory {}; make it first", output.display(), parent.display()),
            )),
            None => file::can_save(&output).map(|()| Save::File(output)).map_err(refused),
        },
    }
}
