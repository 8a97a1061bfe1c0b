//! Who points to something: every aligned word of private memory is looked at, and the registers as they stood still.

use super::evidence::StackPlace;
use super::explain::{Context, symbol_at, wanted};
use super::place::{self, thread_name};
use super::words::Words;
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
    let mut describer = Describer { snapshot, context, words: Words::new(context.prepared, context.evidence) };
    for (index, explanation) in
        explained.iter_mut().enumerate().filter(|(_, explanation)| explanation.mapping.is_some())
    {
        let mut own: Vec<(Usefulness, Referrer)> = registers(context, wanted(explanation));
        let count = own.len() as u64 + counts.get(index).copied().unwrap_or(0);
        for hit in hits.iter().filter(|hit| hit.wanted == index) {
            let chunk = chunks.get(&hit.at);
            let stack = stack_place(context, hit.at).filter(|_| chunk.is_none());
            own.push((usefulness(snapshot, explanation, chunk, stack), describer.describe(hit, chunk, stack)));
        }
        let mut referrers = sum_up(own, count, searched, context.is_still);
        referrers.threads = context.evidence.threads.len() as u64;
        explanation.referrers = Some(referrers);
    }
}

/// Registers that point into a range.
fn registers(context: &Context<'_>, target: AddrRange) -> Vec<(Usefulness, Referrer)> {
    let mut found = Vec::new();
    for thread in &context.evidence.threads {
        let name = thread_name(thread.tid, context);
        let pointing = thread.named().filter(|(_, word)| target.contains(Addr(*word)));
        found.extend(pointing.map(|(register, word)| {
            let place = format!("{register} of {name}");
            (Usefulness::Other, referrer(None, Addr(word), "register", place, 0))
        }));
    }
    found
}

fn stack_place(context: &Context<'_>, at: Addr) -> Option<StackPlace> {
    context.evidence.stack_place(context.prepared.maps.at(at)?, at)
}

fn referrer(at: Option<Addr>, value: Addr, owner: &str, place: String, offset: u64) -> Referrer {
    Referrer {
        at: at.map(|at| HexAddr(at.0)),
        value: HexAddr(value.0),
        owner: owner.to_owned(),
        name: None,
        state: None,
        place,
        offset,
        path: None,
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

/// Tells whose words are.
struct Describer<'a> {
    snapshot: &'a Snapshot,
    context: &'a Context<'a>,
    words: Words<'a>,
}

impl Describer<'_> {
    fn describe(&mut self, hit: &Hit, chunk: Option<&ChunkRow>, stack: Option<StackPlace>) -> Referrer {
        if let Some(chunk) = chunk {
            return self.in_chunk(hit, chunk);
        }
        let referrer = |owner: &str, place: String, offset| referrer(Some(hit.at), hit.value, owner, place, offset);
        if let Some(stack) = stack {
            let thread = thread_name(stack.thread, self.context);
            let left = if stack.is_in_use() { "" } else { ", below its stack pointer" };
            return referrer("stack", format!("the stack of {thread}{left}"), stack.above.unsigned_abs());
        }
        if let Some(symbol) = symbol_at(self.context.prepared, hit.at) {
            let path = self.words.in_variable(hit.at);
            return Referrer { path, ..referrer("variables", symbol.name, symbol.offset) };
        }
        match self.context.prepared.maps.at(hit.at) {
            Some(Mapping { backing: Backing::Stack, range, .. }) => {
                referrer("stack", "the stack of the main thread".to_owned(), hit.at.0 - range.start.0)
            }
            Some(Mapping { backing: Backing::File { path, .. }, range, .. }) => {
                referrer("variables", path.display().to_string(), hit.at.0 - range.start.0)
            }
            Some(mapping) => {
                let offset = hit.at.0 - mapping.range.start.0;
                match place::bss(mapping, hit.at, self.context) {
                    Some(bss) => referrer("variables", bss, offset),
                    None => referrer("other", "anonymous memory".to_owned(), offset),
                }
            }
            None => referrer("other", "unknown memory".to_owned(), 0),
        }
    }

    fn in_chunk(&mut self, hit: &Hit, chunk: &ChunkRow) -> Referrer {
        let snapshot = self.snapshot;
        let offset = hit.at.0 - chunk.address;
        let owner = chunk.owner.and_then(|index| snapshot.owners.get(index as usize));
        let pool = chunk.pool.and_then(|index| snapshot.pools.get(index as usize));
        let group = chunk.group.and_then(|index| snapshot.groups.get(index as usize));
        let typed = group.and_then(|_| self.context.evidence.typed_at(Addr(chunk.address)));
        let place = match (pool, typed, chunk.state) {
            (Some(pool), ..) if !pool.path().is_empty() => pool.path(),
            (Some(pool), ..) => format!("the pool at {}", pool.address),
            (None, Some(typed), _) => typed.path.clone(),
            (None, None, ChunkState::InUse) => format!("the chunk at {:#x}", chunk.address),
            (None, None, state) => format!("the chunk at {:#x}, {}", chunk.address, state.name()),
        };
        let of_pool = pool.and_then(|pool| pool.owner.name.clone());
        let of_group = group.map(|group| group.name.clone()).filter(|name| !name.is_empty());
        let owner = owner.map_or("free", |owner| owner.owner.as_str());
        Referrer {
            name: of_pool.or(of_group),
            state: pool.and_then(|pool| pool.owner.state.clone()),
            path: typed.and_then(|_| self.words.in_chunk(Addr(chunk.address), offset)),
            ..referrer(Some(hit.at), hit.value, owner, place, offset)
        }
    }
}

/// How much a pointer says, most first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Usefulness {
    /// It lies with somebody else, who may be what keeps the memory.
    Other,
    /// It lies in the same pool.
    Own,
    /// It lies in a chunk that is not in use, or below a stack pointer.
    Stale,
}

fn usefulness(
    snapshot: &Snapshot,
    explanation: &Explanation,
    chunk: Option<&ChunkRow>,
    stack: Option<StackPlace>,
) -> Usefulness {
    if stack.is_some_and(|stack| !stack.is_in_use()) {
        return Usefulness::Stale;
    }
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
    Referrers { count, searched, exact, by_owner, list, threads: 0 }
}
