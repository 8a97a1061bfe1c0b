//! Reading a snapshot: a file as [`super::write`] makes it, or one JSON document.

use super::chunk_columns::Bounds;
use super::document;
use super::error::{LoadError, ReadError};
use super::limits::{
    MAX_CHUNKS, MAX_LINE, MAX_LINES, MAX_MODEL, MAX_POOLS, MAX_RUNS, MAX_VALUES, Meter, Metered, unpacking,
};
use super::line::{Block, End, Header, Topic, topic};
use super::look::{Look, read_head};
use super::older;
use super::pool_columns::Names;
use super::sound;
use super::unpack::unpack;
use crate::snapshot::chunks::ChunkTable;
use crate::snapshot::model::{SCHEMA_VERSION, Snapshot};
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// What of a snapshot is read besides the rest of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Its pools; without, [`Snapshot::pools`] is empty.
    pub pools: bool,
    /// Its chunks; without, [`Snapshot::chunks`] is `None`, and a file is not read any further than where they begin.
    pub chunks: bool,
}

impl Wanted {
    /// All there is.
    pub const ALL: Wanted = Wanted { pools: true, chunks: true };
    /// All but single chunks: what a difference needs.
    pub const POOLS: Wanted = Wanted { pools: true, chunks: false };
}

/// Reads the snapshot at `path`: a file that [`super::save`] made, or one JSON document, as it is or compressed with zstd or
/// gzip. One of an older schema comes out as one of today's.
///
/// # Errors
/// [`LoadError`], with the path and a [`ReadError`].
pub fn load(path: &Path, wanted: Wanted) -> Result<Snapshot, LoadError> {
    let wrong = |source| LoadError { path: path.to_owned(), source };
    let file = File::open(path).map_err(|error| wrong(ReadError::Io(error)))?;
    read(file, wanted).map_err(wrong)
}

/// Reads what [`load`] reads from anywhere.
///
/// # Errors
/// [`ReadError`]. What is read is bounded by [`super::limits`].
pub fn read(input: impl Read, wanted: Wanted) -> Result<Snapshot, ReadError> {
    let at_start = |error| unpacking(error, "at its start");
    let (mut unpacked, meter) = Metered::new(unpack(input).map_err(at_start)?);
    let head = read_head(&mut unpacked).map_err(at_start)?;
    let look = Look::of_unpacked(&head);
    let all = BufReader::with_capacity(1 << 16, io::Cursor::new(head).chain(unpacked));
    let mut snapshot = match look {
        Look::Snapshot => Lines { input: all, meter, line: Vec::new(), number: 0 }.read_snapshot(wanted)?,
        Look::Json => document::read(all, &meter, wanted)?,
        _ => return Err(ReadError::NotASnapshot { look }),
    };
    snapshot.schema_version = SCHEMA_VERSION;
    Ok(snapshot)
}

/// Refuses what only a newer version understands.
pub(super) fn check_version(schema: u32, poolscope: &str) -> Result<(), ReadError> {
    match schema > SCHEMA_VERSION {
        true => Err(ReadError::Newer { schema, poolscope: poolscope.to_owned() }),
        false => Ok(()),
    }
}

/// What has been read so far of a file.
struct Partial {
    header: Header,
    snapshot: Snapshot,
    names: Names,
    owner_of_pool: Vec<u32>,
    owner_of_group: Vec<u32>,
    chunks: Option<ChunkTable>,
    /// Where the last run of chunks begins.
    run: u64,
    /// Pools that went by, wanted or not.
    pools: u64,
}

struct Lines<R> {
    input: R,
    meter: Meter,
    line: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    fn read_snapshot(mut self, wanted: Wanted) -> Result<Snapshot, ReadError> {
        self.next(MAX_LINE)?;
        let header: Header = self.parse()?;
        check_version(header.schema_version, &header.poolscope_version)?;
        if header.pools > MAX_POOLS || header.chunks.is_some_and(|chunks| chunks > MAX_CHUNKS) {
            return Err(ReadError::TooLarge(format!("{MAX_POOLS} pools or {MAX_CHUNKS} chunks")));
        }
        self.next(MAX_MODEL)?;
        let mut partial = Partial::begin(header, self.parse()?);
        let end = loop {
            self.next(MAX_LINE).map_err(|error| partial.add_what_is_there(error))?;
            match topic(&self.line) {
                Topic::End => break Some(self.parse::<Block>()?),
                Topic::Chunks if !wanted.chunks => break None,
                Topic::Unknown => {}
                _ => {
                    let block = self.parse()?;
                    partial.add(block, wanted).map_err(|what| self.damaged(what))?;
                }
            }
        };
        if let Some(Block::End(end)) = &end {
            partial.check_end(end, wanted).map_err(|what| self.damaged(what))?;
            self.expect_nothing_more()?;
        }
        partial.finish(wanted).map_err(|what| self.damaged(what))
    }

    /// Reads the next line.
    fn next(&mut self, most: u64) -> Result<(), ReadError> {
        self.number += 1;
        self.line.clear();
        self.meter.allow(most, MAX_VALUES);
        if self.number > MAX_LINES {
            return Err(ReadError::TooLarge(format!("{MAX_LINES} lines")));
        }
        self.input.read_until(b'\n', &mut self.line).map_err(|error| unpacking(error, &self.place()))?;
        match self.line.last() {
            Some(b'\n') => Ok(()),
            _ => Err(ReadError::CutOff { place: self.place(), held: String::new() }),
        }
    }

    fn place(&self) -> String {
        format!("in line {}", self.number)
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<T, ReadError> {
        serde_json::from_slice(&self.line).map_err(|error| self.damaged(error.to_string()))
    }

    fn damaged(&self, what: String) -> ReadError {
        ReadError::Damaged { place: self.place(), what }
    }

    /// Several files, one behind the other, unpack as one.
    fn expect_nothing_more(&mut self) -> Result<(), ReadError> {
        let place = format!("after line {}", self.number);
        match document::count_more(&mut self.input, &self.meter).map_err(|error| unpacking(error, &place))? {
            (_, snapshots @ 1..) => Err(ReadError::Several(snapshots + 1)),
            (0, 0) => Ok(()),
            (lines, 0) => Err(self.damaged(format!("{lines} more lines follow the last one"))),
        }
    }
}

impl Partial {
    fn begin(header: Header, snapshot: Snapshot) -> Partial {
        let owners = snapshot.owners.len() as u32;
        Partial {
            // Until groups are made, each owner stands for one.
            owner_of_group: if older::has_groups(header.schema_version) { Vec::new() } else { (0..owners).collect() },
            header,
            snapshot,
            names: Names::default(),
            owner_of_pool: Vec::new(),
            chunks: None,
            run: 0,
            pools: 0,
        }
    }

    fn add(&mut self, block: Block, wanted: Wanted) -> Result<(), String> {
        match block {
            Block::PoolOwners(owners) => self.names.owners.extend(owners.into_iter().map(Into::into)),
            Block::PoolCleanups(lists) => self.names.cleanups.extend(lists.into_iter().map(Into::into)),
            Block::ChunkPools(owners) => self.owner_of_pool.extend(owners),
            Block::ChunkGroups(owners) => self.owner_of_group = owners,
            Block::Pools(columns) => {
                self.pools += columns.len() as u64;
                if wanted.pools && self.pools <= self.header.pools {
                    columns.add_to(&mut self.snapshot.pools, &self.names)?;
                }
            }
            Block::Chunks(columns) => {
                let groups = self.groups();
                let bounds = Bounds { pools: self.pools, groups };
                let (pools, groups) = (&mut self.owner_of_pool, &mut self.owner_of_group);
                let table =
                    self.chunks.get_or_insert_with(|| ChunkTable::new(std::mem::take(pools), std::mem::take(groups)));
                columns.add_to(table, &mut self.run, &bounds)?;
            }
            Block::End(_) => {}
        }
        let chunks = self.chunks.as_ref().map_or(0, |table| table.len() as u64);
        let most = self.header.pools.saturating_add(1);
        let listed = [self.names.owners.len(), self.names.cleanups.len(), self.owner_of_pool.len()];
        if self.pools > self.header.pools || listed.iter().any(|count| *count as u64 > most) {
            return Err(format!("more pools, or owners of them, than the {} of the first line", self.header.pools));
        }
        if self.chunks.as_ref().is_some_and(|table| table.runs().len() as u64 > MAX_RUNS) {
            return Err(format!("more than {MAX_RUNS} runs of chunks"));
        }
        match chunks > self.header.chunks.unwrap_or(0) {
            true => Err(format!("more chunks than the {} of the first line", self.header.chunks.unwrap_or(0))),
            false => Ok(()),
        }
    }

    /// How many groups chunks may name.
    fn groups(&self) -> u64 {
        match older::has_groups(self.header.schema_version) {
            true => self.snapshot.groups.len() as u64,
            false => self.snapshot.owners.len() as u64,
        }
    }

    /// Says in an error about a file's end how much there is.
    fn add_what_is_there(&self, error: ReadError) -> ReadError {
        let ReadError::CutOff { place, .. } = error else { return error };
        let chunks = match (&self.chunks, self.header.chunks) {
            (table, Some(all)) => format!(" and {} of {all} chunks", table.as_ref().map_or(0, ChunkTable::len)),
            (_, None) => String::new(),
        };
        let held = format!(", after {} of {} pools{chunks}", self.pools, self.header.pools);
        ReadError::CutOff { place, held }
    }

    fn check_end(&self, end: &End, wanted: Wanted) -> Result<(), String> {
        let chunks = self.chunks.as_ref().map_or(0, |table| table.len() as u64);
        let there = End { pools: self.pools, chunks: self.header.chunks.map(|_| chunks) };
        let header = End { pools: self.header.pools, chunks: self.header.chunks };
        let wrong = |other: &str| Err(format!("the file has {}, the {other} says {}", there.words(), end.words()));
        match () {
            () if there.pools != end.pools || (wanted.chunks && there != *end) => wrong("last line"),
            () if header != *end => Err(format!("the first line says {}, the last {}", header.words(), end.words())),
            () => Ok(()),
        }
    }

    fn finish(mut self, wanted: Wanted) -> Result<Snapshot, String> {
        if self.pools != self.header.pools {
            return Err(format!("chunks begin after {} of {} pools", self.pools, self.header.pools));
        }
        // A heap without any chunk has a table as well.
        self.snapshot.chunks = match self.chunks {
            None if wanted.chunks && self.header.chunks.is_some() => {
                Some(ChunkTable::new(self.owner_of_pool, self.owner_of_group))
            }
            chunks => chunks,
        };
        older::bring_up(&mut self.snapshot, self.header.schema_version)?;
        sound::check(&self.snapshot, self.pools)?;
        Ok(self.snapshot)
    }
}
