//! What is known of a process after a snapshot. Addresses are running addresses; sizes are bytes unless a name says
//! otherwise.

use super::finding::Finding;
use super::sizes::SizeHistogram;
use crate::malloc::books::{Books, Mallinfo};
use crate::malloc::chunk::ChunkState;
use serde::{Serialize, Serializer};

/// Version of the published schema (docs/snapshot-schema.md). It grows when a field changes its meaning or goes away;
/// fields may be added without.
pub const SCHEMA_VERSION: u32 = 1;

/// An address, written as a hex string where a snapshot is serialised: JSON readers keep only 53 bits of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HexAddr(pub u64);

impl Serialize for HexAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

impl std::fmt::Display for HexAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A snapshot of one process.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Version of poolscope that took it.
    pub poolscope_version: String,
    /// When it was taken, in seconds since 1970 (UTC).
    pub taken_at: u64,
    /// Whom it shows.
    pub process: ProcessInfo,
    /// How the process was stopped.
    pub freeze: FreezeInfo,
    /// Where structure layouts come from.
    pub layouts: Layouts,
    /// Where the memory of the process is.
    pub memory: Vec<MemoryRow>,
    /// How much of what glibc got from the kernel was accounted for, from 0 to 1. Absent if the heap could not be walked.
    pub coverage: Option<f64>,
    /// malloc's books against what was found. Absent if the heap could not be walked.
    pub books: Option<Books>,
    /// What `mallinfo2(3)` would have returned. Absent if the heap could not be walked.
    pub mallinfo: Option<Mallinfo>,
    /// malloc's thresholds, where known.
    pub thresholds: Option<Thresholds>,
    /// Why there is no heap or there are no pools, one sentence each, and what is known to be incomplete.
    pub notes: Vec<String>,
    /// Chunks in use by owner: most bytes first. Their sum is all that is in use.
    pub owners: Vec<OwnerSummary>,
    /// The two ways to find pools, compared.
    pub pool_check: PoolCheck,
    /// Every pool: most bytes first.
    pub pools: Vec<PoolRow>,
    /// What stands out, most important first.
    pub findings: Vec<Finding>,
    /// Every chunk, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunks: Option<Vec<ChunkRow>>,
}

/// Identity of the process.
#[derive(Debug, Clone, Serialize)]
pub struct ProcessInfo {
    /// Its pid.
    pub pid: i32,
    /// Its parent's pid.
    pub parent: i32,
    /// What it is, by its title: `worker`, `master`, …; `process` if it does not look like nginx.
    pub role: String,
    /// Its command line, which nginx uses as a title.
    pub title: String,
    /// Path of its binary, in its own mount namespace.
    pub executable: String,
    /// Build-id of its binary, in hex.
    pub build_id: Option<String>,
    /// Name and version of the server, as its binary states it: `nginx/1.28.3`.
    pub server: Option<String>,
    /// Seconds since it started.
    pub age_seconds: u64,
    /// When it started, in clock ticks after boot.
    pub start_ticks: u64,
    /// How many threads it has.
    pub threads: usize,
    /// Its resident bytes before it was stopped.
    pub resident: u64,
    /// The allocator: `glibc`, `musl`, `jemalloc`, …
    pub allocator: String,
    /// Version of glibc, if that is the allocator and tells it.
    pub allocator_version: Option<String>,
}

/// The stop.
#[derive(Debug, Clone, Serialize)]
pub struct FreezeInfo {
    /// The longest time that a thread stood still, in microseconds.
    pub pause_microseconds: u64,
    /// Where it stood: `between_events`, `in_system_call`, `in_user_code`.
    pub place: String,
    /// How many stops were made.
    pub stops: u32,
    /// Bytes of the target's memory that were read during the stop.
    pub bytes_read: u64,
}

/// Where layouts come from.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Layouts {
    /// Those of the nginx binary.
    pub nginx: LayoutSource,
    /// Those of glibc.
    pub glibc: LayoutSource,
}

/// The origin of structure layouts.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LayoutSource {
    /// `dwarf`; `built_in` for pools of a binary without debug info; or `none`.
    pub kind: String,
    /// The file they were read from.
    pub file: Option<String>,
    /// How that file is known to belong to the running build: `same_file`, `build_id`, `checksum`.
    pub verified_by: Option<String>,
    /// Why there are none.
    pub problem: Option<String>,
    /// Every place that was looked at for debug info and not taken, with the reason.
    pub tried: Vec<String>,
}

/// One row of the breakdown.
#[derive(Debug, Clone, Serialize)]
pub struct MemoryRow {
    /// What it is, as a stable name: `glibc_in_use`, `glibc_in_use_pools`, `glibc_in_use_other`, `glibc_free`,
    /// `glibc_own`, `brk_heap` (of a heap that was not walked), `shared_memory`, `other_anonymous`, `files`, `stacks`.
    pub kind: String,
    /// What it is, for people.
    pub label: String,
    /// True if it is a part of the row above it that is not nested.
    pub nested: bool,
    /// Bytes of address space, or of chunks.
    pub size: u64,
    /// Bytes in memory; absent where that cannot be told.
    pub resident: Option<u64>,
    /// Bytes swapped out; absent where that cannot be told.
    pub swapped: Option<u64>,
}

/// malloc's parameters that decide what happens to freed memory.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Thresholds {
    /// Requests from this size on get a mapping of their own.
    pub mmap_threshold: u64,
    /// A top larger than this is given back to the kernel.
    pub trim_threshold: u64,
    /// True if freeing a mapped chunk does not raise the two any more.
    pub fixed: bool,
}

/// All chunks in use of one owner.
#[derive(Debug, Clone, Serialize)]
pub struct OwnerSummary {
    /// Stable name for filters and machines: `dyups.deleting`, `request`, `outside_pools`, …
    pub owner: String,
    /// For people: "dyups upstream, deleted but still referenced".
    pub label: String,
    /// Names of what owns the pools (upstreams), with how many pools each has: most first.
    pub names: Vec<(String, u64)>,
    /// How many pools; 0 for owners that are no pools.
    pub pools: u64,
    /// How many chunks.
    pub chunks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes in its pools that were handed out.
    pub used: u64,
    /// Its chunks by size.
    pub sizes: SizeHistogram,
}

/// Pools found by signature in every chunk, against pools found by name from typed roots.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PoolCheck {
    /// Found by signature.
    pub by_signature: u64,
    /// Found by name.
    pub by_name: u64,
    /// Found both ways.
    pub both: u64,
    /// Named by a root, without a valid signature: addresses with their paths.
    pub only_by_name: Vec<(HexAddr, String)>,
    /// With a valid signature, named by no root.
    pub only_by_signature: Vec<HexAddr>,
    /// One sentence for each contradiction within a pool, and for each chunk that two pools claim.
    pub problems: Vec<String>,
}

/// How an owner is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// By a typed path from a root, in the layouts of the very binary.
    TypedPath,
    /// It looks like a pool; no root that is known leads there.
    Signature,
}

impl Trust {
    /// The name used in rows.
    pub fn name(self) -> &'static str {
        match self {
            Trust::TypedPath => "typed_path",
            Trust::Signature => "signature",
        }
    }
}

/// A cleanup handler with how often a pool has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CleanupRow {
    /// Its function, by symbol, or its address in hex if no symbol covers it.
    pub handler: String,
    /// How many cleanups of the pool have it.
    pub count: u64,
}

/// A pool.
#[derive(Debug, Clone, Serialize)]
pub struct PoolRow {
    /// Where the `ngx_pool_t` lies.
    pub address: HexAddr,
    /// Stable name of its kind of owner, as in [`OwnerSummary::owner`].
    pub owner: String,
    /// The same for people.
    pub label: String,
    /// What its owner is called (an upstream's name), if it has a name.
    pub name: Option<String>,
    /// The typed path from a root; empty if there is none.
    pub path: String,
    /// How the owner is known.
    pub trust: Trust,
    /// State of the owner, where it has one (`live`, `deleting`).
    pub state: Option<String>,
    /// How many references keep it alive, where its owner counts them.
    pub references: Option<u64>,
    /// Size of its blocks, as given to `ngx_create_pool`.
    pub block_size: u64,
    /// Blocks.
    pub blocks: u64,
    /// Large allocations that are not freed.
    pub large: u64,
    /// Nodes in the list of large allocations whose memory was freed.
    pub large_freed: u64,
    /// Chunk sizes of all it holds.
    pub bytes: u64,
    /// Of that, blocks.
    pub block_bytes: u64,
    /// Of that, large allocations.
    pub large_bytes: u64,
    /// Bytes handed out, or used by the pool's own headers.
    pub used: u64,
    /// Bytes at the ends of blocks that can still be handed out.
    pub unused: u64,
    /// Bytes at the ends of blocks before `current`, which no allocation looks at any more.
    pub lost: u64,
    /// Cleanup handlers, most frequent first.
    pub cleanups: Vec<CleanupRow>,
}

/// A chunk.
#[derive(Debug, Clone, Copy)]
pub struct ChunkRow {
    /// What malloc returned.
    pub address: u64,
    /// Its size, header included.
    pub size: u64,
    /// What malloc thinks of it.
    pub state: ChunkState,
    /// Where it comes from.
    pub arena: ArenaName,
    /// Index into [`Snapshot::owners`]; `None` for chunks that are not in use.
    pub owner: Option<u32>,
    /// Index into [`Snapshot::pools`], if a pool holds it.
    pub pool: Option<u32>,
}

/// Which arena a chunk comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArenaName {
    /// `main_arena`.
    Main,
    /// The arena at this address.
    Other(u64),
    /// None: it has a mapping of its own.
    Mmapped,
}

impl std::fmt::Display for ArenaName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ArenaName::Main => f.write_str("main"),
            ArenaName::Other(address) => write!(f, "{address:#x}"),
            ArenaName::Mmapped => f.write_str("mmapped"),
        }
    }
}

impl Serialize for ChunkRow {
    /// As `[address, size, state, arena, owner, pool]`: with names, ten million rows would be mostly names.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let arena = self.arena.to_string();
        (HexAddr(self.address), self.size, self.state, arena, self.owner, self.pool).serialize(serializer)
    }
}

impl Snapshot {
    /// Bytes in use by the program.
    pub fn in_use_bytes(&self) -> u64 {
        self.owners.iter().map(|owner| owner.bytes).sum()
    }

    /// Chunks in use by the program.
    pub fn in_use_chunks(&self) -> u64 {
        self.owners.iter().map(|owner| owner.chunks).sum()
    }

    /// True if everything was read, every book reconciles, and every name led to a pool.
    pub fn is_complete(&self) -> bool {
        self.books.as_ref().is_some_and(Books::reconcile_exactly)
            && self.pool_check.problems.is_empty()
            && self.pool_check.only_by_name.is_empty()
    }
}
