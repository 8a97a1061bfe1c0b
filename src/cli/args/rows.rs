//! Words of the commands that list pools and chunks.

use super::parse_rows;
use super::stop::StopArgs;
use super::target::{ClientArgs, OneTarget};
use crate::malloc::chunk::ChunkState;
use crate::report::rows::{BadSizeRange, ChunkSort, PoolKey, SizeRange};
use crate::snapshot::chunks::ArenaName;
use crate::snapshot::pool::Trust;
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
    /// Only pools whose kind of owner or whose name (of an upstream, say) contains TEXT, in any case of letters; if none does,
    /// the kinds that there are are named
    #[arg(long, value_name = "TEXT")]
    pub owner: Option<String>,
    /// Only pools whose owner is in this state: `live`, `deleting`, `idle`, `upgraded`, …; most owners have none
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
    /// Only pools whose owner's name (of an upstream, a location, a listening socket) contains TEXT, in any case of letters
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
    /// Only pools whose owner is known in this way
    #[arg(long, value_name = "TRUST", value_enum)]
    pub trust: Option<TrustName>,
    /// Only pools whose owner is at least this old: `90s`, `10m`, `3h`, `2d`; not those whose age is not known
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    pub min_age: Option<u64>,
    /// Only pools that hold this many bytes: `1M..`, `256K..512K` (512K excluded), `..4096`
    #[arg(long, value_name = "RANGE", value_parser = parse_size_range)]
    pub size: Option<SizeRange>,
    /// What comes first
    #[arg(long, value_name = "KEY", value_enum, default_value_t)]
    pub sort: SortKey,
    /// Sort the other way round; what is not known comes last all the same
    #[arg(long)]
    pub reverse: bool,
    /// At most N rows
    #[arg(long, value_name = "N", value_parser = parse_rows)]
    pub top: Option<u32>,
    /// What is shown of clients.
    #[command(flatten)]
    pub clients: ClientArgs,
    /// How to write it
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: RowFormat,
    /// How it may be stopped.
    #[command(flatten)]
    pub stop: StopArgs,
}

/// How an owner is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum TrustName {
    /// By a typed path from a root
    TypedPath,
    /// By a path of which a type had to be inferred
    InferredPath,
    /// By a path in built-in layouts: the binary has no debug info
    BuiltInPath,
    /// Something in use points to it
    Referenced,
    /// It looks like a pool, and nothing known leads there
    Signature,
}

impl From<TrustName> for Trust {
    fn from(name: TrustName) -> Trust {
        match name {
            TrustName::TypedPath => Trust::TypedPath,
            TrustName::InferredPath => Trust::InferredPath,
            TrustName::BuiltInPath => Trust::BuiltInPath,
            TrustName::Referenced => Trust::Referenced,
            TrustName::Signature => Trust::Signature,
        }
    }
}

/// By what pools are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum SortKey {
    /// Most bytes of chunks first
    #[default]
    Bytes,
    /// Oldest owner first
    Age,
    /// Most bytes handed out first
    Used,
    /// Most bytes that can still be handed out first
    Unused,
    /// Most blocks first
    Blocks,
    /// Most large allocations first
    Large,
    /// Most references first
    References,
    /// Lowest address first
    Address,
}

impl From<SortKey> for PoolKey {
    fn from(key: SortKey) -> PoolKey {
        match key {
            SortKey::Bytes => PoolKey::Bytes,
            SortKey::Age => PoolKey::Age,
            SortKey::Used => PoolKey::Used,
            SortKey::Unused => PoolKey::Unused,
            SortKey::Blocks => PoolKey::Blocks,
            SortKey::Large => PoolKey::Large,
            SortKey::References => PoolKey::References,
            SortKey::Address => PoolKey::Address,
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
                  openssl --sort size --format csv > chunks.csv\n  poolscope chunks 4242 --format ndjson | jq -r .owner | sort | uniq -c"
)]
pub struct ChunksArgs {
    /// What the list is of.
    #[command(flatten)]
    pub of: OneTarget,
    /// Only chunks whose kind of owner or whose owner's name (of an upstream, say) contains TEXT, in any case of letters;
    /// `outside_pools` is all that is in use outside pools
    #[arg(long, value_name = "TEXT")]
    pub owner: Option<String>,
    /// Only chunks whose group (`SSL_SESSION`) or whose pool's owner has a name that contains TEXT, in any case of letters
    #[arg(long, visible_alias = "group", value_name = "TEXT")]
    pub name: Option<String>,
    /// Only chunks of this size, header included: `256K..512K` (512K excluded), `1M..`, `..4096`, `528`
    #[arg(long, value_name = "RANGE", value_parser = SizeRange::of_chunks)]
    pub size: Option<SizeRange>,
    /// Only chunks in this state
    #[arg(long, value_name = "STATE", value_enum)]
    pub state: Option<StateName>,
    /// Only chunks of this arena: `main`, an arena's address in hex, or `mmapped` for those with a mapping of their own
    #[arg(long, value_name = "ARENA", value_parser = parse_arena)]
    pub arena: Option<ArenaName>,
    /// What comes first; any but `heap` keeps all rows in memory until they are sorted
    #[arg(long, value_name = "KEY", value_enum, default_value_t)]
    pub sort: ChunkKey,
    /// At most N rows
    #[arg(long, value_name = "N", value_parser = parse_rows)]
    pub top: Option<u32>,
    /// How to write it
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: RowFormat,
    /// How it may be stopped.
    #[command(flatten)]
    pub stop: StopArgs,
}

/// By what chunks are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ChunkKey {
    /// As they lie in the heap
    #[default]
    Heap,
    /// Lowest address first
    Address,
    /// Largest first
    Size,
    /// By kind of owner and group, those with most bytes first, then by size
    Owner,
}

impl From<ChunkKey> for ChunkSort {
    fn from(key: ChunkKey) -> ChunkSort {
        match key {
            ChunkKey::Heap => ChunkSort::Heap,
            ChunkKey::Address => ChunkSort::Address,
            ChunkKey::Size => ChunkSort::Size,
            ChunkKey::Owner => ChunkSort::Owner,
        }
    }
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

/// An age in milliseconds: a number with s, m, h or d.
fn parse_age(text: &str) -> Result<u64, String> {
    let bad = || format!("\"{text}\" is not an age: write a number with s, m, h or d, such as 90s, 10m, 3h or 2d");
    let text = text.trim();
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit.trim() {
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(bad()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(milliseconds)).ok_or_else(bad)
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
    fn ages_are_numbers_with_a_unit() {
        assert_eq!(parse_age("90s"), Ok(90_000));
        assert_eq!(parse_age("3 h"), Ok(10_800_000));
        assert_eq!(parse_age("2d"), Ok(172_800_000));
        for wrong in ["", "3", "h", "-3h", "3w", "18446744073709551615d"] {
            assert!(parse_age(wrong).is_err(), "{wrong}");
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
