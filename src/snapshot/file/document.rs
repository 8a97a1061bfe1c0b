//! A snapshot as one JSON document, as `poolscope snapshot --format json` prints it (docs/snapshot-schema.md).
//!
//! Pools are read one by one and share what they have in common, as those of a live snapshot do.

use super::error::ReadError;
use super::limits::{
    MAX_DOCUMENT_CHUNKS, MAX_LINES, MAX_MODEL, MAX_POOL_VALUES, MAX_POOLS, MAX_UNPACKED, MAX_VALUES, Meter, too_much,
    unpacking,
};
use super::look::{FIRST, Look};
use super::older;
use super::read::{Wanted, check_version};
use super::sound;
use crate::snapshot::model::{SCHEMA_VERSION, Snapshot};
use crate::snapshot::pool::{CleanupRow, PoolOwner, PoolRow};
use rustc_hash::FxHashSet;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;
use std::hash::Hash;
use std::io::{self, BufRead};
use std::sync::Arc;

/// Reads the document, and sees that no other follows.
pub(super) fn read(mut input: impl BufRead, meter: &Meter, wanted: Wanted) -> Result<Snapshot, ReadError> {
    let mut version = Version::default();
    let document = Document { meter, wanted, version: &mut version };
    let mut parser = serde_json::Deserializer::from_reader(&mut input);
    let parsed = document.deserialize(&mut parser);
    drop(parser);
    check_version(version.schema, &version.poolscope)?;
    let (mut snapshot, pools) = parsed.map_err(|error| wrong(error, &version))?;
    if version.schema == 0 {
        return Err(ReadError::NotASnapshot { look: Look::Json });
    }
    match count_more(&mut input, meter).map_err(|error| unpacking(error, "after its first document"))? {
        (_, more @ 1..) => return Err(ReadError::Several(more + 1)),
        (0, 0) => {}
        (lines, 0) => return Err(damaged(format!("{lines} more lines follow the document"))),
    }
    older::bring_up(&mut snapshot, version.schema).map_err(damaged)?;
    sound::check(&snapshot, pools).map_err(damaged)?;
    Ok(snapshot)
}

fn damaged(what: String) -> ReadError {
    ReadError::Damaged { place: "in its document".to_owned(), what }
}

/// What an error of the parser means. Without a version in sight, it is some other JSON.
fn wrong(error: serde_json::Error, version: &Version) -> ReadError {
    let place = format!("at byte {} of line {}", error.column(), error.line());
    match error.classify() {
        serde_json::error::Category::Io => unpacking(error.into(), &place),
        serde_json::error::Category::Eof => ReadError::CutOff { place, held: String::new() },
        _ if version.schema == 0 => ReadError::NotASnapshot { look: Look::Json },
        _ => ReadError::Damaged { place, what: error.to_string() },
    }
}

/// How many lines with anything in them follow, and how many of these begin a snapshot.
pub(super) fn count_more(input: &mut impl BufRead, meter: &Meter) -> io::Result<(u64, u64)> {
    const DOCUMENT: &[u8] = br#"{"schema_version":"#;
    meter.allow(MAX_UNPACKED, u64::MAX);
    let (mut lines, mut snapshots) = (0, 0);
    let mut start = Vec::with_capacity(FIRST.len());
    // The second line of a file looks like a document.
    let mut in_file = false;
    for _ in 0..MAX_LINES {
        if input.fill_buf()?.is_empty() {
            return Ok((lines, snapshots));
        }
        start.clear();
        io::Read::take(&mut *input, FIRST.len() as u64).read_until(b'\n', &mut start)?;
        if start.last() != Some(&b'\n') {
            input.skip_until(b'\n')?;
        }
        lines += u64::from(!start.trim_ascii().is_empty());
        let begins_file = start.starts_with(FIRST);
        snapshots += u64::from(begins_file || (start.starts_with(DOCUMENT) && !in_file));
        in_file = begins_file;
    }
    Err(too_much(format!("{MAX_LINES} lines")))
}

/// What a document says of its version, as soon as it says it.
#[derive(Default)]
struct Version {
    schema: u32,
    poolscope: String,
}

struct Document<'a> {
    meter: &'a Meter,
    wanted: Wanted,
    version: &'a mut Version,
}

impl<'de> DeserializeSeed<'de> for Document<'_> {
    /// How many pools there are besides: they need not be in it.
    type Value = (Snapshot, u64);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(Snapshot, u64), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = (Snapshot, u64);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a snapshot")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(Snapshot, u64), A::Error> {
        let Document { meter, wanted, version } = self;
        let mut model = Map::new();
        let (mut pools, mut chunks) = (Pools::default(), None);
        // All but pools and chunks have one allowance between them.
        meter.allow(MAX_MODEL, MAX_VALUES);
        while let Some(key) = fields.next_key::<String>()? {
            match key.as_str() {
                "pools" => {
                    meter.allow(MAX_UNPACKED, MAX_POOL_VALUES);
                    pools = fields.next_value_seed(PoolList { keep: wanted.pools })?;
                    meter.allow(MAX_MODEL, MAX_VALUES);
                }
                "chunks" => {
                    meter.allow(MAX_DOCUMENT_CHUNKS, MAX_UNPACKED);
                    match wanted.chunks {
                        true => chunks = fields.next_value()?,
                        false => drop(fields.next_value::<IgnoredAny>()?),
                    }
                    meter.allow(MAX_MODEL, MAX_VALUES);
                }
                "schema_version" => version.schema = fields.next_value()?,
                "poolscope_version" => version.poolscope = fields.next_value()?,
                _ if version.schema > SCHEMA_VERSION => return Err(A::Error::custom("a newer version")),
                _ => drop(model.insert(key, fields.next_value()?)),
            }
        }
        let mut snapshot = serde_json::from_value::<Snapshot>(Value::Object(model)).map_err(A::Error::custom)?;
        snapshot.poolscope_version.clone_from(&version.poolscope);
        (snapshot.pools, snapshot.chunks) = (pools.rows, chunks);
        Ok((snapshot, pools.count))
    }
}

/// The pools of a document.
#[derive(Default)]
struct Pools {
    count: u64,
    /// Empty if they are not wanted.
    rows: Vec<PoolRow>,
}

struct PoolList {
    keep: bool,
}

impl<'de> DeserializeSeed<'de> for PoolList {
    type Value = Pools;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Pools, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for PoolList {
    type Value = Pools;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of pools")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Pools, A::Error> {
        let mut pools = Pools::default();
        let (mut owners, mut cleanups) = (Shared::<PoolOwner>::default(), Shared::<[CleanupRow]>::default());
        while let Some(mut row) = list.next_element::<PoolRow>()? {
            pools.count += 1;
            if pools.count > MAX_POOLS {
                return Err(A::Error::custom(format_args!("more than {MAX_POOLS} pools")));
            }
            if self.keep {
                owners.share(&mut row.owner);
                cleanups.share(&mut row.cleanups);
                pools.rows.push(row);
            }
        }
        Ok(pools)
    }
}

/// Equal values, kept once.
struct Shared<T: ?Sized>(FxHashSet<Arc<T>>);

impl<T: ?Sized> Default for Shared<T> {
    fn default() -> Shared<T> {
        Shared(FxHashSet::default())
    }
}

impl<T: ?Sized + Hash + Eq> Shared<T> {
    /// Puts the value that was seen first in place of one that equals it.
    fn share(&mut self, value: &mut Arc<T>) {
        match self.0.get(value) {
            Some(first) => value.clone_from(first),
            None => drop(self.0.insert(value.clone())),
        }
    }
}
