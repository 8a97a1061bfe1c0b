//! The general way to owners, laid over what was read: pools and chunks that no file here knows of, named by the types of the
//! module that has them.

use super::modules::LoadedModule;
use super::prepared::Prepared;
use crate::addr::{Addr, AddrRange};
use crate::attribution::groups::TypedChunk;
use crate::attribution::{Attribution, Claim};
use crate::malloc::heap::{Heap, HeapIndex};
use crate::nginx::events::{POSTED, TIMER};
use crate::nginx::general::{Budget, Exploration, FoundChunk, FoundPool, Input, Place, Places, explore};
use crate::nginx::owner::{NamedPool, NginxModule, OwnerKind, Trust};
use crate::target::memory::Memory;
use rustc_hash::FxHashMap;

/// A pool that the types of a module lead to.
pub const MODULE: OwnerKind = OwnerKind { key: "module", label: "pool of a module, by its types", unit: None };

/// Explores what debug info of nginx and its modules leads to. Nothing, if there is none.
pub fn explored(
    prepared: &Prepared,
    memory: &dyn Memory,
    heap: &Heap,
    attribution: &Attribution,
) -> Option<Exploration> {
    let nginx = prepared.nginx.as_ref()?;
    if nginx.built_in.is_some() || prepared.binary.debug.source().is_none() {
        return None;
    }
    let modules: Vec<NginxModule<'_>> = nginx_modules(prepared).map(module).collect();
    let places = Laid::new(heap, attribution, data(prepared));
    Some(explore(&Input { modules: &modules, memory, places: &places, budget: Budget::default() }))
}

/// Names pools that nothing else has named, and gives the chunks that were reached.
pub fn take_names(found: Exploration, attribution: &mut Attribution) -> Vec<TypedChunk> {
    // What only uses a pool names it if nobody owns it.
    let (users, owners): (Vec<FoundPool>, Vec<FoundPool>) = found.pools.into_iter().partition(|pool| pool.by_container);
    for pool in owners.into_iter().chain(users) {
        name(pool, attribution);
    }
    // What malloc gives out is kept by its start. Of a chunk that only a pointer into its middle leads to, that may be what
    // the memory was used for before: nginx leaves `server_names` and `ports` of its configuration pointing to memory of
    // `cf->temp_pool`, which it has freed.
    found.chunks.into_iter().filter(|chunk| !chunk.interior).map(typed_chunk).collect()
}

fn name(found: FoundPool, attribution: &mut Attribution) {
    let Ok(index) = attribution.pools.binary_search_by_key(&found.pool, |owned| owned.pool.address) else { return };
    let Some(owned) = attribution.pools.get_mut(index) else { return };
    let is_by_event = |path: &str| path.contains("ngx_event_timer_rbtree") || path.contains("ngx_posted_");
    let is_free = match &owned.named {
        None => true,
        // That only a timer keeps it was the guess of one who knows timers only.
        Some(named) => [&TIMER, &POSTED].contains(&named.kind) && !is_by_event(&found.path),
    };
    if !is_free {
        return;
    }
    attribution.named += u64::from(owned.named.is_none());
    let trust = if found.inferred { Trust::InferredPath } else { Trust::TypedPath };
    owned.named = Some(NamedPool { name: found.module, trust, ..NamedPool::plain(found.pool, &MODULE, found.path) });
}

fn typed_chunk(found: FoundChunk) -> TypedChunk {
    let FoundChunk { memory, path, inferred, type_name, module, .. } = found;
    TypedChunk { memory, path, inferred, type_name, module }
}

/// The binary, and what it has loaded: a dynamic module states what is in it (nginx `ngx_load_module`).
fn nginx_modules(prepared: &Prepared) -> impl Iterator<Item = &LoadedModule> {
    let is_module = |other: &&LoadedModule| other.debug.symbol("ngx_module_names").is_some();
    std::iter::once(&prepared.binary).chain(prepared.others.iter().filter(is_module))
}

fn module(loaded: &LoadedModule) -> NginxModule<'_> {
    NginxModule {
        debug: &loaded.debug,
        bias: loaded.bias,
        dynamic: &[],
        show_clients: false,
        runs: false,
        built_in: None,
    }
}

/// Where nginx and its modules have their variables.
fn data(prepared: &Prepared) -> Vec<AddrRange> {
    let of_module = |loaded: &LoadedModule| {
        let segments = loaded.debug.segments().iter().filter(|segment| !segment.executable);
        let range = |start, size| AddrRange::sized(loaded.bias.to_running(start), size);
        segments.map(|segment| range(segment.address, segment.memory_size)).collect::<Vec<_>>()
    };
    nginx_modules(prepared).flat_map(of_module).collect()
}

/// What lies where, by the heap and the pools in it.
struct Laid<'a> {
    heap: &'a Heap,
    index: HeapIndex<'a>,
    attribution: &'a Attribution,
    pools: FxHashMap<Addr, u32>,
    data: Vec<AddrRange>,
}

impl<'a> Laid<'a> {
    fn new(heap: &'a Heap, attribution: &'a Attribution, data: Vec<AddrRange>) -> Laid<'a> {
        let pools = attribution.pools.iter().map(|owned| owned.pool.address).zip(0..).collect();
        Laid { heap, index: heap.index(), attribution, pools, data }
    }
}

impl Places for Laid<'_> {
    fn at(&self, address: Addr) -> Place {
        if self.data.iter().any(|range| range.contains(address)) {
            return Place::Static;
        }
        let in_use = |id: &_| self.heap.chunk(*id).state().is_in_use();
        let Some(id) = self.index.containing(address).filter(in_use) else { return Place::Other };
        match self.attribution.claim(id) {
            Some(Claim::Pool(index)) => Place::Pool { index },
            _ => Place::Chunk { start: self.heap.chunk(id).memory(), size: self.heap.usable(id) },
        }
    }

    fn pool_at(&self, address: Addr) -> Option<u32> {
        self.pools.get(&address).copied()
    }
}
