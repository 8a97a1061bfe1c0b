//! Words of the command that compares.

use super::parse_rows;
use super::stop::StopArgs;
use super::target::{ClientArgs, TargetArg, parse_target};
use clap::{Args as ClapArgs, ValueEnum};
use std::path::PathBuf;

/// `poolscope diff`.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  poolscope diff before.snap after.snap\n  poolscope diff before.snap 4242               against what \
                  runs now\n  poolscope diff monday.snap tuesday.snap wednesday.snap\n  poolscope diff before.snap after.snap \
                  --fail-on-growth 50M && echo flat"
)]
pub struct DiffArgs {
    /// Two or more: saved snapshots, core dumps, or process ids
    #[arg(value_names = ["OLD", "NEW"], required = true, num_args = 2.., value_parser = parse_target)]
    pub targets: Vec<TargetArg>,
    /// The binary that cores are of, if it is not where it was
    #[arg(long, value_name = "FILE")]
    pub exe: Option<PathBuf>,
    /// Where the files of the machine that cores are of lie: binary, libraries, debug info
    #[arg(long, value_name = "DIR")]
    pub sysroot: Option<PathBuf>,
    /// At most N single pools of each kind of change
    #[arg(long, value_name = "N", value_parser = parse_rows)]
    pub top: Option<u32>,
    /// What is shown of clients.
    #[command(flatten)]
    pub clients: ClientArgs,
    /// How to write it
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: DiffFormat,
    /// End with status 4 if what is in use has grown by more than SIZE (`50M`)
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub fail_on_growth: Option<u64>,
    /// How it may be stopped.
    #[command(flatten)]
    pub stop: StopArgs,
}

/// How to write a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum DiffFormat {
    /// A report for people
    #[default]
    Table,
    /// All that is known, as one JSON document
    Json,
    /// A JSON object on each line, for each pool that changed
    Ndjson,
    /// Comma-separated values with a heading, a record for each pool that changed
    Csv,
}

fn parse_size(text: &str) -> Result<u64, String> {
    crate::report::rows::parse_size(text).map_err(|error| error.to_string())
}
