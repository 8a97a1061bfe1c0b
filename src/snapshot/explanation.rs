//! What is known of one address. Addresses are running addresses; sizes are bytes.

use super::chunks::ArenaName;
use super::finding::Finding;
use super::holder::Holder;
use super::model::{ChunkGroup, HexAddr};
use super::pool::{PoolRow, Trust};
use crate::malloc::chunk::ChunkState;
use serde::{Serialize, Serializer};

/// What is at an address, and who points there.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Explanation {
    /// The address.
    pub address: HexAddr,
    /// What it is, in one sentence without its subject: `in a block of a pool`, `nothing is mapped at 0x10`.
    pub what: String,
    /// The typed path of the very address, if it lies in a typed chunk outside pools or in a variable with fields:
    /// `ngx_cycle->connections[17].data`.
    pub word: Option<String>,
    /// The mapping that holds it; absent if nothing is mapped there, or if that is not known (of a saved snapshot).
    pub mapping: Option<MappingInfo>,
    /// Function or variable that it lies in, with the offset in it, and the file of which that is.
    pub symbol: Option<SymbolInfo>,
    /// The chunk that holds it.
    pub chunk: Option<ChunkInfo>,
    /// The pool that holds that chunk.
    pub pool: Option<PoolRow>,
    /// What the chunk is to its pool: `header` (it begins with the `ngx_pool_t`), `block` or `large`.
    pub place_in_pool: Option<&'static str>,
    /// Who holds the references that keep the pool, most references first. Not known of a saved snapshot.
    pub kept_by: Vec<Holder>,
    /// What stands out of the pool's owner, as in the snapshot: it may be of several pools.
    pub findings: Vec<Finding>,
    /// Who points there; absent if there was no memory to look at.
    pub referrers: Option<Referrers>,
    /// What could not be told, and why.
    pub notes: Vec<String>,
}

/// A mapping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MappingInfo {
    /// Its first address.
    pub start: HexAddr,
    /// The first address behind it.
    pub end: HexAddr,
    /// As `/proc/PID/maps` writes it: `rw-`.
    pub rights: String,
    /// What it is: `brk heap`, `stack`, `anonymous`, `.bss of nginx`, `shared memory`, `kernel`, or the path of a file.
    pub what: String,
    /// Offset in that file.
    pub file_offset: Option<u64>,
}

/// A symbol and a place in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SymbolInfo {
    /// Its name.
    pub name: String,
    /// How far into it.
    pub offset: u64,
    /// The file that defines it.
    pub file: String,
}

impl std::fmt::Display for SymbolInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.offset {
            0 => f.write_str(&self.name),
            offset => write!(f, "{}+{offset:#x}", self.name),
        }
    }
}

/// A chunk and a place in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChunkInfo {
    /// What malloc returned.
    pub address: HexAddr,
    /// Its size, header included.
    pub size: u64,
    /// What malloc thinks of it.
    pub state: ChunkState,
    /// Where it comes from.
    #[serde(serialize_with = "arena_name")]
    pub arena: ArenaName,
    /// How far the address is from what malloc returned; negative in the chunk's header.
    pub offset: i64,
    /// Stable name of its kind of owner; absent if it is not in use.
    pub owner: Option<String>,
    /// The same for people.
    pub label: Option<String>,
    /// The group that it belongs to, if it is in use and no pool holds it.
    pub group: Option<ChunkGroup>,
    /// The typed path to this very chunk, if it is in use, no pool holds it, and there is one. Not known of a saved snapshot.
    pub path: Option<String>,
    /// The type that this path says it has.
    pub type_name: Option<String>,
    /// How much that path is worth.
    pub trust: Option<Trust>,
    /// Who holds it, if it is in use outside pools without a typed path: `pointed to by the chunk at 0x…, which is pointed to
    /// by ngx_foo (nginx)`. Not known of a saved snapshot.
    pub holder: Option<String>,
}

fn arena_name<S: Serializer>(arena: &ArenaName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(arena)
}

/// Words and registers that hold an address in the chunk (or the very address, if there is no chunk).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Referrers {
    /// How many there are.
    pub count: u64,
    /// Bytes of memory that were looked through.
    pub searched: u64,
    /// How many threads' registers were looked at, as these stood still; 0 if they are not known.
    pub threads: u64,
    /// True if nothing could change meanwhile: a core. A live process runs while it is searched.
    pub exact: bool,
    /// How many are in memory of each owner, most first. `register`, `stack`, `variables` and `other` are not on the heap;
    /// `free` are in chunks that are not in use: what is left there says nothing.
    pub by_owner: Vec<(String, u64)>,
    /// The first ones in the order of their addresses, registers before memory: those in memory of others first, then those in
    /// the same pool, then those in chunks that are not in use and below stack pointers.
    pub list: Vec<Referrer>,
}

/// A word or a register that points to something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Referrer {
    /// Where it lies; absent for a register.
    pub at: Option<HexAddr>,
    /// What it holds.
    pub value: HexAddr,
    /// What it lies in: a kind of owner, `free`, `register`, `stack`, `variables` or `other`.
    pub owner: String,
    /// What its owner is called: `location /ws` of a request, `SSL_SESSION` of a group outside pools.
    pub name: Option<String>,
    /// State of that owner, where it has one.
    pub state: Option<String>,
    /// The path of the pool or of the group that it lies in, the variable's name, or the file, stack or register with its thread.
    pub place: String,
    /// How far into the chunk or variable it lies.
    pub offset: u64,
    /// The typed path of the word, if it lies in a typed chunk outside pools or in a variable with fields:
    /// `ngx_cycle->connections[17].data`.
    pub path: Option<String>,
}
