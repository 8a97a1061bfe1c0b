//! Names of places for owners of chunks, and chunks that nginx's own variables lead to.

use super::modules::LoadedModule;
use super::prepared::Prepared;
use crate::addr::{Addr, AddrRange};
use crate::attribution::groups::{Names, Place, TypedChunk};
use crate::attribution::reach::thread_local;
use crate::target::maps::Backing;
use crate::target::memory::Memory;

/// Names of a target.
pub struct TargetNames<'a> {
    prepared: &'a Prepared,
    has_luajit: bool,
    environment: Option<AddrRange>,
    thread_pointers: Vec<Addr>,
}

impl<'a> TargetNames<'a> {
    /// Names of `prepared`, whose memory tells where its environment lies.
    pub fn new(prepared: &'a Prepared, memory: &dyn Memory, thread_pointers: Vec<Addr>) -> TargetNames<'a> {
        let has_luajit = prepared.modules().any(|module| file_name(module).starts_with("libluajit"))
            || prepared.binary.debug.symbol("luaJIT_setmode").is_some();
        TargetNames { prepared, has_luajit, environment: environment(prepared, memory), thread_pointers }
    }
}

impl Names for TargetNames<'_> {
    fn place(&self, address: Addr) -> Option<Place> {
        let module = self.prepared.modules().find(|module| module.span.contains(address))?;
        let in_file = module.bias.to_file(address);
        // Names of versions are symbols at zero.
        let symbol = module.debug.symbol_at(in_file).filter(|(symbol, _)| symbol.address.0 != 0);
        // Dynamic modules state what is in them (nginx `ngx_load_module`).
        let is_nginx = self.prepared.nginx.is_some()
            && (std::ptr::eq(module, &self.prepared.binary) || module.debug.symbol("ngx_module_names").is_some());
        let symbol = symbol.map(|(symbol, offset)| (symbol.name, offset));
        Some(Place { file: file_name(module), is_nginx, is_base: in_file.0 == 0, symbol })
    }

    fn has_luajit(&self) -> bool {
        self.has_luajit
    }

    fn is_thread_local(&self, address: Addr) -> bool {
        self.thread_pointers.iter().any(|pointer| thread_local(*pointer).contains(address))
    }

    fn environment(&self) -> Option<AddrRange> {
        self.environment
    }
}

fn file_name(module: &LoadedModule) -> String {
    module.debug.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The array that `environ` points to, if it is the one that the kernel made, at the stack's upper end: nginx moves the
/// strings to the heap to make room for its title (`ngx_init_setproctitle`), and the array stays.
fn environment(prepared: &Prepared, memory: &dyn Memory) -> Option<AddrRange> {
    const MOST: u64 = 1 << 16;
    let libc = prepared.library.as_ref().unwrap_or(&prepared.binary);
    let variable = libc.bias.to_running(libc.debug.symbol_address("environ")?);
    let array = memory.read_pointer(variable).ok()?;
    // In a core the stack has no name.
    let is_stack = |backing: &Backing| matches!(backing, Backing::Stack | Backing::Anonymous);
    let mapping = prepared.maps.at(array).filter(|mapping| is_stack(&mapping.backing))?;
    let mut end = array;
    while end < mapping.range.end && end < array + MOST * 8 && memory.read_u64(end).is_ok_and(|word| word != 0) {
        end = end + 8;
    }
    Some(AddrRange::new(array, end))
}

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

/// The chunks of these arrays.
pub fn known_chunks(prepared: &Prepared, memory: &dyn Memory) -> Vec<TypedChunk> {
    let binary = &prepared.binary;
    let layout = prepared.nginx.as_ref().and_then(|_| binary.debug.layout("ngx_cycle_s").ok());
    let variable = binary.debug.symbol_address("ngx_cycle").map(|address| binary.bias.to_running(address));
    let cycle = variable.and_then(|variable| memory.read_pointer(variable).ok());
    let Some((layout, cycle)) = layout.zip(cycle) else { return Vec::new() };
    let chunk = |(field, type_name): &(&str, &str)| {
        let memory = memory.read_pointer(cycle + layout.offset(field).ok()?).ok()?;
        let path = format!("ngx_cycle->{field}");
        Some(TypedChunk { memory, path, inferred: false, type_name: (*type_name).to_owned(), module: None })
    };
    ARRAYS.iter().filter_map(chunk).filter(|chunk| !chunk.memory.is_null()).collect()
}
