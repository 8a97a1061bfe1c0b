//! Where an exploration starts.

use super::explorer::{Explorer, Owner};
use crate::addr::Addr;
use crate::target::memory::Memory;
use rustc_hash::FxHashSet;

/// More connections than this are not believed.
const MAX_CONNECTIONS: u64 = 16 << 20;

impl Explorer<'_> {
    /// Adds all variables, `ngx_cycle` before all others.
    pub(super) fn add_roots(&mut self) {
        let cycle = self.variable_address("ngx_cycle");
        let mut variables: Vec<(Addr, (u16, u32, u32))> =
            self.variables.iter().map(|(at, place)| (*at, *place)).collect();
        variables.sort_unstable_by_key(|(at, place)| (Some(*at) != cycle, *place));
        let mut last: Option<(u16, u32)> = None;
        for (at, (module, unit, _)) in variables {
            if last != Some((module, unit)) {
                last = Some((module, unit));
                self.add_file(module, unit);
            }
            self.add_variable(at, module, unit);
        }
    }

    fn add_file(&mut self, module: u16, unit: u32) {
        let units = self.shapes.module(module).map(|of| of.catalogue.units()).unwrap_or_default();
        let name = units.get(unit as usize).map(|unit| unit.file_name().into()).unwrap_or_default();
        self.owners.push(Owner { name, unit: Some((module, unit)) });
    }

    fn add_variable(&mut self, at: Addr, module: u16, unit: u32) {
        let Some(variable) = self.variable_at(at) else { return };
        let Some(shape) = self.shapes.of_variable(module, unit, variable) else { return };
        let owner = self.owners.len() as u32 - 1;
        if !variable.external
            && let Some(file) = self.owners.last()
        {
            self.file_statics.insert(shape.id, file.name.clone());
        }
        self.graph.add_root(at, shape.id, owner);
    }

    /// Notes the connections that are free: they keep what they had, and nothing of it is theirs any more (nginx
    /// `src/core/ngx_connection.c`, `ngx_free_connection`). They are chained through `data`.
    pub(super) fn find_free_connections(&mut self, cycle: Addr) -> Option<()> {
        let [_, count, free] = self.layouts.cycle?;
        let [data] = self.layouts.connection?;
        let count = self.word(cycle + count)?.min(MAX_CONNECTIONS);
        let mut at = self.memory.read_pointer(cycle + free).ok()?;
        let mut found = FxHashSet::default();
        while !at.is_null() && (found.len() as u64) < count && found.insert(at) {
            at = self.memory.read_pointer(at + data).unwrap_or(Addr::NULL);
        }
        self.free_connections = found;
        Some(())
    }
}
