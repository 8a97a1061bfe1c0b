//! Who points to something: every aligned word of private memory is looked at.

use super::explain::{Context, symbol_at, wanted};
use crate::addr::{Addr, AddrRange};
use crate::malloc::chunk::ChunkState;
use crate::snapshot::chunks::ChunkRow;
use crate::snapshot::explanation::{Explanation, Referrer, Referrers};
use crate::snapshot::model::{HexAddr, Snapshot};
use crate::target::maps::{Backing, Mapping};
use rustc_hash::FxHashMap;

/// Bytes that are read at once.
const WINDOW: u64 = 1 << 20;

/// How many places are looked at of each explanation; all are counted.
const LOOKED_AT: usize = 1 << 16;

/// How many of these are kept, the most useful ones.
const KEPT: usize = 1000;

/// A word that points into one of the wanted ranges.
struct Hit {
    at: Addr,
    value: Addr,
    /// Which explanation it belongs to.
    wanted: usize,
}

/// Adds to each explanation who points there.
pub fn find(snapshot: &Snapshot, context: &Context<'_>, explained: &mut [Explanation]) {
    let targets: Vec<AddrRange> = explained.iter().map(wanted).collect();
    let mut hits = Vec::new();
    let mut counts = vec![0u64; targets.len()];
    let mut searched = 0;
    for mapping in context.prepared.maps.0.iter().filter(|mapping| is_searched(mapping)) {
        searched += search(context, mapping.range, &targets, &mut counts, &mut hits);
    }
    let chunks = chunks_of(snapshot, &hits);
    for (index, explanation) in
        explained.iter_mut().enumerate().filter(|(_, explanation)| explanation.mapping.is_some())
    {
        let own: Vec<(Usefulness, Referrer)> = hits
            .iter()
            .filter(|hit| hit.wanted == index)
            .map(|hit| (chunks.get(&hit.at), hit))
            .map(|(chunk, hit)| (usefulness(snapshot, explanation, chunk), describe(snapshot, context, hit, chunk)))
            .collect();
        explanation.referrers = Some(sum_up(own, counts.get(index).copied().unwrap_or(0), searched, context.is_still));
    }
}

/// Shared memory is not looked at: reading it would fault pages in. Neither is what cannot be written: it points to nothing
/// on the heap.
fn is_searched(mapping: &Mapping) -> bool {
    let is_private = !matches!(mapping.backing, Backing::SharedMemory | Backing::Kernel);
    is_private && mapping.readable && mapping.writable
}

/// Looks through a range. Gives back how many bytes could be read.
fn search(
    context: &Context<'_>,
    range: AddrRange,
    targets: &[AddrRange],
    counts: &mut [u64],
    hits: &mut Vec<Hit>,
) -> u64 {
    let page_size = context.prepared.page_size;
    let pagemap = (context.pagemap)(&[range]);
    let lowest = targets.iter().map(|target| target.start).min().unwrap_or_default();
    let span = targets.iter().map(|target| target.end.0.saturating_sub(lowest.0)).max().unwrap_or_default();
    let mut buffer = Vec::new();
    let mut searched = 0;
    let mut from = range.start;
    while let Some(at) = pagemap.next_with_data(from, range.end) {
        let mut end = at;
        while end < range.end && end.0 - at.0 < WINDOW && pagemap.may_hold_data(end) {
            end = (end.align_down(page_size) + page_size).min(range.end);
        }
        buffer.resize((end.0 - at.0) as usize, 0);
        if context.memory.read(at, &mut buffer).is_ok() {
            searched += buffer.len() as u64;
            for (place, word) in buffer.as_chunks::<8>().0.iter().enumerate() {
                let value = u64::from_le_bytes(*word);
                if value.wrapping_sub(lowest.0) < span {
                    note(at + place as u64 * 8, Addr(value), targets, counts, hits);
                }
            }
        }
        from = end;
    }
    searched
}

fn note(at: Addr, value: Addr, targets: &[AddrRange], counts: &mut [u64], hits: &mut Vec<Hit>) {
    for (wanted, _) in targets.iter().enumerate().filter(|(_, target)| target.contains(value)) {
        if let Some(count) = counts.get_mut(wanted) {
            *count += 1;
            if *count <= LOOKED_AT as u64 {
                hits.push(Hit { at, value, wanted });
            }
        }
    }
}

/// The chunks that hold the hits, in one pass over all of them.
fn chunks_of(snapshot: &Snapshot, hits: &[Hit]) -> FxHashMap<Addr, ChunkRow> {
    let mut places: Vec<Addr> = hits.iter().map(|hit| hit.at).collect();
    places.sort_unstable();
    places.dedup();
    let mut found = FxHashMap::default();
    for chunk in snapshot.chunks.iter().flat_map(|chunks| chunks.iter()) {
        let (start, end) = (Addr(chunk.address), Addr(chunk.address.saturating_add(chunk.size)));
        let first = places.partition_point(|place| *place < start);
        for place in places.iter().skip(first).take_while(|place| **place < end) {
            found.entry(*place).or_insert(chunk);
        }
    }
    found
}

fn describe(snapshot: &Snapshot, context: &Context<'_>, hit: &Hit, chunk: Option<&ChunkRow>) -> Referrer {
    let referrer = |owner: &str, place: String, offset| Referrer {
        at: HexAddr(hit.at.0),
        value: HexAddr(hit.value.0),
        owner: owner.to_owned(),
        name: None,
        state: None,
        place,
        offset,
    };
    if let Some(chunk) = chunk {
        let offset = hit.at.0 - chunk.address;
        let owner = chunk.owner.and_then(|index| snapshot.owners.get(index as usize));
        let pool = chunk.pool.and_then(|index| snapshot.pools.get(index as usize));
        let group = chunk.group.and_then(|index| snapshot.groups.get(index as usize));
        let place = match (pool, group, chunk.state) {
            (Some(pool), ..) if !pool.path().is_empty() => pool.path(),
            (Some(pool), ..) => format!("the pool at {}", pool.address),
            (None, Some(group), _) if !group.path.is_empty() => group.path.clone(),
            (None, _, ChunkState::InUse) => format!("the chunk at {:#x}", chunk.address),
            (None, _, state) => format!("the chunk at {:#x}, {}", chunk.address, state.name()),
        };
        let of_pool = pool.and_then(|pool| pool.owner.name.clone());
        let of_group = group.map(|group| group.name.clone()).filter(|name| !name.is_empty());
        return Referrer {
            name: of_pool.or(of_group),
            state: pool.and_then(|pool| pool.owner.state.clone()),
            ..referrer(owner.map_or("free", |owner| owner.owner.as_str()), place, offset)
        };
    }
    if let Some(symbol) = symbol_at(context.prepared, hit.at) {
        return referrer("variables", symbol.name, symbol.offset);
    }
    match context.prepared.maps.at(hit.at) {
        Some(Mapping { backing: Backing::Stack, range, .. }) => {
            referrer("stack", "the main thread's stack".to_owned(), hit.at.0 - range.start.0)
        }
        Some(Mapping { backing: Backing::File { path, .. }, range, .. }) => {
            referrer("variables", path.display().to_string(), hit.at.0 - range.start.0)
        }
        Some(mapping) => referrer("other", "anonymous memory".to_owned(), hit.at.0 - mapping.range.start.0),
        None => referrer("other", "unknown memory".to_owned(), 0),
    }
}

/// How much a pointer says, most first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Usefulness {
    /// It lies with somebody else, who may be what keeps the memory.
    Other,
    /// It lies in the same pool.
    Own,
    /// It lies in a chunk that is not in use.
    Stale,
}

fn usefulness(snapshot: &Snapshot, explanation: &Explanation, chunk: Option<&ChunkRow>) -> Usefulness {
    let pool = chunk.and_then(|chunk| chunk.pool).and_then(|index| snapshot.pools.get(index as usize));
    match (chunk.map(|chunk| chunk.state), pool, &explanation.pool) {
        (Some(state), ..) if state != ChunkState::InUse => Usefulness::Stale,
        (_, Some(pool), Some(own)) if pool.address == own.address => Usefulness::Own,
        _ => Usefulness::Other,
    }
}

fn sum_up(mut list: Vec<(Usefulness, Referrer)>, count: u64, searched: u64, exact: bool) -> Referrers {
    let mut by_owner: FxHashMap<&str, u64> = FxHashMap::default();
    for (_, referrer) in &list {
        *by_owner.entry(&referrer.owner).or_default() += 1;
    }
    let mut by_owner: Vec<(String, u64)> =
        by_owner.into_iter().map(|(owner, count)| (owner.to_owned(), count)).collect();
    by_owner.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    list.sort_by_key(|(usefulness, referrer)| (*usefulness, referrer.at));
    let list = list.into_iter().take(KEPT).map(|(_, referrer)| referrer).collect();
    Referrers { count, searched, exact, by_owner, list }
}
