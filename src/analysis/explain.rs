//! What is at an address, told from a snapshot, and from memory where there is any.

use super::evidence::Evidence;
use super::place;
use super::prepared::Prepared;
use super::referrers;
use super::words::Words;
use crate::addr::{Addr, AddrRange};
use crate::malloc::chunk::{HEADER, IN_USE_OVERHEAD};
use crate::malloc::read::ReadPagemap;
use crate::snapshot::chunks::{ArenaName, ChunkRow, ChunkTable};
use crate::snapshot::explanation::{ChunkInfo, Explanation, MappingInfo, SymbolInfo};
use crate::snapshot::finding::Finding;
use crate::snapshot::holder::Holder;
use crate::snapshot::model::{HexAddr, Snapshot};
use crate::snapshot::pool::{PoolRow, Trust};
use crate::target::maps::{Backing, Mapping};
use crate::target::memory::Memory;

/// What there is besides the snapshot.
pub struct Context<'a> {
    /// What is known of the target.
    pub prepared: &'a Prepared,
    /// Its memory.
    pub memory: &'a (dyn Memory + Sync),
    /// Where that holds anything.
    pub pagemap: &'a ReadPagemap<'a>,
    /// True if it cannot change.
    pub is_still: bool,
    /// What was found out on the way to the snapshot.
    pub evidence: &'a Evidence,
}

/// Explains each address. The snapshot must have its chunks.
pub fn explain(snapshot: &Snapshot, addresses: &[u64], context: Option<&Context<'_>>) -> Vec<Explanation> {
    let mut explained: Vec<Explanation> =
        addresses.iter().map(|at| without_referrers(snapshot, *at, context)).collect();
    match context {
        Some(context) => referrers::find(snapshot, context, &mut explained),
        None => {
            for explanation in &mut explained {
                explanation.notes.push(
                    "a saved snapshot holds no memory: mappings, symbols and who points there are known of a process or a \
                     core only"
                        .to_owned(),
                );
            }
        }
    }
    explained
}

fn without_referrers(snapshot: &Snapshot, address: u64, context: Option<&Context<'_>>) -> Explanation {
    let chunk = snapshot.chunks.as_ref().and_then(|chunks: &ChunkTable| chunks.at(address));
    let pool = chunk.and_then(|chunk| chunk.pool).and_then(|index| snapshot.pools.get(index as usize));
    let mut explanation = Explanation {
        address: HexAddr(address),
        chunk: chunk.map(|chunk| chunk_info(snapshot, &chunk, address)),
        pool: pool.cloned(),
        kept_by: pool.zip(context).map_or_else(Vec::new, |(pool, context)| kept_by(pool, context)),
        findings: pool.map_or_else(Vec::new, |pool| findings_about(snapshot, pool)),
        place_in_pool: chunk.zip(pool).map(|(chunk, pool)| place_in_pool(&chunk, pool, context)),
        ..Explanation::default()
    };
    if let Some(context) = context {
        let mapping = context.prepared.maps.at(Addr(address));
        explanation.mapping = mapping.map(|mapping| mapping_info(mapping, context));
        explanation.symbol = symbol_at(context.prepared, Addr(address));
        explanation.word = word_at(context, &explanation);
        add_evidence(context.evidence, &mut explanation);
    }
    if snapshot.chunks.is_none() {
        explanation
            .notes
            .push("the snapshot has no rows of chunks: what lies there on the heap is not known".to_owned());
    }
    explanation.what = place::sentence(&explanation, context);
    explanation
}

/// Who holds the references that keep a pool.
fn kept_by(pool: &PoolRow, context: &Context<'_>) -> Vec<Holder> {
    context.evidence.kept_by(Addr(pool.address.0)).to_vec()
}

/// What stands out of a pool's owner.
fn findings_about(snapshot: &Snapshot, pool: &PoolRow) -> Vec<Finding> {
    let owner = &pool.owner;
    let is_about = |finding: &&Finding| match finding {
        Finding::LargePool { address, .. } => *address == pool.address.0,
        finding => finding.is_of_kind(&owner.kind, owner.name.as_deref()),
    };
    snapshot.findings.iter().filter(is_about).cloned().collect()
}

/// What the word at the address is called.
fn word_at(context: &Context<'_>, explanation: &Explanation) -> Option<String> {
    let mut words = Words::new(context.prepared, context.evidence);
    match &explanation.chunk {
        Some(chunk) if is_outside(chunk) => {
            words.in_chunk(Addr(chunk.address.0), u64::try_from(chunk.offset).ok()?).filter(|_| chunk.offset > 0)
        }
        Some(_) => None,
        None => words.in_variable(Addr(explanation.address.0)),
    }
}

/// Adds what is known of the very chunk: a group tells of one of its chunks only.
fn add_evidence(evidence: &Evidence, explanation: &mut Explanation) {
    let Some(chunk) = explanation.chunk.as_mut().filter(|chunk| is_outside(chunk)) else { return };
    let memory = Addr(chunk.address.0);
    match evidence.typed_at(memory) {
        Some(typed) => {
            chunk.path = Some(typed.path.clone());
            chunk.type_name = Some(typed.type_name.clone()).filter(|name| !name.is_empty());
            chunk.trust = Some(if typed.inferred { Trust::InferredPath } else { Trust::TypedPath });
        }
        None => chunk.holder = evidence.held_at(memory).map(str::to_owned),
    }
}

/// True for a chunk in use that no pool holds.
fn is_outside(chunk: &ChunkInfo) -> bool {
    chunk.group.is_some()
}

fn chunk_info(snapshot: &Snapshot, chunk: &ChunkRow, address: u64) -> ChunkInfo {
    let owner = chunk.owner.and_then(|index| snapshot.owners.get(index as usize));
    ChunkInfo {
        address: HexAddr(chunk.address),
        size: chunk.size,
        state: chunk.state,
        arena: chunk.arena,
        offset: address.wrapping_sub(chunk.address) as i64,
        owner: owner.map(|owner| owner.owner.clone()),
        label: owner.map(|owner| owner.label.clone()),
        group: chunk.group.and_then(|index| snapshot.groups.get(index as usize)).cloned(),
        path: None,
        type_name: None,
        trust: None,
        holder: None,
    }
}

/// A block states its own end, so many bytes behind its start as its pool's blocks have. Without memory to look at, the
/// chunk's size tells: malloc gives at most 24 bytes more than were asked for.
fn place_in_pool(chunk: &ChunkRow, pool: &PoolRow, context: Option<&Context<'_>>) -> &'static str {
    if chunk.address == pool.address.0 {
        return "header";
    }
    let surplus = (chunk.size - IN_USE_OVERHEAD.min(chunk.size)).checked_sub(pool.block_size);
    let has_size = surplus.is_some_and(|surplus| surplus <= 24);
    let stated = context.and_then(|context| {
        let end = context.prepared.nginx.as_ref()?.pools.end;
        context.memory.read_u64(Addr(chunk.address) + end).ok()
    });
    let is_block = has_size && stated.is_none_or(|end| end.wrapping_sub(chunk.address) == pool.block_size);
    if is_block { "block" } else { "large" }
}

fn mapping_info(mapping: &Mapping, context: &Context<'_>) -> MappingInfo {
    let right = |has: bool, letter| if has { letter } else { '-' };
    let (what, file_offset) = match &mapping.backing {
        Backing::Heap => ("brk heap".to_owned(), None),
        Backing::Stack => ("stack".to_owned(), None),
        Backing::File { path, .. } => (path.display().to_string(), Some(mapping.file_offset)),
        Backing::SharedMemory => ("shared memory".to_owned(), None),
        Backing::Anonymous => {
            (place::bss(mapping, mapping.range.start, context).unwrap_or_else(|| "anonymous".to_owned()), None)
        }
        Backing::Kernel => ("kernel".to_owned(), None),
    };
    MappingInfo {
        start: HexAddr(mapping.range.start.0),
        end: HexAddr(mapping.range.end.0),
        rights: [right(mapping.readable, 'r'), right(mapping.writable, 'w'), right(mapping.executable, 'x')]
            .into_iter()
            .collect(),
        what,
        file_offset,
    }
}

/// The symbol that covers an address.
pub fn symbol_at(prepared: &Prepared, address: Addr) -> Option<SymbolInfo> {
    let (symbol, offset, module) = prepared.symbol_at(address)?;
    Some(SymbolInfo { name: symbol.name.to_string(), offset, file: module.debug.path().display().to_string() })
}

/// What is searched for those who point to what an explanation is of: the chunk's memory, or the address alone; nothing, if
/// nothing is mapped there.
pub fn wanted(explanation: &Explanation) -> AddrRange {
    match &explanation.chunk {
        Some(chunk) => {
            // Nothing follows a chunk with a mapping of its own, whose last word it could have for itself.
            let overhead = if chunk.arena == ArenaName::Mmapped { HEADER } else { IN_USE_OVERHEAD };
            AddrRange::sized(Addr(chunk.address.0), chunk.size.saturating_sub(overhead))
        }
        None if explanation.mapping.is_none() => AddrRange::sized(Addr::NULL, 0),
        None => AddrRange::sized(Addr(explanation.address.0), 1),
    }
}
