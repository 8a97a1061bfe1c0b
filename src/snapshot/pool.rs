//! Pools in a snapshot: a row has what is its own, and shares what many have in common.
//!
//! A gateway can have a million pools. What a row says of its owner (kind, label, name, the form of its path) is the same
//! for very many of them, so that they share one [`PoolOwner`]; only the slot in the path differs.

use super::model::HexAddr;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

pub use crate::nginx::owner::Trust;

/// A cleanup handler with how often a pool has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CleanupRow {
    /// Its function, by symbol, or its address in hex if no symbol covers it.
    pub handler: String,
    /// How many cleanups of the pool have it.
    pub count: u64,
}

/// What tells an owner from an earlier or later one whose pool lies at the same address: nginx's number of the connection
/// (`*17` in its error log), and for a request its place among those of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// nginx `ngx_connection_t.number`, which counts up over a worker's life.
    pub connection: u64,
    /// nginx `ngx_connection_t.requests`; 0 for the connection itself.
    pub request: u64,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.request {
            0 => write!(f, "{}", self.connection),
            request => write!(f, "{}.{request}", self.connection),
        }
    }
}

impl std::str::FromStr for Identity {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Identity, Self::Err> {
        let (connection, request) = text.split_once('.').unwrap_or((text, "0"));
        Ok(Identity { connection: connection.parse()?, request: request.parse()? })
    }
}

/// Where the number of a slot stands in [`PoolOwner::path`].
pub const SLOT: &str = "[*]";

/// What pools have in common with others of the same owner.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolOwner {
    /// Stable name of its kind, as in [`super::model::OwnerSummary::owner`].
    pub kind: String,
    /// The same for people.
    pub label: String,
    /// What it is called (an upstream's name), if it has a name.
    pub name: Option<String>,
    /// Its state, where it has one (`live`, `deleting`).
    pub state: Option<String>,
    /// How it is known.
    pub trust: Trust,
    /// The typed path from a root, with [`SLOT`] in place of the first number in brackets; empty if there is none.
    pub path: String,
    /// What it speaks, where it speaks to somebody: `http/1.1`, `http/2`, `stream`, `mail`.
    pub protocol: Option<String>,
    /// The function that it runs next, by symbol.
    pub handler: Option<String>,
}

/// A pool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolRow {
    /// Where the `ngx_pool_t` lies.
    pub address: HexAddr,
    /// Whose it is.
    pub owner: Arc<PoolOwner>,
    /// The number that [`SLOT`] stands for in the owner's path.
    pub slot: Option<u32>,
    /// Tells its owner from others that have used the same address.
    pub identity: Option<Identity>,
    /// How old its owner is, in milliseconds by nginx's clock, where that is known.
    pub age_ms: Option<u64>,
    /// The client's address, if it was asked for.
    pub client: Option<Arc<str>>,
    /// What the client asked for, if that was asked for.
    pub uri: Option<Arc<str>>,
    /// Where its second block lies: one that has another is another pool.
    pub second_block: Option<HexAddr>,
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
    /// Chunk sizes of its blocks.
    pub block_bytes: u64,
    /// Chunk sizes of its large allocations.
    pub large_bytes: u64,
    /// Bytes handed out, or used by the pool's own headers.
    pub used: u64,
    /// Bytes at the ends of blocks that can still be handed out.
    pub unused: u64,
    /// Bytes at the ends of blocks before `current`, which no allocation looks at any more.
    pub lost: u64,
    /// Cleanup handlers, most frequent first.
    pub cleanups: Arc<[CleanupRow]>,
}

impl PoolRow {
    /// Chunk sizes of all it holds.
    pub fn bytes(&self) -> u64 {
        self.block_bytes.saturating_add(self.large_bytes)
    }

    /// Forgets the client's address and what it asked for.
    pub fn hide_client(&mut self) {
        (self.client, self.uri) = (None, None);
    }

    /// True if it says who the client is or what was asked for.
    pub fn shows_client(&self) -> bool {
        self.client.is_some() || self.uri.is_some()
    }

    /// The typed path from a root; empty if there is none.
    pub fn path(&self) -> String {
        match self.slot {
            Some(slot) => self.owner.path.replacen(SLOT, &format!("[{slot}]"), 1),
            None => self.owner.path.clone(),
        }
    }
}

/// A path as the form that it shares with others, and the slot that is its own.
pub fn split_path(path: &str) -> (String, Option<u32>) {
    let whole = || (path.to_owned(), None);
    let Some((at, digits)) = path.match_indices('[').find_map(|(at, _)| Some((at, number_at(path, at + 1)?))) else {
        return whole();
    };
    let Ok(slot) = digits.parse::<u32>() else { return whole() };
    let (head, tail) = (path.get(..at).unwrap_or_default(), path.get(at + 2 + digits.len()..).unwrap_or_default());
    // What stands for the slot must come first, and the number be written the one way it is written again.
    match head.contains(SLOT) || slot.to_string() != digits {
        true => whole(),
        false => (format!("{head}{SLOT}{tail}"), Some(slot)),
    }
}

/// The digits from `start` up to a closing bracket.
fn number_at(path: &str, start: usize) -> Option<&str> {
    let (digits, _) = path.get(start..)?.split_once(']')?;
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(digits)
}

/// A row as it is published (docs/snapshot-schema.md).
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Published {
    address: HexAddr,
    owner: String,
    label: String,
    name: Option<String>,
    path: String,
    trust: Trust,
    state: Option<String>,
    protocol: Option<String>,
    handler: Option<String>,
    identity: Option<String>,
    references: Option<u64>,
    age_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    block_size: u64,
    blocks: u64,
    large: u64,
    large_freed: u64,
    bytes: u64,
    block_bytes: u64,
    large_bytes: u64,
    used: u64,
    unused: u64,
    lost: u64,
    second_block: Option<HexAddr>,
    cleanups: Vec<CleanupRow>,
}

impl Serialize for PoolRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let owner = (*self.owner).clone();
        let published = Published {
            address: self.address,
            owner: owner.kind,
            label: owner.label,
            name: owner.name,
            path: self.path(),
            trust: owner.trust,
            state: owner.state,
            protocol: owner.protocol,
            handler: owner.handler,
            identity: self.identity.map(|identity| identity.to_string()),
            references: self.references,
            age_ms: self.age_ms,
            client: self.client.as_deref().map(str::to_owned),
            uri: self.uri.as_deref().map(str::to_owned),
            block_size: self.block_size,
            blocks: self.blocks,
            large: self.large,
            large_freed: self.large_freed,
            bytes: self.bytes(),
            block_bytes: self.block_bytes,
            large_bytes: self.large_bytes,
            used: self.used,
            unused: self.unused,
            lost: self.lost,
            second_block: self.second_block,
            cleanups: self.cleanups.to_vec(),
        };
        published.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PoolRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PoolRow, D::Error> {
        let row = Published::deserialize(deserializer)?;
        let (path, slot) = split_path(&row.path);
        let Published { owner: kind, label, name, state, trust, protocol, handler, .. } = row;
        Ok(PoolRow {
            address: row.address,
            owner: Arc::new(PoolOwner { kind, label, name, state, trust, path, protocol, handler }),
            slot,
            identity: row.identity.and_then(|identity| identity.parse().ok()),
            second_block: row.second_block,
            references: row.references,
            age_ms: row.age_ms,
            client: row.client.map(Arc::from),
            uri: row.uri.map(Arc::from),
            block_size: row.block_size,
            blocks: row.blocks,
            large: row.large,
            large_freed: row.large_freed,
            block_bytes: row.block_bytes,
            large_bytes: row.large_bytes,
            used: row.used,
            unused: row.unused,
            lost: row.lost,
            cleanups: row.cleanups.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_put_together_again_as_it_was() {
        for (path, form, slot) in [
            ("dy_upstreams[17].pool", "dy_upstreams[*].pool", Some(17)),
            ("conf_ctx[ngx_http_module]->up[3].a[4]", "conf_ctx[ngx_http_module]->up[*].a[4]", Some(3)),
            ("ngx_cycle->pool", "ngx_cycle->pool", None),
            ("a[007]", "a[007]", None),
            ("a[99999999999]", "a[99999999999]", None),
            ("a[*].b[4]", "a[*].b[4]", None),
            ("a[4", "a[4", None),
            ("", "", None),
        ] {
            assert_eq!(split_path(path), (form.to_owned(), slot));
            let owner = PoolOwner { path: form.to_owned(), ..PoolOwner::default() };
            assert_eq!(PoolRow { owner: Arc::new(owner), slot, ..PoolRow::default() }.path(), path);
        }
    }

    #[test]
    fn identities_are_read_as_they_are_written() {
        for (identity, text) in [
            (Identity { connection: 17, request: 0 }, "17"),
            (Identity { connection: u64::MAX, request: 2 }, "18446744073709551615.2"),
        ] {
            assert_eq!(identity.to_string(), text);
            assert_eq!(text.parse(), Ok(identity));
        }
        assert!("17.".parse::<Identity>().is_err() && "x".parse::<Identity>().is_err());
    }

    #[test]
    fn a_row_is_read_as_it_is_written() {
        let owner = PoolOwner {
            kind: "dyups.live".into(),
            label: "dyups upstream, live".into(),
            name: Some("svc".into()),
            state: Some("live".into()),
            trust: Trust::TypedPath,
            path: "dy_upstreams[*].pool".into(),
            protocol: None,
            handler: Some("ngx_http_upstream_process_upgraded".into()),
        };
        let row = PoolRow {
            address: HexAddr(0x5010),
            owner: Arc::new(owner),
            slot: Some(4),
            identity: Some(Identity { connection: 5, request: 1 }),
            second_block: Some(HexAddr(0x6010)),
            references: Some(1),
            age_ms: Some(7),
            client: Some("127.0.0.1".into()),
            uri: Some("/ws".into()),
            block_size: 512,
            block_bytes: 528,
            cleanups: vec![CleanupRow { handler: "ngx_pool_cleanup_file".into(), count: 2 }].into(),
            ..PoolRow::default()
        };
        let text = serde_json::to_string(&row).unwrap();
        assert_eq!(serde_json::from_str::<PoolRow>(&text).unwrap(), row);
    }
}
