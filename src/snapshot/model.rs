//! What is known of a process after a snapshot. Addresses are running addresses; sizes are bytes unless a name says
//! otherwise.

use super::chunks::ChunkTable;
use super::finding::Finding;
use super::pool::{PoolRow, Trust};
use super::sizes::SizeHistogram;
use crate::addr::hex;
use crate::malloc::books::{Books, Mallinfo};
use crate::malloc::seam::Seams;
use serde::{Deserialize, Serialize};

/// Version of the published schema (docs/snapshot-schema.md). It grows when a field changes its meaning or goes away;
/// fields may be added without.
pub const SCHEMA_VERSION: u32 = 3;

/// An address, written as a hex string where a snapshot is serialised: JSON readers keep only 53 bits of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct HexAddr(#[serde(with = "hex")] pub u64);

impl std::fmt::Display for HexAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A snapshot of one process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Version of poolscope that took it.
    pub poolscope_version: String,
    /// When it was taken, in seconds since 1970 (UTC), to the millisecond. Of a core: when its file was last written.
    /// 0 if that is not known: a core that came through a pipe.
    pub taken_at: f64,
    /// Where its memory was read.
    pub source: SourceInfo,
    /// Whom it shows.
    pub process: ProcessInfo,
    /// How the process was stopped; absent for a core.
    pub freeze: Option<FreezeInfo>,
    /// How much memory there is for it; absent for a core.
    pub limits: Option<Limits>,
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
    /// Chunks in use that no pool holds, by what they are: most bytes first. Their sums are those of the owners that are no
    /// pools.
    pub groups: Vec<ChunkGroup>,
    /// The two ways to find pools, compared.
    pub pool_check: PoolCheck,
    /// Every pool: most bytes first.
    pub pools: Vec<PoolRow>,
    /// What stands out, most important first.
    pub findings: Vec<Finding>,
    /// Every chunk, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunks: Option<ChunkTable>,
}

/// Where the memory of the process was read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceInfo {
    /// `process`, while it stood still; or `core`. Empty in files of schema 1, which knew processes only.
    pub kind: String,
    /// Path of the core.
    pub file: Option<String>,
    /// The signal that ended the process, if the core tells.
    pub signal: Option<i32>,
    /// Bytes that were mapped and that whoever wrote the core left out: code, shared memory, as it was told to.
    pub not_saved: u64,
    /// Bytes that the core promises and does not hold: it is cut off, or damaged from there on.
    pub missing: u64,
}

/// Identity of the process.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessInfo {
    /// Name of the machine that it was looked at on, as the kernel has it; absent for a core.
    pub host: Option<String>,
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
    /// Seconds since it started; absent for a core.
    pub age_seconds: Option<u64>,
    /// When it started, in seconds since 1970 (UTC), to some hundredths; absent for a core.
    pub started_at: Option<f64>,
    /// When it started, in clock ticks after boot; absent for a core.
    pub start_ticks: Option<u64>,
    /// When its parent started, in clock ticks after boot: with `parent` this names a master for good. Absent for a core,
    /// or if there is no parent in sight.
    pub parent_start_ticks: Option<u64>,
    /// The kernel's name for the time since the machine was booted (`/proc/sys/kernel/random/boot_id`), which ticks count
    /// from; absent for a core.
    pub boot_id: Option<String>,
    /// How many threads it has.
    pub threads: usize,
    /// Its resident bytes before it was stopped; absent for a core.
    pub resident: Option<u64>,
    /// The allocator: `glibc`, `musl`, `jemalloc`, …
    pub allocator: String,
    /// Version of glibc, if that is the allocator and tells it.
    pub allocator_version: Option<String>,
}

/// The stop.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FreezeInfo {
    /// The longest time that a thread stood still, in microseconds.
    pub pause_microseconds: u64,
    /// Where it stood, the least favourable place if there were several stops: `between_events`, `in_system_call`,
    /// `outside_malloc`, or `in_user_code` if it was perhaps in the middle of an allocation.
    pub place: String,
    /// How far what was found is of one moment: [`EXACT`], [`SEVERAL_MOMENTS`], [`IN_CHANGE`], [`CONTRADICTED`]. Empty in
    /// older files, and if nothing was read.
    pub consistency: String,
    /// How many stops it was read in.
    pub stops: u32,
    /// How many more there were that came in the middle of an allocation, or in which a thread did not stop in time, and were
    /// given up at once.
    pub unused_stops: u32,
    /// Bytes of the target's memory that were read while it stood still.
    pub bytes_read: u64,
    /// All stops together, in microseconds.
    pub sum_microseconds: u64,
    /// From the beginning of the first stop in which it was read to the end of the last one, in microseconds.
    pub elapsed_microseconds: u64,
    /// How long a stop was to be at most, if that was limited.
    pub max_pause_microseconds: Option<u64>,
    /// Where the heap was walked on after the target had run, and what had changed there.
    pub seams: Seams,
}

/// All of the heap is as it was at one moment, at which malloc had nothing half done, and its books reconcile.
pub const EXACT: &str = "exact";

/// There were several stops: each part of the heap is as it was at one of them.
pub const SEVERAL_MOMENTS: &str = "several_moments";

/// There was one stop, in which malloc may have had something half done.
pub const IN_CHANGE: &str = "in_change";

/// There was one stop at a good place, and malloc's books say something else than what was found.
pub const CONTRADICTED: &str = "contradicted";

impl FreezeInfo {
    /// True if the heap is shown as it was at one moment, to the byte.
    pub fn is_exact(&self) -> bool {
        self.consistency == EXACT
    }
}

/// How much memory the process can get.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes of memory that the machine has.
    pub machine_total: Option<u64>,
    /// Bytes that could be had without swapping (`MemAvailable`).
    pub machine_available: Option<u64>,
    /// Path of the control group that allows least, of the process's own and those above it, if any sets a limit.
    pub cgroup: Option<String>,
    /// Bytes that this group may have (`memory.max`, `memory.limit_in_bytes`).
    pub cgroup_limit: Option<u64>,
    /// Bytes that it has (`memory.current`, `memory.usage_in_bytes`).
    pub cgroup_usage: Option<u64>,
}

/// Where layouts come from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Layouts {
    /// Those of the nginx binary.
    pub nginx: LayoutSource,
    /// Those of glibc.
    pub glibc: LayoutSource,
}

/// The origin of structure layouts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LayoutSource {
    /// `dwarf`; `built_in` for a binary without debug info: of pools, and if they are verified, of what leads to them; or
    /// `none`.
    pub kind: String,
    /// The file they were read from.
    pub file: Option<String>,
    /// How that file is known to belong to the running build: `same_file`, `build_id`, `checksum`; `memory` for built-in
    /// layouts that agree with what the process holds.
    pub verified_by: Option<String>,
    /// Why there are none.
    pub problem: Option<String>,
    /// Every place that was looked at for debug info and not taken, with the reason.
    pub tried: Vec<String>,
}

impl LayoutSource {
    /// True if they are layouts of what leads to pools, so that owners were looked for.
    pub fn leads_to_owners(&self) -> bool {
        self.kind == "dwarf" || (self.kind == "built_in" && self.verified_by.as_deref() == Some("memory"))
    }
}

/// One row of the breakdown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Thresholds {
    /// Requests from this size on get a mapping of their own.
    pub mmap_threshold: u64,
    /// A top larger than this is given back to the kernel.
    pub trim_threshold: u64,
    /// True if freeing a mapped chunk does not raise the two any more.
    pub fixed: bool,
}

/// Kinds of owners that say that none is known: pools that no root leads to, and chunks that nobody claims.
pub const NOBODY: [&str; 2] = [UNKNOWN_POOL, "outside_pools"];

/// The kind of pools that no root leads to.
pub const UNKNOWN_POOL: &str = "unknown_pool";

/// The kind of pools that nothing points to any more: nobody can free them.
pub const UNREACHABLE_POOL: &str = "unreachable_pool";

/// Kinds of what nothing points to: nobody owns it any more.
pub const LOST: [&str; 2] = [UNREACHABLE_POOL, "unreferenced"];

/// All chunks in use of one owner.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
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

/// Chunks in use outside pools that belong together.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ChunkGroup {
    /// Stable name of what owns them, as in [`OwnerSummary::owner`].
    pub owner: String,
    /// What they are called within that owner (`SSL_SESSION`); empty if nothing tells them apart.
    pub name: String,
    /// How it is known.
    pub trust: Trust,
    /// The path to one of them, or who points to it; empty if that is not known.
    pub path: String,
    /// How many chunks.
    pub chunks: u64,
    /// Their bytes, headers included.
    pub bytes: u64,
    /// Size of the smallest; 0 if that is not known, as of files of schema 1 and 2.
    pub smallest: u64,
    /// Size of the largest; 0 if that is not known.
    pub largest: u64,
    /// What malloc returned for one of them; 0 if that is not known.
    pub example: HexAddr,
}

/// Pools found by signature in every chunk, against pools found by name from typed roots.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
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
    /// One sentence for each kind of owners that could not be looked through to the end.
    pub unfinished: Vec<String>,
}

impl OwnerSummary {
    /// Counts a chunk of `size` bytes, header included.
    pub fn count(&mut self, size: u64) {
        self.chunks += 1;
        self.bytes += size;
        self.sizes.add(size);
    }
}

impl Snapshot {
    /// Bytes in use by the program.
    pub fn in_use_bytes(&self) -> u64 {
        self.owners.iter().fold(0, |sum, owner| owner.bytes.saturating_add(sum))
    }

    /// Chunks in use by the program.
    pub fn in_use_chunks(&self) -> u64 {
        self.owners.iter().fold(0, |sum, owner| owner.chunks.saturating_add(sum))
    }

    /// Forgets the addresses of clients and what they asked for: what was saved with them is shown with them only on request.
    pub fn hide_clients(&mut self) {
        self.pools.iter_mut().for_each(PoolRow::hide_client);
    }

    /// True if owners of pools were looked for: by the debug info of the binary, or by built-in layouts that agree with what
    /// was read.
    pub fn knows_owners(&self) -> bool {
        self.layouts.nginx.leads_to_owners()
    }

    /// Bytes in use that have an owner by more than being left over: all but those of the kinds that name none, and what
    /// nothing points to.
    pub fn owned_bytes(&self) -> u64 {
        let is_owned = |kind: &str| !NOBODY.contains(&kind) && !LOST.contains(&kind);
        let owned = self.owners.iter().filter(|owner| is_owned(&owner.owner));
        owned.fold(0, |sum, owner| owner.bytes.saturating_add(sum))
    }

    /// True if everything was read, every book reconciles, and every name led to a pool, unless it may have changed meanwhile.
    pub fn is_complete(&self) -> bool {
        self.books.is_some() && self.disagreements() == 0
    }

    /// How many things do not agree that must, and kinds of owners could not be looked through to the end.
    pub fn disagreements(&self) -> u64 {
        let books = self.books.as_ref().map_or(0, |books| books.problems.len());
        (books + self.pool_check.unfinished.len()) as u64 + if self.took_several() { 0 } else { self.about_pools() }
    }

    /// How many things about pools do not agree because, or perhaps because, they were read in different stops.
    pub fn changed_meanwhile(&self) -> u64 {
        if self.took_several() { self.about_pools() } else { 0 }
    }

    fn about_pools(&self) -> u64 {
        (self.pool_check.problems.len() + self.pool_check.only_by_name.len()) as u64
    }

    /// True if it was read in several stops.
    pub fn took_several(&self) -> bool {
        self.freeze.as_ref().is_some_and(|freeze| freeze.stops > 1)
    }
}
