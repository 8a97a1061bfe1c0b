//! Chunks outside pools that nginx's own variables lead to, and those that keep a pool.

use super::prepared::Prepared;
use crate::addr::Addr;
use crate::attribution::groups::TypedChunk;
use crate::attribution::groups::kinds::NGINX;
use crate::attribution::{Attribution, Group};
use crate::debug::Layout;
use crate::malloc::heap::{ChunkId, Heap};
use crate::nginx::owner::{OwnerKind, Trust};
use crate::target::memory::Memory;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// The arrays that a cycle has outside its pool, with the types of their elements (nginx `ngx_event_process_init`).
const ARRAYS: [(&str, &str); 4] = [
    ("connections", "ngx_connection_t"),
    ("read_events", "ngx_event_t"),
    ("write_events", "ngx_event_t"),
    ("files", "ngx_connection_t *"),
];

/// True for the paths of these arrays.
pub fn is_array(path: &str) -> bool {
    path.strip_prefix("ngx_cycle->").is_some_and(|field| ARRAYS.iter().any(|(known, _)| *known == field))
}

/// Gives the chunks of these arrays to groups, and chunks that keep a pool to the pool's owner. Gives back those that a typed
/// path leads to.
pub fn claim_known(
    prepared: &Prepared,
    memory: &dyn Memory,
    heap: &Heap,
    attribution: &mut Attribution,
) -> Vec<TypedChunk> {
    claim_keepers(heap, attribution);
    let Some(cycle) = Cycle::find(prepared, memory, attribution) else { return Vec::new() };
    let first = attribution.groups.len();
    let arrays = cycle.arrays();
    attribution.claim_typed(heap, &arrays);
    if cycle.is_built_in {
        attribution.groups.iter_mut().skip(first).for_each(|group| group.trust = Trust::BuiltInPath);
    }
    arrays
}

/// What keeps a pool belongs to its owner: the timers of lua-nginx-module are chunks by themselves, each with an event and
/// what belongs to it.
fn claim_keepers(heap: &Heap, attribution: &mut Attribution) {
    let keepers: Vec<(Addr, &'static OwnerKind, Trust, String)> = attribution
        .pools
        .iter()
        .filter_map(|owned| owned.named.as_ref())
        .filter_map(|named| Some((named.keeper?, named.kind, named.trust, named.path.clone())))
        .collect();
    let mut groups: FxHashMap<&str, u32> = FxHashMap::default();
    for (keeper, kind, trust, path) in keepers {
        let Some(id) = heap.find(keeper).filter(|id| heap.chunk(*id).state().is_in_use()) else { continue };
        let number = *groups.entry(kind.key).or_insert_with(|| {
            attribution.groups.push(Group { kind, name: "events with their contexts".to_owned(), trust, path });
            attribution.groups.len() as u32 - 1
        });
        attribution.claim_for_group(id, number);
    }
}

/// The cycle, and how it is laid out.
struct Cycle<'a> {
    prepared: &'a Prepared,
    memory: &'a dyn Memory,
    layout: Arc<Layout>,
    address: Addr,
    is_built_in: bool,
}

impl<'a> Cycle<'a> {
    /// `None` if that is not known. Built-in layouts count only if owners were found by them while the process stood still.
    fn find(prepared: &'a Prepared, memory: &'a dyn Memory, attribution: &Attribution) -> Option<Cycle<'a>> {
        let nginx = prepared.nginx.as_ref()?;
        let built_in = nginx.built_in.as_ref().filter(|_| attribution.named > 0);
        let (layout, is_built_in) = match prepared.binary.debug.layout("ngx_cycle_s") {
            Ok(layout) => (layout, false),
            Err(_) => (built_in?.layout("ngx_cycle_s")?, true),
        };
        let address = memory.read_pointer(variable(prepared, "ngx_cycle")?).ok()?;
        Some(Cycle { prepared, memory, layout, address, is_built_in })
    }

    fn word(&self, field: &str) -> Option<u64> {
        self.memory.read_u64(self.address + self.layout.offset(field).ok()?).ok()
    }

    fn arrays(&self) -> Vec<TypedChunk> {
        let chunk = |(field, type_name): &(&str, &str)| {
            let memory = Addr(self.word(field)?);
            let path = format!("ngx_cycle->{field}");
            Some(TypedChunk { memory, path, inferred: false, type_name: (*type_name).to_owned(), module: None })
        };
        ARRAYS.iter().filter_map(chunk).filter(|chunk| !chunk.memory.is_null()).collect()
    }

    /// How many events epoll is asked for at once: the first word of the configuration of `ngx_epoll_module`, to which that
    /// of `ngx_events_module` leads (nginx `src/event/modules/ngx_epoll_module.c`, `ngx_epoll_conf_t`).
    fn epoll_events(&self) -> Option<u64> {
        let pointer = |at: Addr| self.memory.read_pointer(at).ok().filter(|pointer| !pointer.is_null());
        let place = |name: &str, field: &str| {
            let layout = self.prepared.nginx.as_ref()?.built_in.as_ref()?.layout("ngx_module_s")?;
            let offset = layout.offset(field).ok()?;
            let index = self.memory.read_u64(variable(self.prepared, name)? + offset).ok()?;
            index.checked_mul(8).filter(|offset| *offset < MOST_EVENTS)
        };
        let of_events = pointer(Addr(self.word("conf_ctx")?) + place("ngx_events_module", "index")?)?;
        let of_epoll = pointer(pointer(of_events)? + place("ngx_epoll_module", "ctx_index")?)?;
        self.memory.read_u64(of_epoll).ok().filter(|events| (1..MOST_EVENTS).contains(events))
    }

    /// Whether a connection lies at that address; the lowest bit tells connections that had one slot after another apart.
    fn is_connection(&self, tagged: u64) -> Option<bool> {
        let built_in = self.prepared.nginx.as_ref()?.built_in.as_ref()?;
        let size = built_in.layout("ngx_connection_s")?.size;
        let offset = Addr(tagged & !1).checked_offset_from(Addr(self.word("connections")?))?;
        Some(size > 0 && offset.is_multiple_of(size) && offset / size < self.word("connection_n")?)
    }
}

/// More events than this are not believed.
const MOST_EVENTS: u64 = 1 << 20;

/// Size of `struct epoll_event`, which is packed on x86-64, and where it has what is told of it.
const EPOLL_EVENT: (u64, u64) = if cfg!(target_arch = "x86_64") { (12, 4) } else { (16, 8) };

/// The chunk of the variable `event_list` of `ngx_epoll_module.c`, which a stripped binary has no name for: it has room for
/// exactly as many events as are configured, and its first one is of a connection. Nothing is claimed if several are so.
///
/// To be claimed when it is known who holds what: most of the list was never written to, and has stale words of what lay
/// there before, which must not count as much as words of what is known otherwise.
pub fn claim_event_list(prepared: &Prepared, memory: &dyn Memory, heap: &Heap, attribution: &mut Attribution) {
    let cycle = Cycle::find(prepared, memory, attribution).filter(|cycle| cycle.is_built_in);
    let Some(cycle) = cycle else { return };
    let Some(events) = cycle.epoll_events() else { return };
    // malloc adds a word and rounds up to two.
    let size = (events * EPOLL_EVENT.0 + 8).next_multiple_of(16).max(32);
    let is_list = |id: ChunkId, memory: Addr| {
        let first = cycle.memory.read_u64(memory + EPOLL_EVENT.1).ok();
        attribution.claim(id).is_none() && first.and_then(|data| cycle.is_connection(data)) == Some(true)
    };
    let candidates = heap.in_use().filter(|(_, chunk)| chunk.size() == size);
    let mut lists = candidates.filter(|(id, chunk)| is_list(*id, chunk.memory())).map(|(id, _)| id);
    let (Some(list), None) = (lists.next(), lists.next()) else { return };
    drop(lists);
    attribution.groups.push(Group {
        kind: &NGINX,
        name: "epoll event list".to_owned(),
        trust: Trust::Signature,
        path: "by its size, and its first event".to_owned(),
    });
    attribution.claim_for_group(list, attribution.groups.len() as u32 - 1);
}

fn variable(prepared: &Prepared, name: &str) -> Option<Addr> {
    prepared.binary.debug.symbol_address(name).map(|address| prepared.binary.bias.to_running(address))
}
