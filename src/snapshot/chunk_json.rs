//! Chunks as they are published: a heap can have ten million, so that each is an array without names.

use super::chunks::{ArenaName, ChunkRow, ChunkTable};
use super::model::HexAddr;
use crate::malloc::chunk::ChunkState;
use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

impl Serialize for ChunkTable {
    /// As `[address, size, state, arena, owner, pool, group]` each: with names, ten million rows would be mostly names.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(Some(self.len()))?;
        for row in self.iter() {
            let (address, arena) = (HexAddr(row.address), Written(row.arena));
            rows.serialize_element(&(address, row.size, row.state, arena, row.owner, row.pool, row.group))?;
        }
        rows.end()
    }
}

/// An arena as it is written, without a string of its own.
struct Written(ArenaName);

impl Serialize for Written {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ChunkTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ChunkTable, D::Error> {
        struct Rows;
        impl<'de> Visitor<'de> for Rows {
            type Value = ChunkTable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of chunks")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<ChunkTable, A::Error> {
                let next = || rows.next_element::<ReadRow>().transpose();
                std::iter::from_fn(next).map(|row| row.map(|row| row.0)).collect()
            }
        }
        deserializer.deserialize_seq(Rows)
    }
}

/// A row as it is read.
struct ReadRow(ChunkRow);

impl<'de> Deserialize<'de> for ReadRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ReadRow, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = ReadRow;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a chunk, [address, size, state, arena, owner, pool, group]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, fields: A) -> Result<ReadRow, A::Error> {
                read(fields)
            }
        }
        deserializer.deserialize_seq(Fields)
    }
}

fn read<'de, A: SeqAccess<'de>>(mut fields: A) -> Result<ReadRow, A::Error> {
    let address: HexAddr = next(&mut fields, 0)?;
    let size: u64 = next(&mut fields, 1)?;
    let state: ChunkState = next(&mut fields, 2)?;
    let arena: String = next(&mut fields, 3)?;
    let arena = ArenaName::parse(&arena).ok_or_else(|| A::Error::custom(format_args!("\"{arena}\" is no arena")))?;
    let owner: Option<u32> = next(&mut fields, 4)?;
    let pool: Option<u32> = next(&mut fields, 5)?;
    let group = match fields.next_element::<Option<u32>>()? {
        Some(None) if owner.is_some() && pool.is_none() => {
            return Err(A::Error::custom("a chunk has an owner, but neither pool nor group"));
        }
        Some(group) => group,
        // Up to schema 2 there were no groups: until they are made, the owner stands for its group.
        None => owner.filter(|_| pool.is_none()),
    };
    // A newer version may have more to say.
    while fields.next_element::<IgnoredAny>()?.is_some() {}
    Ok(ReadRow(ChunkRow { address: address.0, size, state, arena, owner, pool, group }))
}

fn next<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(fields: &mut A, index: usize) -> Result<T, A::Error> {
    fields.next_element()?.ok_or_else(|| A::Error::invalid_length(index, &"six or seven fields of a chunk"))
}

#[cfg(test)]
mod tests {
    use super::super::chunks::tests::rows;
    use super::*;

    #[test]
    fn the_published_form_is_read_as_it_is_written() {
        let table: ChunkTable = rows().into_iter().collect();
        let text = serde_json::to_string(&table).unwrap();
        assert!(
            text.starts_with(r#"[["0x1010",32,"in_use","main",1,0,null],["0x1030",64,"free","main",null,null,null],"#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<ChunkTable>(&text).unwrap(), table);
        for wrong in [
            r#"[["0x1010",32,"in_use","third",1,0]]"#,
            r#"[["0x1010",32]]"#,
            r#"[["0x1010",32,"in_use","main",1,null,null]]"#,
            r#"[1]"#,
            r#"{}"#,
        ] {
            assert!(serde_json::from_str::<ChunkTable>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn without_a_group_the_owner_stands_for_it() {
        let old = r#"[["0x1010",32,"in_use","main",3,null],["0x1030",32,"in_use","main",1,0]]"#;
        let table: ChunkTable = serde_json::from_str(old).unwrap();
        let groups: Vec<Option<u32>> = table.iter().map(|row| row.group).collect();
        assert_eq!(groups, [Some(3), None]);
    }
}
