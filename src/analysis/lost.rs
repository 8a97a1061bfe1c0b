//! What nothing points to, as findings.

use super::prepared::Prepared;
use crate::addr::{Addr, AddrRange};
use crate::attribution::groups::kinds::UNREFERENCED;
use crate::attribution::{Attribution, Held, OwnedPool};
use crate::malloc::heap::Heap;
use crate::snapshot::finding::Finding;
use crate::snapshot::model::ChunkGroup;
use crate::target::memory::{Memory, word_at};
use rustc_hash::FxHashMap;

/// Fewer chunks of one kind are not spoken of, unless they are large.
const NOTABLE_CHUNKS: u64 = 16;
/// Nor are fewer bytes.
const NOTABLE_BYTES: u64 = 64 << 10;
/// So many bytes are spoken of however few chunks they are.
const LARGE_BYTES: u64 = 1 << 20;

/// More kinds of lost pools than this are told apart by less.
const MOST_KINDS: usize = 8;

/// So many bytes behind a pool's header are looked at for what it was made for.
const LOOKED_AT: u64 = 256;
/// So many symbols are named.
const NAMED: usize = 4;

/// What lost pools have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Signature {
    block_size: u64,
    cleanups: Vec<String>,
    log: Vec<String>,
    symbols: Vec<String>,
}

/// Pools that nothing points to, by what they look like, most bytes first.
pub fn unreachable_pools(prepared: &Prepared, attribution: &Attribution, memory: &dyn Memory) -> Vec<Finding> {
    let lost = || attribution.pools.iter().filter(|owned| owned.named.is_none() && owned.held == Held::ByNothing);
    let mut groups = grouped(lost().map(|owned| (signature(prepared, owned, memory), owned)));
    if groups.len() > MOST_KINDS {
        // What requests were doing and what they held differs; what pools were made as does not.
        groups = grouped(lost().map(|owned| (plain_signature(prepared, owned), owned)));
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, (_, bytes, example))| (std::cmp::Reverse(*bytes), *example));
    let finding = |(signature, (pools, bytes, example)): (Signature, (u64, u64, Addr))| Finding::UnreachablePools {
        pools,
        bytes,
        block_size: signature.block_size,
        cleanups: signature.cleanups,
        log: signature.log,
        symbols: signature.symbols,
        example: example.0,
    };
    groups.into_iter().map(finding).collect()
}

/// How many pools have each signature, their bytes together, and the address of one.
fn grouped<'a>(pools: impl Iterator<Item = (Signature, &'a OwnedPool)>) -> FxHashMap<Signature, (u64, u64, Addr)> {
    let mut groups: FxHashMap<Signature, (u64, u64, Addr)> = FxHashMap::default();
    for (signature, owned) in pools {
        let group = groups.entry(signature).or_insert((0, 0, owned.pool.address));
        group.0 += 1;
        group.1 = group.1.saturating_add(owned.pool.bytes());
    }
    groups
}

/// Groups of chunks that nothing points to, as far as they are notable, most bytes first.
pub fn unreferenced(groups: &[ChunkGroup]) -> Vec<Finding> {
    let is_notable = |group: &&ChunkGroup| {
        let is_head = group.owner == UNREFERENCED.key && !group.name.starts_with("held by ");
        let is_many = group.chunks >= NOTABLE_CHUNKS && group.bytes >= NOTABLE_BYTES;
        is_head && (is_many || group.bytes >= LARGE_BYTES)
    };
    let finding = |group: &ChunkGroup| Finding::Unreferenced {
        name: group.name.clone(),
        chunks: group.chunks,
        bytes: group.bytes,
        size: (group.smallest == group.largest).then_some(group.largest),
        example: group.example.0,
    };
    groups.iter().filter(is_notable).map(finding).collect()
}

fn signature(prepared: &Prepared, owned: &OwnedPool, memory: &dyn Memory) -> Signature {
    Signature {
        log: log_words(prepared, owned, memory).unwrap_or_default(),
        symbols: symbols(prepared, owned, memory),
        ..plain_signature(prepared, owned)
    }
}

/// What does not change over a pool's life but for its cleanups.
fn plain_signature(prepared: &Prepared, owned: &OwnedPool) -> Signature {
    let mut cleanups: Vec<String> =
        owned.pool.cleanups.iter().filter_map(|cleanup| symbol(prepared, cleanup.handler)).collect();
    cleanups.sort_unstable();
    cleanups.dedup();
    Signature { block_size: owned.pool.block_size, cleanups, log: Vec::new(), symbols: Vec::new() }
}

/// The symbol that begins at an address.
fn symbol(prepared: &Prepared, address: Addr) -> Option<String> {
    let (symbol, offset, _) = prepared.symbol_at(address)?;
    (offset == 0).then(|| symbol.name.to_string())
}

/// What the pool's log says that is being done, and the function that adds to its lines (nginx `ngx_log_t`). The log may
/// have been freed: what is no text of the binary is left out.
fn log_words(prepared: &Prepared, owned: &OwnedPool, memory: &dyn Memory) -> Option<Vec<String>> {
    let pools = &prepared.nginx.as_ref()?.pools;
    let layout = prepared.binary.debug.layout("ngx_log_s").ok()?;
    let log = memory.read_pointer(owned.pool.address + pools.log).ok()?;
    let field = |name| memory.read_pointer(log + layout.offset(name).ok()?).ok();
    let action = field("action").and_then(|at| text(prepared, at, memory));
    let handler = field("handler").and_then(|at| symbol(prepared, at));
    Some([action, handler].into_iter().flatten().collect())
}

/// A string constant of the binary or a module: what can be written may hold anything, a client's words as well.
fn text(prepared: &Prepared, at: Addr, memory: &dyn Memory) -> Option<String> {
    const LONGEST: u64 = 64;
    let module = prepared.modules().find(|module| module.span.contains(at))?;
    prepared.maps.at(at).filter(|mapping| !mapping.writable)?;
    let mut bytes = vec![0; LONGEST.min(module.span.end.0 - at.0) as usize];
    memory.read(at, &mut bytes).ok()?;
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let text = bytes.get(..end)?;
    let is_text = !text.is_empty() && text.iter().all(|byte| (b' '..=b'~').contains(byte));
    is_text.then(|| String::from_utf8_lossy(text).into_owned())
}

/// Functions and variables whose addresses lie in the first allocations of a pool.
fn symbols(prepared: &Prepared, owned: &OwnedPool, memory: &dyn Memory) -> Vec<String> {
    let Some(nginx) = &prepared.nginx else { return Vec::new() };
    let header = nginx.pools.header;
    // Behind what was handed out lies what the memory held before.
    let handed_out = owned.pool.block_size.min(owned.pool.used);
    let length = handed_out.saturating_sub(header).min(LOOKED_AT);
    let range = AddrRange::sized(owned.pool.address + header, length);
    let mut bytes = vec![0; range.len() as usize];
    if memory.read(range.start, &mut bytes).is_err() {
        return Vec::new();
    }
    let words = (0..range.len() / 8).map(|index| Addr(word_at(&bytes, index * 8)));
    let mut names: Vec<String> = words.filter_map(|word| symbol(prepared, word)).take(NAMED).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// A heap whose books do not add up may hold pointers that were not looked at: nothing in it is said to be lost.
pub fn may_tell_lost(heap: &Heap) -> bool {
    heap.books.reconcile_exactly() && heap.arenas.iter().all(|arena| arena.has_books)
}
