//! One row for each pool.

use super::{Record, Row};
use crate::snapshot::pool::PoolRow;
use serde::{Serialize, Serializer};
use std::io;

impl Row for PoolRow {
    const FIELDS: &'static [&'static str] = &[
        "address",
        "owner",
        "label",
        "name",
        "path",
        "trust",
        "state",
        "protocol",
        "handler",
        "identity",
        "references",
        "age_ms",
        "block_size",
        "blocks",
        "large",
        "large_freed",
        "bytes",
        "block_bytes",
        "large_bytes",
        "used",
        "unused",
        "lost",
        "second_block",
        "cleanups",
    ];

    /// Cleanups as `handler=count`, with a blank between two.
    fn csv(&self, record: &mut Record<'_>) -> io::Result<()> {
        let owner = &self.owner;
        record.plain(self.address)?;
        record.text(&owner.kind)?;
        record.text(&owner.label)?;
        record.text(owner.name.as_deref().unwrap_or_default())?;
        record.text(&self.path())?;
        record.plain(owner.trust.name())?;
        for text in [&owner.state, &owner.protocol, &owner.handler] {
            record.text(text.as_deref().unwrap_or_default())?;
        }
        record.plain_or_empty(self.identity)?;
        record.plain_or_empty(self.references)?;
        record.plain_or_empty(self.age_ms)?;
        for number in [self.block_size, self.blocks, self.large, self.large_freed, self.bytes(), self.block_bytes] {
            record.plain(number)?;
        }
        for number in [self.large_bytes, self.used, self.unused, self.lost] {
            record.plain(number)?;
        }
        record.plain_or_empty(self.second_block)?;
        let cleanups: Vec<String> = self.cleanups.iter().map(|row| format!("{}={}", row.handler, row.count)).collect();
        record.text(&cleanups.join(" "))
    }
}

/// A pool with what is known of its client: a row of a list in which any has that.
#[derive(Debug, Clone, Copy)]
pub struct ClientRow<'a>(pub &'a PoolRow);

impl Serialize for ClientRow<'_> {
    /// Pools say of clients what they know, and nothing else.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl Row for ClientRow<'_> {
    const FIELDS: &'static [&'static str] = {
        const COUNT: usize = <PoolRow as Row>::FIELDS.len();
        const ALL: [&str; COUNT + 2] = {
            let mut all = ["client"; COUNT + 2];
            let mut index = 0;
            while index < COUNT {
                all[index] = <PoolRow as Row>::FIELDS[index];
                index += 1;
            }
            all[COUNT + 1] = "uri";
            all
        };
        &ALL
    };

    fn csv(&self, record: &mut Record<'_>) -> io::Result<()> {
        self.0.csv(record)?;
        record.text(self.0.client.as_deref().unwrap_or_default())?;
        record.text(self.0.uri.as_deref().unwrap_or_default())
    }
}
