//! The lines of a snapshot file, as they are written and read (docs/snapshot-files.md).

use super::chunk_columns::ChunkColumns;
use super::pool_columns::PoolColumns;
use crate::malloc::books::{Books, Mallinfo};
use crate::snapshot::finding::Finding;
use crate::snapshot::model::{
    ChunkGroup, FreezeInfo, Layouts, Limits, MemoryRow, OwnerSummary, PoolCheck, ProcessInfo, SCHEMA_VERSION, Snapshot,
    SourceInfo, Thresholds,
};
use crate::snapshot::pool::{CleanupRow, PoolOwner};
use serde::{Deserialize, Serialize};

/// The first line.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Header {
    /// What it is: [`super::look::FIRST`] begins with it.
    pub format: String,
    /// Version of the schema and of the file's form.
    pub schema_version: u32,
    /// Version of poolscope that wrote the file.
    pub poolscope_version: String,
    /// How many pools there are.
    pub pools: u64,
    /// How many chunks there are, if they were asked for.
    pub chunks: Option<u64>,
}

/// The second line: a snapshot without its pools and chunks, under the published names.
#[derive(Serialize)]
pub(super) struct Model<'a> {
    schema_version: u32,
    poolscope_version: &'a str,
    taken_at: f64,
    source: &'a SourceInfo,
    process: &'a ProcessInfo,
    freeze: &'a Option<FreezeInfo>,
    limits: &'a Option<Limits>,
    layouts: &'a Layouts,
    memory: &'a [MemoryRow],
    coverage: Option<f64>,
    books: &'a Option<Books>,
    mallinfo: &'a Option<Mallinfo>,
    thresholds: &'a Option<Thresholds>,
    notes: &'a [String],
    owners: &'a [OwnerSummary],
    groups: &'a [ChunkGroup],
    pool_check: &'a PoolCheck,
    findings: &'a [Finding],
}

impl Model<'_> {
    /// What of a snapshot belongs into the line. A new field of the snapshot must be named here.
    pub fn of(snapshot: &Snapshot) -> Model<'_> {
        let Snapshot {
            schema_version: _,
            poolscope_version,
            taken_at,
            source,
            process,
            freeze,
            limits,
            layouts,
            memory,
            coverage,
            books,
            mallinfo,
            thresholds,
            notes,
            owners,
            groups,
            pool_check,
            pools: _,
            findings,
            chunks: _,
        } = snapshot;
        Model {
            schema_version: SCHEMA_VERSION,
            poolscope_version,
            taken_at: *taken_at,
            source,
            process,
            freeze,
            limits,
            layouts,
            memory,
            coverage: *coverage,
            books,
            mallinfo,
            thresholds,
            notes,
            owners,
            groups,
            pool_check,
            findings,
        }
    }
}

/// Every line after the second.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Block {
    /// More owners, which columns of pools name by their number, counted over the whole file.
    PoolOwners(Vec<PoolOwner>),
    /// More lists of cleanup handlers, named in the same way.
    PoolCleanups(Vec<Vec<CleanupRow>>),
    /// Pools.
    Pools(Box<PoolColumns>),
    /// The kind of owner of each pool, as an index into the snapshot's `owners`: for chunks, which name the pool only.
    ChunkPools(Vec<u32>),
    /// The same for each group.
    ChunkGroups(Vec<u32>),
    /// Chunks.
    Chunks(ChunkColumns),
    /// The last line.
    End(End),
}

impl Block {
    /// The names of all kinds; a line of another kind is from a version that knows more.
    const KINDS: [&'static [u8]; 7] =
        [b"pool_owners", b"pool_cleanups", b"pools", b"chunk_pools", b"chunk_groups", b"chunks", b"end"];
}

/// What there was.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    /// Pools.
    pub pools: u64,
    /// Chunks, if they were asked for.
    pub chunks: Option<u64>,
}

impl End {
    /// The counts, for people.
    pub fn words(&self) -> String {
        match self.chunks {
            Some(chunks) => format!("{} pools and {chunks} chunks", self.pools),
            None => format!("{} pools and no chunks", self.pools),
        }
    }
}

/// What a line is about, by its first key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    /// Pools.
    Pools,
    /// Chunks.
    Chunks,
    /// The end.
    End,
    /// Something that a newer version added.
    Unknown,
}

/// What a line is about, without parsing it.
pub(super) fn topic(line: &[u8]) -> Topic {
    let key = line.split(|byte| *byte == b'"').nth(1).unwrap_or_default();
    match key {
        _ if !Block::KINDS.contains(&key) => Topic::Unknown,
        b"end" => Topic::End,
        _ if key.starts_with(b"chunk") => Topic::Chunks,
        _ => Topic::Pools,
    }
}
