//! From what was read to the model: states, pools, owners, sums.

use super::breakdown::{HeapResidency, with_heap, without_heap};
use super::capture::Capture;
use super::findings::findings;
use super::prepare::Prepared;
use crate::addr::Addr;
use crate::attribution::{Attribution, Claim, OUTSIDE_POOLS, OwnedPool, TCACHE};
use crate::malloc::books::Books;
use crate::malloc::chunk::{Chunk, ChunkState};
use crate::malloc::heap::{ChunkId, Heap};
use crate::nginx::owner::OwnerKind;
use crate::nginx::pool::assemble as assemble_pools;
use crate::snapshot::model::{
    ArenaName, ChunkRow, CleanupRow, FreezeInfo, HexAddr, Layouts, OwnerSummary, PoolCheck, PoolRow, ProcessInfo,
    SCHEMA_VERSION, Snapshot, Thresholds, Trust,
};
use crate::snapshot::sizes::SizeHistogram;
use crate::target::freeze::StopPlace;
use rustc_hash::FxHashMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// A snapshot of a target whose heap could not be walked.
pub fn without_capture(prepared: Prepared) -> Snapshot {
    let freeze = FreezeInfo { pause_microseconds: 0, place: "not_stopped".to_owned(), stops: 0, bytes_read: 0 };
    let mut snapshot = frame(&prepared, freeze, 0);
    snapshot.memory = without_heap(&prepared.maps);
    snapshot
}

/// The snapshot of what was captured.
pub fn with_capture(prepared: Prepared, capture: Capture, with_chunks: bool) -> Snapshot {
    let Capture { heap, mut lists, named, problems, pause, place, threads, bytes_read } = capture;
    let freeze = FreezeInfo {
        pause_microseconds: pause.as_micros() as u64,
        place: place_name(place).to_owned(),
        stops: 1,
        bytes_read,
    };
    let mut snapshot = frame(&prepared, freeze, threads);
    let (heap, scanners) = Heap::settle(heap);
    let pools = match prepared.nginx {
        Some(_) => assemble_pools(&heap, &scanners, &mut lists),
        None => Vec::new(),
    };
    drop((scanners, lists));
    let attribution = Attribution::new(&heap, pools, named);
    let residency = HeapResidency::read(prepared.process.pid, prepared.page_size, &heap);
    let (owners, owner_of) = summarise(&heap, &attribution);
    snapshot.owners = owners;
    snapshot.pools = attribution.pools.iter().map(|owned| pool_row(&prepared, owned)).collect();
    let in_pools = prepared.nginx.as_ref().map(|_| attribution.pools.iter().map(|owned| owned.pool.bytes()).sum());
    snapshot.memory = with_heap(&prepared.maps, &heap, residency, in_pools);
    snapshot.pool_check = pool_check(&attribution, problems);
    snapshot.coverage = Some(heap.books.coverage());
    snapshot.mallinfo = Some(heap.books.mallinfo());
    snapshot.thresholds = Some(Thresholds {
        mmap_threshold: heap.par.mmap_threshold,
        trim_threshold: heap.par.trim_threshold,
        fixed: heap.par.thresholds_are_fixed,
    });
    snapshot.findings = findings(&snapshot, &attribution.pools, &prepared.binary);
    if with_chunks {
        snapshot.chunks = Some(chunk_rows(&heap, &attribution, &owner_of));
    }
    sort_pools(&mut snapshot);
    snapshot.books = Some(heap.books);
    snapshot
}

fn place_name(place: StopPlace) -> &'static str {
    match place {
        StopPlace::BetweenEvents => "between_events",
        StopPlace::InSystemCall => "in_system_call",
        StopPlace::InUserCode => "in_user_code",
    }
}

/// What is known without any heap.
fn frame(prepared: &Prepared, freeze: FreezeInfo, threads: usize) -> Snapshot {
    let process = &prepared.process;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Snapshot {
        schema_version: SCHEMA_VERSION,
        poolscope_version: env!("CARGO_PKG_VERSION").to_owned(),
        taken_at: now.as_secs(),
        process: ProcessInfo {
            pid: process.pid,
            parent: process.parent,
            role: role(&process.title).to_owned(),
            title: process.title.clone(),
            executable: process.executable.display().to_string(),
            build_id: prepared.binary.debug.build_id().map(|id| id.to_string()),
            server: prepared.nginx.as_ref().and(prepared.binary.version.clone()),
            age_seconds: process.age_seconds,
            start_ticks: process.start_ticks,
            threads,
            resident: process.resident,
            allocator: prepared.allocator.name().to_owned(),
            allocator_version: prepared.allocator_version.clone(),
        },
        freeze,
        layouts: Layouts { nginx: prepared.binary.source.clone(), glibc: prepared.glibc_source.clone() },
        memory: Vec::new(),
        coverage: None,
        books: None::<Books>,
        mallinfo: None,
        thresholds: None,
        notes: prepared.notes.clone(),
        owners: Vec::new(),
        pool_check: PoolCheck::default(),
        pools: Vec::new(),
        findings: Vec::new(),
        chunks: None,
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

fn kind_of(attribution: &Attribution, chunk: ChunkId) -> (&'static OwnerKind, Option<u32>) {
    match attribution.claim(chunk) {
        Some(Claim::Pool(index)) => {
            let pool = attribution.pools.get(index as usize);
            (pool.map_or(&OUTSIDE_POOLS, OwnedPool::kind), Some(index))
        }
        Some(Claim::Tcache) => (&TCACHE, None),
        None => (&OUTSIDE_POOLS, None),
    }
}

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
    for owned in &attribution.pools {
        let at = place(owned.kind(), &mut owners);
        owners[at].pools += 1;
        owners[at].used += owned.pool.used;
    }
    for (id, chunk) in heap.in_use() {
        let (kind, _) = kind_of(attribution, id);
        let at = place(kind, &mut owners);
        owners[at].chunks += 1;
        owners[at].bytes += chunk.size();
        owners[at].sizes.add(chunk.size());
    }
    add_names(&mut owners, attribution);
    owners.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.owner.cmp(&b.owner)));
    let index = attribution.pools.iter().map(OwnedPool::kind).chain([&TCACHE, &OUTSIDE_POOLS]);
    let index = index.filter_map(|kind| {
        let at = owners.iter().position(|owner| owner.owner == kind.key)?;
        Some((kind.key, at as u32))
    });
    let index = index.collect();
    (owners, index)
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

fn pool_row(prepared: &Prepared, owned: &OwnedPool) -> PoolRow {
    let pool = &owned.pool;
    let named = owned.named.as_ref();
    PoolRow {
        address: HexAddr(pool.address.0),
        owner: owned.kind().key.to_owned(),
        label: owned.kind().label.to_owned(),
        name: named.and_then(|named| named.name.clone()),
        path: named.map(|named| named.path.clone()).unwrap_or_default(),
        trust: if named.is_some() { Trust::TypedPath } else { Trust::Signature },
        state: named.and_then(|named| named.state).map(str::to_owned),
        references: named.and_then(|named| named.references),
        block_size: pool.block_size,
        blocks: pool.blocks.len() as u64,
        large: pool.large.len() as u64,
        large_freed: pool.large_freed,
        bytes: pool.bytes(),
        block_bytes: pool.block_bytes,
        large_bytes: pool.large_bytes,
        used: pool.used,
        unused: pool.unused,
        lost: pool.lost,
        cleanups: cleanup_rows(prepared, &pool.cleanups),
    }
}

fn cleanup_rows(prepared: &Prepared, handlers: &[Addr]) -> Vec<CleanupRow> {
    let mut counts: Vec<(Addr, u64)> = Vec::new();
    // A cleanup that is no longer to be run has its handler cleared.
    for handler in handlers.iter().filter(|handler| !handler.is_null()) {
        match counts.iter_mut().find(|(address, _)| address == handler) {
            Some((_, count)) => *count += 1,
            None => counts.push((*handler, 1)),
        }
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.iter().map(|(handler, count)| CleanupRow { handler: symbol(prepared, *handler), count: *count }).collect()
}

fn symbol(prepared: &Prepared, address: Addr) -> String {
    let found = prepared.binary.debug.symbol_at(prepared.binary.bias.to_file(address));
    match found {
        Some((symbol, 0)) => symbol.name.to_string(),
        Some((symbol, offset)) => format!("{}+{offset:#x}", symbol.name),
        None => address.to_string(),
    }
}

fn pool_check(attribution: &Attribution, problems: Vec<String>) -> PoolCheck {
    let both = attribution.pools.iter().filter(|owned| owned.named.is_some()).count() as u64;
    let unnamed = attribution.pools.iter().filter(|owned| owned.named.is_none());
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
        problems: attribution.problems.iter().cloned().chain(problems).collect(),
    }
}

/// Rows for all chunks. Their pools are numbers into the list as it is now, in address order.
fn chunk_rows(heap: &Heap, attribution: &Attribution, owners: &OwnerIndex) -> Vec<ChunkRow> {
    let row = |id: ChunkId, chunk: Chunk, arena: ArenaName| {
        let in_use = chunk.state() == ChunkState::InUse;
        let (kind, pool) = kind_of(attribution, id);
        ChunkRow {
            address: chunk.memory().0,
            size: chunk.size(),
            state: chunk.state(),
            arena,
            owner: if in_use { owners.get(kind.key).copied() } else { None },
            pool: pool.filter(|_| in_use),
        }
    };
    let of_arenas = heap.regions.iter().flat_map(|region| {
        let arena = match heap.arenas.get(region.region.arena) {
            Some(arena) if !arena.is_main => ArenaName::Other(arena.address.0),
            _ => ArenaName::Main,
        };
        let chunks = region.chunks.clone().zip(heap.chunks.get(region.chunks.clone()).unwrap_or_default());
        chunks.map(move |(index, chunk)| (ChunkId::Arena(index as u32), *chunk, arena))
    });
    let mapped = heap.mmapped.iter().enumerate();
    let mapped = mapped.map(|(index, mapped)| (ChunkId::Mmapped(index as u32), mapped.chunk, ArenaName::Mmapped));
    of_arenas.chain(mapped).map(|(id, chunk, arena)| row(id, chunk, arena)).collect()
}

/// Puts the largest pools first, and renumbers the chunks' pools.
fn sort_pools(snapshot: &mut Snapshot) {
    let mut order: Vec<u32> = (0..snapshot.pools.len() as u32).collect();
    order.sort_by_key(|index| {
        let pool = &snapshot.pools[*index as usize];
        (std::cmp::Reverse(pool.bytes), pool.address)
    });
    let mut place = vec![0; order.len()];
    for (new, old) in order.iter().enumerate() {
        place[*old as usize] = new as u32;
    }
    snapshot.pools.sort_by_key(|pool| (std::cmp::Reverse(pool.bytes), pool.address));
    for chunk in snapshot.chunks.iter_mut().flatten() {
        chunk.pool = chunk.pool.and_then(|old| place.get(old as usize).copied());
    }
}
