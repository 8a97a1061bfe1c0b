//! nginx's modules: what each is called, where its configurations lie in the tables of its protocol, and which functions
//! make them (nginx `src/core/ngx_module.h`, `src/http/ngx_http_config.h`).

use super::explorer::{Explorer, Owner};
use super::layouts::{layout, offsets};
use super::shapes::Shapes;
use crate::addr::Addr;
use crate::debug::{Pointee, StaticVariable};
use crate::target::memory::Memory;
use rustc_hash::FxHashMap;

/// The protocol of core modules.
pub(super) const CORE: &str = "ngx_core";

/// More modules than this are not believed.
const MAX_MODULES: u64 = 4096;

/// A module of nginx's, as the running process has it.
#[derive(Debug, Clone)]
pub(super) struct NginxModuleInfo {
    /// The name of its variable: `ngx_http_dyups_module`.
    pub(super) name: Box<str>,
    /// Its place in `conf_ctx`.
    pub(super) index: u64,
    /// Its place in the tables of its protocol.
    pub(super) context_index: u64,
    /// What its protocol's names start with: `ngx_http`, by the type of its context (`ngx_http_module_t`).
    pub(super) protocol: Box<str>,
    /// The functions that make its configurations, by what they make: `main_conf`, `srv_conf`, `conf`.
    pub(super) creators: Creators,
    /// Its place among the explorer's owners.
    pub(super) owner: u32,
    /// The core module in whose entry of `conf_ctx` the table lies, if one more pointer leads there.
    pub(super) block: Option<Box<str>>,
}

/// A source file: module and unit.
pub(super) type FileId = (u16, u32);

/// The functions that make configurations, by what they make.
type Creators = Vec<(Box<str>, Addr)>;

/// Variables by where they lie.
pub(super) type VariablesByAddress = FxHashMap<Addr, (u16, u32, u32)>;

/// All variables of all modules, by running address: module, unit, and place in the unit.
pub(super) fn variables_by_address(shapes: &Shapes<'_>) -> VariablesByAddress {
    let mut found = VariablesByAddress::default();
    for (index, module) in (0u16..).zip(shapes.modules()) {
        for (unit_index, unit) in (0u32..).zip(module.catalogue.units()) {
            for (place, variable) in (0u32..).zip(&unit.variables) {
                found.insert(module.bias.to_running(variable.address), (index, unit_index, place));
            }
        }
    }
    found
}

impl<'a> Explorer<'a> {
    /// Reads the list of modules.
    pub(super) fn read_modules(&mut self, cycle: Option<Addr>) {
        let Some(list) = self.module_list(cycle) else { return };
        let Some([context_index, index, context]) =
            offsets(&self.shapes, "ngx_module_s", ["ctx_index", "index", "ctx"])
        else {
            return;
        };
        for address in list {
            let word = |offset| self.word(address + offset);
            let (Some(context_index), Some(index), Some(context)) = (word(context_index), word(index), word(context))
            else {
                continue;
            };
            let Some((name, unit)) = self.module_name(address) else { continue };
            let (protocol, creators) = self.protocol(Addr(context)).unwrap_or_default();
            self.owners.push(Owner { name: name.clone(), unit });
            let owner = self.owners.len() as u32 - 1;
            let block = None;
            self.modules.push(NginxModuleInfo { name, index, context_index, protocol, creators, owner, block });
        }
        self.find_blocks();
    }

    /// Modules whose protocol has no structure for its tables: theirs lies behind one more pointer, in the entry of the
    /// core module that reads their block (`ngx_events_module` for `ngx_event`).
    fn find_blocks(&mut self) {
        let named = |name: &str| self.modules.iter().any(|module| &*module.name == name);
        let block = |protocol: &str| {
            let has_structure = layout(&self.shapes, &format!("{protocol}_conf_ctx_t")).is_some();
            let names = [format!("{protocol}s_module"), format!("{protocol}_module")];
            // The core modules' own configurations lie in `conf_ctx` itself.
            let has_table = !has_structure && protocol != CORE;
            let found = names.into_iter().find(|name| named(name)).filter(|_| has_table);
            found.map(String::into_boxed_str)
        };
        let blocks: Vec<Option<Box<str>>> = self.modules.iter().map(|module| block(&module.protocol)).collect();
        for (module, block) in self.modules.iter_mut().zip(blocks) {
            module.block = block;
        }
    }

    /// Addresses of all modules: those of the cycle, dynamic ones included, or else those that were linked.
    fn module_list(&self, cycle: Option<Addr>) -> Option<Vec<Addr>> {
        let of_cycle = cycle.zip(offsets(&self.shapes, "ngx_cycle_s", ["modules", "modules_n"]));
        let of_cycle = of_cycle
            .and_then(|(cycle, [modules, count])| Some((Addr(self.word(cycle + modules)?), self.word(cycle + count)?)));
        let (list, count) = match of_cycle {
            Some((list, count)) if !list.is_null() => (list, count.min(MAX_MODULES)),
            _ => (self.variable_address("ngx_modules")?, MAX_MODULES),
        };
        let at = |index| self.memory.read_pointer(list + index * 8).ok();
        Some((0..count).map_while(at).take_while(|address| !address.is_null()).collect())
    }

    /// A module's name and the source file that defines it.
    fn module_name(&self, address: Addr) -> Option<(Box<str>, Option<FileId>)> {
        if let Some((module, unit, _)) = self.variables.get(&address).copied() {
            let variable = self.variable_at(address)?;
            return Some((variable.name.clone(), Some((module, unit))));
        }
        let modules = self.shapes.modules();
        modules.iter().find_map(|module| match module.debug.symbol_at(module.bias.to_file(address)) {
            Some((symbol, 0)) => Some((symbol.name.into(), None)),
            _ => None,
        })
    }

    /// The protocol that a module's context is of, and the functions in it that make configurations.
    fn protocol(&self, context: Addr) -> Option<(Box<str>, Creators)> {
        let (module, ..) = self.variables.get(&context).copied()?;
        let debug = self.shapes.module(module)?.debug;
        let type_id = self.variable_at(context)?.type_id;
        let Ok(Pointee::Structure(structure)) = debug.pointee(Some(type_id)) else { return None };
        let name = &*self.shapes.module(module)?.catalogue.structure(structure)?.name;
        let protocol = name.trim_end_matches("_t").trim_end_matches("_s").strip_suffix("_module")?;
        let mut creators = Vec::new();
        for field in &layout(&self.shapes, name)?.fields {
            if let Some(kind) = field.name.strip_prefix("create_")
                && let Some(function) = self.word(context + field.offset).filter(|function| *function != 0)
            {
                creators.push((kind.into(), Addr(function)));
            }
        }
        Some((protocol.into(), creators))
    }

    /// The variable that starts at a running address.
    pub(super) fn variable_at(&self, address: Addr) -> Option<&'a StaticVariable> {
        let (module, unit, place) = self.variables.get(&address).copied()?;
        self.shapes.module(module)?.catalogue.units().get(unit as usize)?.variables.get(place as usize)
    }

    /// The address of a variable by its name.
    pub(super) fn variable_address(&self, name: &str) -> Option<Addr> {
        let modules = self.shapes.modules();
        modules.iter().find_map(|module| Some(module.bias.to_running(module.debug.symbol_address(name)?)))
    }
}
