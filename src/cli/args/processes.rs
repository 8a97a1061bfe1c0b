//! Words of the commands that look at processes without stopping them.

use super::rows::RowFormat;
use super::stop::StopArgs;
use super::target::parse_pid;
use clap::{Args as ClapArgs, ValueEnum};

/// `poolscope ps`.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  poolscope ps\n  poolscope ps --format ndjson | jq -r 'select(.resident > 1e9).pid'\n\nNothing is \
                  stopped. Without root, binaries of others' processes are not known and shown as `?`."
)]
pub struct PsArgs {
    /// How to write it
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: RowFormat,
}

/// `poolscope doctor`.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  poolscope doctor 4242\n  poolscope doctor 4242 --max-pause 5ms\n  poolscope doctor 4242 --format json | \
                  jq .expected_pause\n\nNothing is stopped. Exit status: 0 if a snapshot would work in full, 3 if it would lack \
                  something, 1 if there can be none."
)]
pub struct DoctorArgs {
    /// Process ids of nginx workers
    #[arg(value_name = "PID", required = true, value_parser = parse_pid)]
    pub pids: Vec<i32>,
    /// How to write it
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: DoctorFormat,
    /// How it may be stopped by a snapshot.
    #[command(flatten)]
    pub stop: StopArgs,
}

/// How to write a diagnosis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum DoctorFormat {
    /// A list for people
    #[default]
    Table,
    /// A JSON document on one line for each process
    Json,
}
