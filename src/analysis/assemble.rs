//! From what was read to the model: states, pools, owners, sums.

use super::around::Around;
use super::breakdown::{self, HeapResidency};
use super::evidence::{Evidence, Wanted};
use super::explore::{explored, take_names};
use super::findings::findings;
use super::holders;
use super::known::{claim_event_list, claim_known};
use super::lost::{self, may_tell_lost};
use super::names::TargetNames;
use super::pools;
use super::prepared::Prepared;
use super::reading::Reading;
use crate::attribution::reach::{Surroundings, reach};
use crate::attribution::{Attribution, Claim, Group, OUTSIDE_POOLS, OwnedPool};
use crate::malloc::chunk::{Chunk, ChunkState};
use crate::malloc::heap::{ChunkId, Heap};
use crate::malloc::read::ReadPagemap;
use crate::nginx::lua::name_by_contents;
use crate::nginx::owner::{OwnerKind, Trust};
use crate::nginx::pool::assemble as assemble_pools;
use crate::nginx::zones::zones;
use crate::snapshot::chunks::{ArenaName, ChunkClaim, ChunkTable};
use crate::snapshot::finding::Finding;
use crate::snapshot::human::human_count;
use crate::snapshot::model::{
    ChunkGroup, HexAddr, Layouts, OwnerSummary, PoolCheck, SCHEMA_VERSION, Snapshot, Thresholds,
};
use crate::snapshot::sizes::SizeHistogram;
use rustc_hash::FxHashMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// A snapshot of a target whose heap could not be walked.
pub fn without_heap(prepared: &Prepared) -> Snapshot {
    let mut snapshot = frame(prepared);
    snapshot.memory = breakdown::without_heap(&prepared.maps);
    snapshot
}

/// The snapshot of what was read. `pagemap` tells what is in memory, where that can be told; with it the rows of the
/// breakdown say how much is resident. With it comes what else was found out, if addresses are wanted.
pub fn with_heap(
    around: &Around<'_>,
    reading: Reading,
    pagemap: Option<&ReadPagemap<'_>>,
    wanted: Wanted<'_>,
) -> (Snapshot, Evidence) {
    let prepared = around.prepared;
    let Reading { heap, mut lists, found, problems } = reading;
    let mut named = found.named();
    let mut snapshot = frame(prepared);
    let (heap, scanners) = Heap::settle(heap);
    let pools = match prepared.nginx {
        Some(_) => assemble_pools(&heap, &scanners, &mut lists),
        None => Vec::new(),
    };
    drop((scanners, lists));
    if let Some(lua) = prepared.nginx.as_ref().and_then(|nginx| nginx.lua.as_ref()) {
        named.extend(name_by_contents(lua, &pools));
    }
    pools::name_by_handler(prepared, &mut named);
    let mut attribution = Attribution::new(&heap, pools, named);
    let evidence = find_holders(around, &heap, &mut attribution, wanted.addresses, &mut snapshot.notes);
    let residency = pagemap.and_then(|pagemap| HeapResidency::read(pagemap, prepared.page_size, &heap));
    let (owners, owner_of) = summarise(&heap, &attribution);
    snapshot.owners = owners;
    let (groups, group_order) = groups(&heap, &attribution);
    snapshot.groups = groups;
    snapshot.pools = pools::rows(prepared, &heap, &attribution);
    let in_pools = prepared.nginx.as_ref().map(|_| attribution.pools.iter().map(|owned| owned.pool.bytes()).sum());
    snapshot.memory = breakdown::with_heap(&prepared.maps, &heap, residency, in_pools);
    snapshot.pool_check = pool_check(&attribution, problems);
    snapshot.coverage = Some(heap.books.coverage());
    snapshot.mallinfo = Some(heap.books.mallinfo());
    snapshot.thresholds = Some(Thresholds {
        mmap_threshold: heap.par.mmap_threshold,
        trim_threshold: heap.par.trim_threshold,
        fixed: heap.par.thresholds_are_fixed,
    });
    snapshot.findings = findings(&snapshot, &attribution.pools, &prepared.binary);
    add_lost(&mut snapshot, around, &attribution);
    let order = pools::sort(&mut snapshot.pools);
    if wanted.chunks {
        snapshot.chunks = Some(chunk_table(&heap, &attribution, &snapshot, &owner_of, [&order, &group_order]));
    }
    snapshot.books = Some(heap.books);
    (snapshot, evidence)
}

/// Looks for who holds what no typed path leads to. A process that is not nginx has no pools, and the owners of its chunks
/// are not looked for.
fn find_holders(
    around: &Around<'_>,
    heap: &Heap,
    attribution: &mut Attribution,
    wanted: &[u64],
    notes: &mut Vec<String>,
) -> Evidence {
    let mut evidence = Evidence::default();
    let Some(nginx) = &around.prepared.nginx else { return evidence };
    let mut typed = claim_known(around.prepared, around.memory, heap, attribution);
    if let Some(found) = explored(around.prepared, around.memory, heap, attribution) {
        notes.extend(found.problems.iter().map(|problem| format!("owners by the types of modules: {problem}")));
        let chunks = take_names(found, attribution);
        attribution.claim_typed(heap, &chunks);
        typed.extend(chunks);
    }
    let names = TargetNames::new(around.prepared, around.memory, around.thread_pointers());
    // What a core does not hold may point anywhere, and what two pools claim may be of neither.
    let contradiction = attribution.problems.first().cloned();
    let is_whole = may_tell_lost(heap) && around.is_whole && contradiction.is_none();
    match reach(heap, attribution, around, Some(&nginx.pools), is_whole) {
        Some(reached) => {
            notes.extend(untold(reached.untold, heap, contradiction.as_deref()));
            evidence.held = attribution.holders_of(heap, &reached, &names, wanted);
            claim_event_list(around.prepared, around.memory, heap, attribution);
            attribution.add_reach(heap, &reached, &names);
        }
        None => notes.push(format!(
            "who points to chunks outside pools was not looked for: there are more than {} of them, and it would take too much \
             memory",
            human_count(around.most_nodes(heap.chunks.len()) as u64)
        )),
    }
    if !wanted.is_empty() {
        let binary = &around.prepared.binary;
        evidence.zones = zones(&binary.debug, binary.bias, around.memory);
        evidence.typed = typed;
        evidence.kept = holders::of_each(&attribution.pools);
        evidence.sort();
    }
    evidence
}

/// Why of what seems to be lost it is not said that it is. That malloc's books do not reconcile is said elsewhere.
fn untold(count: u64, heap: &Heap, contradiction: Option<&str>) -> Option<String> {
    let why = match contradiction {
        _ if count == 0 || !may_tell_lost(heap) => return None,
        Some(contradiction) => {
            format!("pools contradict each other, and may not be known to the end ({contradiction})")
        }
        None => "not everything could be read that may point to them".to_owned(),
    };
    Some(format!(
        "of {} chunks and pools without an owner it could not be told whether anything points to them: {why}",
        human_count(count)
    ))
}

/// Adds what nothing points to behind what stands out most.
fn add_lost(snapshot: &mut Snapshot, around: &Around<'_>, attribution: &Attribution) {
    let lost = lost::unreachable_pools(around.prepared, attribution, around.memory).into_iter();
    let lost: Vec<Finding> = lost.chain(lost::unreferenced(&snapshot.groups)).collect();
    let is_deleted = |finding: &Finding| {
        matches!(finding, Finding::DeletedButReferenced { .. } | Finding::DeletedAndUnreferenced { .. })
    };
    let place = snapshot.findings.iter().take_while(|finding| is_deleted(finding)).count();
    snapshot.findings.splice(place..place, lost);
}

/// What is known without any heap.
fn frame(prepared: &Prepared) -> Snapshot {
    let mut process = prepared.process.clone();
    process.role = role(&process.title).to_owned();
    let mut snapshot = Snapshot {
        schema_version: SCHEMA_VERSION,
        poolscope_version: env!("CARGO_PKG_VERSION").to_owned(),
        source: prepared.source.clone(),
        process,
        limits: prepared.limits.clone(),
        layouts: Layouts { nginx: prepared.binary.source.clone(), glibc: prepared.glibc_source.clone() },
        notes: prepared.notes.clone(),
        ..Snapshot::default()
    };
    if let Some(taken_at) = prepared.taken_at {
        set_taken_at(&mut snapshot, taken_at);
    }
    snapshot
}

/// Sets when it was taken, and how old a live process was then.
pub(super) fn set_taken_at(snapshot: &mut Snapshot, taken_at: SystemTime) {
    let since_1970 = taken_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    snapshot.taken_at = since_1970.as_millis() as f64 / 1e3;
    if let (Some(age), Some(started_at)) = (&mut snapshot.process.age_seconds, snapshot.process.started_at) {
        *age = (snapshot.taken_at - started_at).max(0.0) as u64;
    }
}

/// nginx writes its role into its title (`ngx_setproctitle`): "nginx: worker process is shutting down".
fn role(title: &str) -> &'static str {
    const ROLES: [(&str, &str); 6] = [
        ("nginx: worker process is shutting down", "worker shutting down"),
        ("nginx: worker process", "worker"),
        ("nginx: master process", "master"),
        ("nginx: cache manager", "cache manager"),
        ("nginx: cache loader", "cache loader"),
        ("nginx: privileged agent", "privileged agent"),
    ];
    ROLES.iter().find(|(prefix, _)| title.starts_with(prefix)).map_or("process", |(_, role)| role)
}

/// Index into the list of owners, by kind.
type OwnerIndex = FxHashMap<&'static str, u32>;

/// Sums up chunks in use by owner, most bytes first.
fn summarise(heap: &Heap, attribution: &Attribution) -> (Vec<OwnerSummary>, OwnerIndex) {
    let mut owners: Vec<OwnerSummary> = Vec::new();
    let mut index: OwnerIndex = FxHashMap::default();
    let mut place = |kind: &'static OwnerKind, owners: &mut Vec<OwnerSummary>| {
        *index.entry(kind.key).or_insert_with(|| {
            owners.push(empty_summary(kind));
            owners.len() as u32 - 1
        }) as usize
    };
    let mut of_pool = Vec::with_capacity(attribution.pools.len());
    for owned in &attribution.pools {
        let at = place(owned.kind(), &mut owners);
        owners[at].pools += 1;
        owners[at].used += owned.pool.used;
        of_pool.push(at);
    }
    // Most chunks in a row have one owner: its place is looked up when the next one has another.
    let mut latest: Option<(&'static OwnerKind, usize)> = None;
    for (id, chunk) in heap.in_use() {
        let kind = match attribution.claim(id) {
            Some(Claim::Pool(index)) if (index as usize) < of_pool.len() => {
                owners[of_pool[index as usize]].count(chunk.size());
                continue;
            }
            Some(Claim::Group(index)) => {
                attribution.groups.get(index as usize).map_or(&OUTSIDE_POOLS, |group| group.kind)
            }
            Some(Claim::Pool(_)) | None => &OUTSIDE_POOLS,
        };
        let at = match latest {
            Some((known, at)) if std::ptr::eq(known, kind) => at,
            _ => place(kind, &mut owners),
        };
        latest = Some((kind, at));
        owners[at].count(chunk.size());
    }
    add_names(&mut owners, attribution);
    owners.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.owner.cmp(&b.owner)));
    let index = attribution.pools.iter().map(OwnedPool::kind);
    let index = index.chain(attribution.groups.iter().map(|group| group.kind)).chain([&OUTSIDE_POOLS]);
    let index = index.filter_map(|kind| {
        let at = owners.iter().position(|owner| owner.owner == kind.key)?;
        Some((kind.key, at as u32))
    });
    let index = index.collect();
    (owners, index)
}

/// Sums up chunks in use outside pools by group, most bytes first. Gives back the new place of each group of the
/// attribution, and last that of what no group claims.
fn groups(heap: &Heap, attribution: &Attribution) -> (Vec<ChunkGroup>, Vec<u32>) {
    let row = |group: &Group| ChunkGroup {
        owner: group.kind.key.to_owned(),
        name: group.name.clone(),
        trust: group.trust,
        path: group.path.clone(),
        smallest: u64::MAX,
        ..ChunkGroup::default()
    };
    let unknown = Group { kind: &OUTSIDE_POOLS, name: String::new(), trust: Trust::Signature, path: String::new() };
    let mut groups: Vec<ChunkGroup> = attribution.groups.iter().chain([&unknown]).map(row).collect();
    let last = groups.len() - 1;
    for (id, chunk) in heap.in_use() {
        let index = match attribution.claim(id) {
            Some(Claim::Pool(_)) => continue,
            Some(Claim::Group(index)) => (index as usize).min(last),
            None => last,
        };
        let group = &mut groups[index];
        if group.chunks == 0 {
            group.example = HexAddr(chunk.memory().0);
        }
        group.chunks += 1;
        group.bytes += chunk.size();
        (group.smallest, group.largest) = (group.smallest.min(chunk.size()), group.largest.max(chunk.size()));
    }
    let mut order: Vec<(u32, ChunkGroup)> = (0..).zip(groups).filter(|(_, group)| group.chunks > 0).collect();
    order.sort_by(|(_, a), (_, b)| b.bytes.cmp(&a.bytes).then_with(|| (&a.owner, &a.name).cmp(&(&b.owner, &b.name))));
    let mut places = vec![0; last + 1];
    for (new, (old, _)) in (0..).zip(&order) {
        places[*old as usize] = new;
    }
    (order.into_iter().map(|(_, group)| group).collect(), places)
}

fn empty_summary(kind: &OwnerKind) -> OwnerSummary {
    OwnerSummary {
        owner: kind.key.to_owned(),
        label: kind.label.to_owned(),
        names: Vec::new(),
        pools: 0,
        chunks: 0,
        bytes: 0,
        used: 0,
        sizes: SizeHistogram::default(),
    }
}

fn add_names(owners: &mut [OwnerSummary], attribution: &Attribution) {
    let mut counts: FxHashMap<(&str, &str), u64> = FxHashMap::default();
    for owned in &attribution.pools {
        if let Some(name) = owned.named.as_ref().and_then(|named| named.name.as_deref()) {
            *counts.entry((owned.kind().key, name)).or_default() += 1;
        }
    }
    for ((kind, name), count) in counts {
        if let Some(owner) = owners.iter_mut().find(|owner| owner.owner == kind) {
            owner.names.push((name.to_owned(), count));
        }
    }
    for owner in owners {
        owner.names.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    }
}

fn pool_check(attribution: &Attribution, unfinished: Vec<String>) -> PoolCheck {
    let is_led_to = |owned: &&OwnedPool| owned.named.as_ref().is_some_and(|named| named.trust != Trust::Signature);
    let both = attribution.pools.iter().filter(is_led_to).count() as u64;
    let unnamed = attribution.pools.iter().filter(|owned| !is_led_to(owned));
    PoolCheck {
        by_signature: attribution.pools.len() as u64,
        by_name: attribution.named,
        both,
        only_by_name: attribution
            .only_by_name
            .iter()
            .map(|named| (HexAddr(named.pool.0), named.path.clone()))
            .collect(),
        only_by_signature: unnamed.map(|owned| HexAddr(owned.pool.address.0)).collect(),
        problems: attribution.problems.clone(),
        unfinished,
    }
}

/// A table of all chunks. The last argument has the new place of each pool, and of each group, of the attribution.
fn chunk_table(
    heap: &Heap,
    attribution: &Attribution,
    snapshot: &Snapshot,
    owners: &OwnerIndex,
    [order, group_order]: [&[u32]; 2],
) -> ChunkTable {
    let owner = |kind: &str| owners.get(kind).copied().unwrap_or_default();
    let of_pools = snapshot.pools.iter().map(|pool| owner(&pool.owner.kind)).collect();
    let of_groups = snapshot.groups.iter().map(|group| owner(&group.owner)).collect();
    let mut table = ChunkTable::new(of_pools, of_groups);
    table.reserve(heap.chunks.len() + heap.mmapped.len());
    let unclaimed = group_order.last().copied().unwrap_or_default();
    let claim = |id: ChunkId, chunk: Chunk| match attribution.claim(id) {
        _ if chunk.state() != ChunkState::InUse => ChunkClaim::Nobody,
        Some(Claim::Pool(index)) => order.get(index as usize).map_or(ChunkClaim::Nobody, |new| ChunkClaim::Pool(*new)),
        Some(Claim::Group(index)) => ChunkClaim::Group(group_order.get(index as usize).copied().unwrap_or(unclaimed)),
        None => ChunkClaim::Group(unclaimed),
    };
    let mut add = |id, chunk: Chunk, arena| {
        table.push(arena, chunk.memory().0, chunk.size(), chunk.state(), claim(id, chunk));
    };
    for region in &heap.regions {
        let arena = match heap.arenas.get(region.region.arena) {
            Some(arena) if !arena.is_main => ArenaName::Other(arena.address.0),
            _ => ArenaName::Main,
        };
        for index in region.chunks.clone() {
            if let Some(chunk) = heap.chunks.get(index) {
                add(ChunkId::Arena(index as u32), *chunk, arena);
            }
        }
    }
    for (index, mapped) in heap.mmapped.iter().enumerate() {
        add(ChunkId::Mmapped(index as u32), mapped.chunk, ArenaName::Mmapped);
    }
    table
}
