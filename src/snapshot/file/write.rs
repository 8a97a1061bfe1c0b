//! Writing a snapshot.

use super::chunk_columns::cut;
use super::limits::{MAX_CHUNKS, MAX_LINE, MAX_MODEL, MAX_POOLS, MAX_RUNS, MAX_VALUES, values};
use super::line::{Block, End, Header, Model};
use super::pool_columns::{Numbers, PoolColumns};
use super::sound;
use crate::snapshot::chunks::ChunkTable;
use crate::snapshot::model::{SCHEMA_VERSION, Snapshot};
use crate::snapshot::pool::{CleanupRow, PoolOwner, PoolRow};
use serde::Serialize;
use std::io::{self, Write};
use zstd::stream::write::Encoder;

/// Digits have little that repeats: with a million pools and ten million chunks, levels 2 and 3 took 1.5 and 2.4 times as
/// long, and saved nothing.
const LEVEL: i32 = 1;
/// Pools in a line: their rows and columns fit a processor's cache.
const POOLS_IN_LINE: usize = 8192;
/// Chunks in a line.
const CHUNKS_IN_LINE: usize = 65_536;

/// Writes a snapshot file to `out`.
///
/// # Errors
/// Those of `out`; and [`io::ErrorKind::InvalidInput`] for a snapshot that [`super::read`] would refuse, since it is larger
/// than [`super::limits`] allow or contradicts itself.
pub fn write(snapshot: &Snapshot, out: impl Write) -> io::Result<()> {
    check(snapshot).map_err(|what| io::Error::new(io::ErrorKind::InvalidInput, what))?;
    let end =
        End { pools: snapshot.pools.len() as u64, chunks: snapshot.chunks.as_ref().map(|table| table.len() as u64) };
    let mut lines = Lines::begin(out)?;
    lines.write(&header(&end), MAX_LINE)?;
    // What a file is can then be told by its first hundred bytes.
    lines.encoder.flush()?;
    lines.write(&Model::of(snapshot), MAX_MODEL)?;
    write_pools(&snapshot.pools, &mut lines)?;
    if let Some(table) = &snapshot.chunks {
        // A frame of their own: who does not want chunks can stop here, with all else checked by its checksum.
        lines = Lines::begin(lines.encoder.finish()?)?;
        write_chunks(table, &mut lines)?;
    }
    lines.write(&Block::End(end), MAX_LINE)?;
    lines.encoder.finish()?.flush()
}

fn check(snapshot: &Snapshot) -> Result<(), String> {
    let chunks = snapshot.chunks.as_ref().map_or(0, |table| table.len() as u64);
    let pools_of_chunks = snapshot.chunks.as_ref().map_or(0, |table| table.owner_of_pool().len() as u64);
    let runs = snapshot.chunks.as_ref().map_or(0, |table| table.runs().len() as u64);
    if snapshot.pools.len() as u64 > MAX_POOLS || chunks > MAX_CHUNKS || runs > MAX_RUNS {
        return Err(format!(
            "a file holds up to {MAX_POOLS} pools, and {MAX_CHUNKS} chunks in {MAX_RUNS} runs, and these are more"
        ));
    }
    if pools_of_chunks > snapshot.pools.len() as u64 {
        return Err("its chunks name pools that it does not have".to_owned());
    }
    sound::check(snapshot, snapshot.pools.len() as u64)
}

fn header(end: &End) -> Header {
    Header {
        format: "poolscope snapshot".to_owned(),
        schema_version: SCHEMA_VERSION,
        poolscope_version: env!("CARGO_PKG_VERSION").to_owned(),
        pools: end.pools,
        chunks: end.chunks,
    }
}

fn write_pools(pools: &[PoolRow], lines: &mut Lines<impl Write>) -> io::Result<()> {
    let mut owners: Numbers<PoolOwner> = Numbers::new();
    let mut cleanups: Numbers<[CleanupRow]> = Numbers::new();
    let mut previous = 0;
    for part in pools.chunks(POOLS_IN_LINE) {
        let owner_numbers: Vec<u32> = part.iter().map(|pool| owners.of(&pool.owner)).collect();
        let cleanup_numbers: Vec<u32> = part.iter().map(|pool| cleanups.of(&pool.cleanups)).collect();
        let new_owners = owners.take_new();
        if !new_owners.is_empty() {
            lines.write(&Block::PoolOwners(new_owners.into_iter().cloned().collect()), MAX_LINE)?;
        }
        let new_cleanups = cleanups.take_new();
        if !new_cleanups.is_empty() {
            lines.write(&Block::PoolCleanups(new_cleanups.into_iter().map(<[_]>::to_vec).collect()), MAX_LINE)?;
        }
        let columns = PoolColumns::of(part, previous, &owner_numbers, &cleanup_numbers);
        lines.write(&Block::Pools(Box::new(columns)), MAX_LINE)?;
        previous = part.last().map_or(previous, |pool| pool.address.0);
    }
    Ok(())
}

fn write_chunks(table: &ChunkTable, lines: &mut Lines<impl Write>) -> io::Result<()> {
    for part in table.owner_of_pool().chunks(CHUNKS_IN_LINE) {
        lines.write(&Block::ChunkPools(part.to_vec()), MAX_LINE)?;
    }
    if !table.owner_of_group().is_empty() {
        lines.write(&Block::ChunkGroups(table.owner_of_group().to_vec()), MAX_LINE)?;
    }
    cut(table, CHUNKS_IN_LINE, |columns| lines.write(&Block::Chunks(columns), MAX_LINE))
}

/// One zstd frame of lines.
struct Lines<W: Write> {
    encoder: Encoder<'static, W>,
    line: Vec<u8>,
}

impl<W: Write> Lines<W> {
    fn begin(out: W) -> io::Result<Lines<W>> {
        let mut encoder = Encoder::new(out, LEVEL)?;
        encoder.include_checksum(true)?;
        Ok(Lines { encoder, line: Vec::new() })
    }

    fn write(&mut self, value: &impl Serialize, most: u64) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, value)?;
        self.line.push(b'\n');
        if self.line.len() as u64 > most || values(&self.line) > MAX_VALUES {
            let what =
                format!("a line of it would have more than {most} bytes or {MAX_VALUES} values, and not be read again");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        self.encoder.write_all(&self.line)
    }
}
