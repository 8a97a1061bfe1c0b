//! What was typed. One file for the words of each group of commands.

mod diff;
mod explain;
mod processes;
mod rows;
mod show;
mod stop;
mod target;

pub use diff::{DiffArgs, DiffFormat};
pub use explain::{ExplainArgs, ExplainFormat};
pub use processes::{DoctorArgs, DoctorFormat, PsArgs};
pub use rows::{ChunkKey, ChunksArgs, PoolsArgs, RowFormat, SortKey, StateName, TrustName};
pub use show::{ReportArgs, ReportFormat, SnapshotArgs, SnapshotFormat};
pub use target::{ClientArgs, CoreArgs, OneTarget, TargetArg};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;
use stop::StopArgs;

/// Which nginx pool owns this worker's memory.
#[derive(Debug, Parser)]
#[command(
    name = "poolscope",
    version,
    about = "Which nginx pool owns this worker's memory?",
    long_about = "Which nginx pool owns this worker's memory?\n\nStops a running nginx worker for some milliseconds, reads \
                  what it needs, lets it go, and then says which ngx_pool_t holds which chunks of the glibc heap, and what \
                  each pool is for. The worker needs no rebuild, no restart and no module; nothing in it is changed. It does \
                  the same on core dumps, and compares snapshots.",
    after_help = "Examples:\n  \
                  poolscope ps                              which worker is the large one\n  \
                  poolscope doctor 4242                     what a snapshot would show, and how long it would take\n  \
                  poolscope snapshot 4242                   who owns its memory\n  \
                  poolscope snapshot --workers-of 4241      the same of each worker of this master\n  \
                  poolscope snapshot 4242 -o before.snap    the same, kept for later\n  \
                  poolscope diff before.snap 4242           what has grown since, and how fast\n  \
                  poolscope snapshot --core core.4242       the same from a core dump\n  \
                  poolscope pools 4242 --owner dyups        a row for each such pool\n  \
                  poolscope chunks 4242 --size 256K..512K   a row for each such chunk\n  \
                  poolscope explain 4242 0x55d0c8a3f2b0     what is at this address, and who points there\n\n\
                  Exit status: 0 fine; 1 could not do it; 2 wrong usage; 3 done, but incomplete; 4 grew more than allowed."
)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What goes with every command.
    #[command(flatten)]
    pub global: GlobalArgs,
}

/// Options of every command.
#[derive(Debug, Clone, ClapArgs)]
pub struct GlobalArgs {
    /// Look for debug info in DIR first; it is laid out as /usr/lib/debug is. May be given several times
    #[arg(long, global = true, value_name = "DIR", help_heading = "Common options")]
    pub debug_dir: Vec<PathBuf>,
    /// When to use colours; `auto` is on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t, help_heading = "Common options")]
    pub color: ColorChoice,
    /// Show no progress and no warnings
    #[arg(long, short, global = true, help_heading = "Common options")]
    pub quiet: bool,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the nginx masters and workers on this machine
    ///
    /// Workers stand below their master, those with most memory first.
    Ps(PsArgs),
    /// Say what would work and what stands in the way, without stopping anything
    ///
    /// Permissions, debug info and where it was looked for, allocator, and how long a snapshot would stop the worker, by a
    /// rehearsal on the running process.
    Doctor(DoctorArgs),
    /// Show which pools own a worker's heap, and what stands out
    ///
    /// The worker stands still for some milliseconds; the report says how long it was. Several workers are stopped one
    /// after the other. With --core, a core dump is read instead.
    Snapshot(SnapshotArgs),
    /// Show saved snapshots again
    Report(ReportArgs),
    /// Say what grew between two snapshots or more, and how fast
    ///
    /// Each may be a saved snapshot, a core dump, or the pid of a running worker. With three or more, the trend is shown,
    /// too. Single pools are compared within one process only.
    Diff(DiffArgs),
    /// List the pools of a worker, one row each
    ///
    /// Rows say who owns each pool and how that is known, what it holds and what keeps it alive.
    Pools(PoolsArgs),
    /// List the chunks of a worker's heap, one row each
    ///
    /// Rows come in the order of the heap, those with a mapping of their own last.
    Chunks(ChunksArgs),
    /// Say what is at an address: mapping, chunk, pool, owner; and who points there
    Explain(ExplainArgs),
}

impl Command {
    /// Whether clients are to be shown.
    pub fn shows_clients(&self) -> bool {
        let args = match self {
            Command::Snapshot(args) => args.clients,
            Command::Report(args) => args.clients,
            Command::Diff(args) => args.clients,
            Command::Pools(args) => args.clients,
            Command::Explain(args) => args.clients,
            // Rows of chunks say nothing of clients.
            Command::Chunks(_) => ClientArgs::default(),
            Command::Ps(_) | Command::Doctor(_) => ClientArgs::default(),
        };
        args.show_clients
    }

    /// How long a running process may stand still at a time, if that is limited.
    pub fn max_pause(&self) -> Option<Duration> {
        self.stop()?.longest()
    }

    /// Bytes of memory that poolscope may take, if that is limited.
    pub fn memory_limit(&self) -> Option<u64> {
        self.stop()?.memory_limit
    }

    fn stop(&self) -> Option<StopArgs> {
        Some(match self {
            Command::Snapshot(args) => args.stop,
            Command::Diff(args) => args.stop,
            Command::Pools(args) => args.stop,
            Command::Chunks(args) => args.stop,
            Command::Explain(args) => args.stop,
            Command::Doctor(args) => args.stop,
            // Nothing is stopped.
            Command::Report(_) | Command::Ps(_) => return None,
        })
    }

    /// The word that it is typed with.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Ps(_) => "ps",
            Command::Doctor(_) => "doctor",
            Command::Snapshot(_) => "snapshot",
            Command::Report(_) => "report",
            Command::Diff(_) => "diff",
            Command::Pools(_) => "pools",
            Command::Chunks(_) => "chunks",
            Command::Explain(_) => "explain",
        }
    }
}

/// A positive number of rows.
fn parse_rows(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("\"{text}\" is not a number of rows: give 1 or more")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }
}
