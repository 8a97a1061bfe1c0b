//! What was typed.

use crate::malloc::chunk::ChunkState;
use crate::report::rows::{BadSizeRange, PoolSort, SizeRange};
use crate::snapshot::chunks::ArenaName;
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Which nginx pool owns this worker's memory.
#[derive(Debug, Parser)]
#[command(
    name = "poolscope",
    version,
    about = "Which nginx pool owns this worker's memory?",
    long_about = "Which nginx pool owns this worker's memory?\n\nStops a running nginx worker for some milliseconds, reads \
                  what it needs, lets it go, and then says which ngx_pool_t holds which chunks of the glibc heap, and what \
                  each pool is for. The worker needs no rebuild, no restart and no module; nothing in it is changed.",
    after_help = "Examples:\n  \
                  poolscope snapshot 4242                           who owns its memory\n  \
                  poolscope snapshot $(pgrep -f '^nginx: worker')   the same of each worker\n  \
                  poolscope pools 4242 --owner dyups                a row for each such pool\n  \
                  poolscope chunks 4242 --size 256K..512K           a row for each such chunk\n\n\
                  Exit status: 0 fine; 1 could not do it; 2 wrong usage; 3 done, but incomplete."
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
    /// Show which pools own a worker's heap, and what stands out
    ///
    /// The worker stands still for some milliseconds; the report says how long it was. Several workers are looked at one
    /// after the other.
    Snapshot(SnapshotArgs),
    /// List the pools of a worker, one row each
    ///
    /// Rows say who owns each pool and how that is known, what it holds and what keeps it alive.
    Pools(PoolsArgs),
    /// List the chunks of a worker's heap, one row each
    ///
    /// Rows come in the order of the heap, those with a mapping of their own last.
    Chunks(ChunksArgs),
}

/// `poolscope snapshot`.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  poolscope snapshot 4242\n  poolscope snapshot $(pgrep -f '^nginx: worker')\n  poolscope snapshot \
                  4242 --format json --chunks > worker.json"
)]
pub struct SnapshotArgs {
    /// Process ids of nginx workers
    #[arg(value_name = "PID", required = true, value_parser = parse_pid)]
    pub pids: Vec<i32>,
    /// List the N largest single pools, too
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub top: Option<u32>,
    /// How to write it
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: SnapshotFormat,
    /// Put a row for every chunk into the JSON
    #[arg(long)]
    pub chunks: bool,
}

/// How to write a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum SnapshotFormat {
    /// A report for people
    #[default]
    Table,
    /// All that is known, as one JSON document on one line for each process
    Json,
}

/// `poolscope pools`.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  poolscope pools 4242 --top 20\n  poolscope pools 4242 --owner dyups --state deleting --sort \
                  references\n  poolscope pools 4242 --size 1M.. --format csv > pools.csv"
)]
pub struct PoolsArgs {
    /// Process id of an nginx worker
    #[arg(value_name = "PID", value_parser = parse_pid)]
    pub pid: i32,
    /// Only pools whose kind of owner or whose name (of an upstream, say) contains TEXT, in any case of letters
    #[arg(long, value_name = "TEXT")]
    pub owner: Option<String>,
    /// Only pools whose owner is in this state; most owners have none
    #[arg(long, value_name = "STATE", value_enum)]
    pub state: Option<OwnerState>,
    /// Only pools that hold this many bytes: `1M..`, `256K..512K` (512K excluded), `..4096`
    #[arg(long, value_name = "RANGE", value_parser = parse_size_range)]
    pub size: Option<SizeRange>,
    /// What comes first
    #[arg(long, value_name = "KEY", value_enum, default_value_t)]
    pub sort: SortKey,
    /// At most N rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub top: Option<u32>,
    /// How to write it
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: RowFormat,
}

/// State of a pool's owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OwnerState {
    /// In use
    Live,
    /// Deleted by the operator, and not freed yet; may be written `deleted`
    #[value(alias = "deleted")]
    Deleting,
}

impl OwnerState {
    /// The name used in rows.
    pub fn name(self) -> &'static str {
        match self {
            OwnerState::Live => "live",
            OwnerState::Deleting => "deleting",
        }
    }
}

/// By what pools are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum SortKey {
    /// Most bytes of chunks first
    #[default]
    Bytes,
    /// Most bytes handed out first
    Used,
    /// Most blocks first
    Blocks,
    /// Most references first
    References,
    /// Lowest address first
    Address,
}

impl From<SortKey> for PoolSort {
    fn from(key: SortKey) -> PoolSort {
        match key {
            SortKey::Bytes => PoolSort::Bytes,
            SortKey::Used => PoolSort::Used,
            SortKey::Blocks => PoolSort::Blocks,
            SortKey::References => PoolSort::References,
            SortKey::Address => PoolSort::Address,
        }
    }
}

/// How to write rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum RowFormat {
    /// Columns for people
    #[default]
    Table,
    /// A JSON object on each line
    Ndjson,
    /// Comma-separated values with a heading
    Csv,
    /// One JSON array
    Json,
}

/// `poolscope chunks`.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  poolscope chunks 4242 --size 256K..512K --state in_use\n  poolscope chunks 4242 --owner \
                  outside_pools --format csv > chunks.csv\n  poolscope chunks 4242 --format ndjson | jq -r .owner | sort | uniq -c"
)]
pub struct ChunksArgs {
    /// Process id of an nginx worker
    #[arg(value_name = "PID", value_parser = parse_pid)]
    pub pid: i32,
    /// Only chunks whose kind of owner or whose owner's name (of an upstream, say) contains TEXT, in any case of letters
    #[arg(long, value_name = "TEXT")]
    pub owner: Option<String>,
    /// Only chunks of this size, header included: `256K..512K` (512K excluded), `1M..`, `..4096`, `528`
    #[arg(long, value_name = "RANGE", value_parser = SizeRange::of_chunks)]
    pub size: Option<SizeRange>,
    /// Only chunks in this state
    #[arg(long, value_name = "STATE", value_enum)]
    pub state: Option<StateName>,
    /// Only chunks of this arena: `main`, an arena's address in hex, or `mmapped` for those with a mapping of their own
    #[arg(long, value_name = "ARENA", value_parser = parse_arena)]
    pub arena: Option<ArenaName>,
    /// How to write it
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: RowFormat,
}

/// State of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum StateName {
    /// Handed out to the program
    InUse,
    /// Freed, in a thread's cache
    Tcache,
    /// Freed, in a fastbin
    Fastbin,
    /// Free, in a bin
    Free,
    /// The rest of a heap
    Top,
    /// malloc's own mark at the end of a heap
    Fencepost,
}

impl From<StateName> for ChunkState {
    fn from(name: StateName) -> ChunkState {
        match name {
            StateName::InUse => ChunkState::InUse,
            StateName::Tcache => ChunkState::Tcache,
            StateName::Fastbin => ChunkState::Fastbin,
            StateName::Free => ChunkState::Free,
            StateName::Top => ChunkState::Top,
            StateName::Fencepost => ChunkState::Fencepost,
        }
    }
}

/// Process ids are positive (proc(5)); 0 would be ourselves.
fn parse_pid(text: &str) -> Result<i32, String> {
    match text.parse() {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err(format!("\"{text}\" is not a pid: give the number that `pgrep -af nginx` lists before each process")),
    }
}

fn parse_size_range(text: &str) -> Result<SizeRange, BadSizeRange> {
    text.parse()
}

fn parse_arena(text: &str) -> Result<ArenaName, String> {
    match (text, text.strip_prefix("0x")) {
        ("main", _) => Ok(ArenaName::Main),
        ("mmapped", _) => Ok(ArenaName::Mmapped),
        (_, Some(digits)) => {
            u64::from_str_radix(digits, 16).map(ArenaName::Other).map_err(|_| format!("0x{digits} is not an address"))
        }
        _ => Err("write main, mmapped, or an arena's address such as 0x7f5a2c000030".to_owned()),
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

    #[test]
    fn pids_are_positive_numbers() {
        assert_eq!(parse_pid("4242"), Ok(4242));
        for wrong in ["worker", "0", "-5", "99999999999", ""] {
            assert!(parse_pid(wrong).unwrap_err().contains("is not a pid"));
        }
    }

    #[test]
    fn arenas_are_written_as_in_rows() {
        assert_eq!(parse_arena("main"), Ok(ArenaName::Main));
        assert_eq!(parse_arena("mmapped"), Ok(ArenaName::Mmapped));
        assert_eq!(parse_arena("0x7f5a2c000030"), Ok(ArenaName::Other(0x7f5a_2c00_0030)));
        assert!(parse_arena("0xzz").is_err() && parse_arena("2").is_err());
    }
}
