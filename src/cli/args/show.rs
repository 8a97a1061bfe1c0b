//! Words of the commands that show whole snapshots.

use super::parse_rows;
use super::stop::StopArgs;
use super::target::{ClientArgs, CoreArgs, TargetArg, parse_pid, parse_target};
use clap::{Args as ClapArgs, ValueEnum};
use std::path::PathBuf;

/// `poolscope snapshot`.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  poolscope snapshot 4242\n  poolscope snapshot --workers-of 4241\n  poolscope snapshot \
                  4242 -o before.snap\n  poolscope snapshot 4242 --format json --chunks > worker.json\n  poolscope snapshot --core \
                  core.4242.zst --sysroot /srv/images/gateway"
)]
pub struct SnapshotArgs {
    /// Process ids of nginx workers
    #[arg(
        value_name = "PID",
        required_unless_present_any = ["core", "workers_of"],
        conflicts_with_all = ["core", "workers_of"],
        value_parser = parse_target
    )]
    pub targets: Vec<TargetArg>,
    /// Look at all workers of this nginx master, also those that are shutting down, the largest first
    #[arg(long, value_name = "MASTER", conflicts_with = "core", value_parser = parse_pid)]
    pub workers_of: Option<i32>,
    /// Where a core is.
    #[command(flatten)]
    pub core: CoreArgs,
    /// Save the snapshot, with a row for every chunk; of several processes, each in a file of its own in this directory
    #[arg(long, short, value_name = "FILE|DIR")]
    pub output: Option<PathBuf>,
    /// List the N largest single pools, too
    #[arg(long, value_name = "N", value_parser = parse_rows)]
    pub top: Option<u32>,
    /// What is shown of clients.
    #[command(flatten)]
    pub clients: ClientArgs,
    /// How to write the report
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: SnapshotFormat,
    /// Put a row for every chunk into the JSON
    #[arg(long)]
    pub chunks: bool,
    /// How it may be stopped.
    #[command(flatten)]
    pub stop: StopArgs,
}

/// How to write a snapshot that is being taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum SnapshotFormat {
    /// A report for people
    #[default]
    Table,
    /// All that is known, as one JSON document on one line for each process
    Json,
    /// Gauges for the textfile collector of Prometheus
    Openmetrics,
}

/// `poolscope report`.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  poolscope report before.snap --top 10\n  poolscope report before.snap --format json | jq .owners\n  \
                  poolscope report snapshots/*.snap --format parquet -o fleet/"
)]
pub struct ReportArgs {
    /// Saved snapshots: files of `snapshot -o`, or JSON documents
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// List the N largest single pools, too
    #[arg(long, value_name = "N", value_parser = parse_rows)]
    pub top: Option<u32>,
    /// What is shown of clients.
    #[command(flatten)]
    pub clients: ClientArgs,
    /// How to write it
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: ReportFormat,
    /// Put a row for every chunk into the JSON
    #[arg(long)]
    pub chunks: bool,
    /// Directory for the files of --format parquet
    #[arg(long, short, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// How to write a snapshot that was saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ReportFormat {
    /// A report for people
    #[default]
    Table,
    /// All that is known, as one JSON document on one line for each snapshot
    Json,
    /// Gauges for the textfile collector of Prometheus
    Openmetrics,
    /// Tables for DuckDB and the like: owners by size, pools, and chunks outside pools; needs --output
    Parquet,
}
