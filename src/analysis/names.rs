//! Names of places for owners of chunks.

use super::modules::LoadedModule;
use super::prepared::Prepared;
use crate::addr::{Addr, AddrRange};
use crate::attribution::groups::{Names, Place};
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
