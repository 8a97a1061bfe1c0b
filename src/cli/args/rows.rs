//! Words of the commands that list pools and chunks.

use super::parse_rows;
use super::target::OneTarget;
use crate::malloc::chunk::ChunkState;
use crate::report::rows::{BadSizeRange, PoolSort, SizeRange};
use crate::snapshot::chunks::ArenaName;
use clap::{Args as ClapArgs, ValueEnum};

/// `poolscope pools`.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  poolscope pools 4242 --top 20\n  poolscope pools 4242 --owner dyups --state deleting --sort \
                  references\n  poolscope pools 4242 --size 1M.. --format csv > pools.csv"
)]
pub struct PoolsArgs {
    /// What the list is of.
    #[command(flatten)]
    pub of: OneTarget,
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
    #[arg(long, value_name = "N", value_parser = parse_rows)]
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
    /// What the list is of.
    #[command(flatten)]
    pub of: OneTarget,
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

    #[test]
    fn arenas_are_written_as_in_rows() {
        assert_eq!(parse_arena("main"), Ok(ArenaName::Main));
        assert_eq!(parse_arena("mmapped"), Ok(ArenaName::Mmapped));
        assert_eq!(parse_arena("0x7f5a2c000030"), Ok(ArenaName::Other(0x7f5a_2c00_0030)));
        assert!(parse_arena("0xzz").is_err() && parse_arena("2").is_err());
    }
}
