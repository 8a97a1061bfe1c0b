//! What must agree with the built-in layouts before anything is read by them.
//!
//! nginx's variables have known addresses and its structures point to one another, so that a wrong offset or size shows: the
//! cycle lies in the pool that it says is its own; its first module is the exported core module, and modules know their
//! places; the arrays in the cycle state the sizes of their elements; each slot of the array of connections points to the
//! events in the same slots of two other arrays; free slots lead to free slots; an event that the kernel watches leads back
//! to its connection; and what a connection has is a pool (nginx `src/core/ngx_cycle.c`, `ngx_init_cycle`;
//! `src/event/ngx_event.c`, `ngx_event_process_init`; `src/core/ngx_connection.c`, `ngx_get_connection`).

mod layouts;
mod reusable;

use crate::addr::Addr;
use crate::debug::{Layout, MissingField};
use crate::nginx::layout::PoolLayout;
use crate::target::memory::{Fault, Memory, word_at};
use layouts::{ConnectionLayout, Connections, CycleLayout, EventLayout};
use reusable::Reusable;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Slots of the array of connections that are looked at: the first ones, which are used first, and as many over all.
const SAMPLES: u64 = 256;

/// More connections or modules than this are not believed.
const MAX_CONNECTIONS: u64 = 64 << 20;
const MAX_MODULES: u64 = 4096;

/// `active` in the first bit-fields of an event, which follow its `data`: the kernel watches it.
const EVENT_FLAGS: u64 = 8;
const ACTIVE: u64 = 1 << 3;

/// `NGX_INVALID_INDEX`, which is a macro (nginx `src/event/ngx_event.h`).
const INVALID_INDEX: u64 = 0xd0d0_d0d0;

/// Where everything is that must agree.
#[derive(Debug)]
pub struct Proof {
    /// The variable `ngx_cycle`, a pointer.
    cycle: Addr,
    core_module: Addr,
    module_index: u64,
    /// The variable `ngx_connection_counter`, a pointer to the last number that was given to a connection.
    counter: Option<Addr>,
    layouts: CycleLayout,
    connection: ConnectionLayout,
    event: EventLayout,
    reusable: Reusable,
    /// The variable `ngx_cached_time`, a pointer, and where what it points to has its milliseconds.
    time: Option<(Addr, u64)>,
}

impl Proof {
    /// What must agree with those layouts.
    pub fn new(
        layouts: &FxHashMap<&'static str, Arc<Layout>>,
        variable: &dyn Fn(&str) -> Option<Addr>,
    ) -> Result<Proof, String> {
        let named = |name: &str| variable(name).ok_or_else(|| format!("it does not export {name}"));
        let layout = |name: &str| layouts.get(name).ok_or_else(|| format!("{name} is not in the built-in layouts"));
        let missing = |error: MissingField| error.to_string();
        let (cycle, connection) = (layout("ngx_cycle_s")?, layout("ngx_connection_s")?);
        let event = layout("ngx_event_s")?;
        Ok(Proof {
            cycle: named("ngx_cycle")?,
            core_module: named("ngx_core_module")?,
            module_index: layout("ngx_module_s")?.offset("index").map_err(missing)?,
            counter: variable("ngx_connection_counter"),
            layouts: CycleLayout::new(cycle, layout("ngx_listening_s")?.size).map_err(missing)?,
            connection: ConnectionLayout::new(connection).map_err(missing)?,
            event: EventLayout::new(event).map_err(missing)?,
            reusable: Reusable::new(cycle, connection).map_err(missing)?,
            time: variable("ngx_cached_time").zip(layout("ngx_time_t")?.offset("msec").ok()),
        })
    }

    /// Whether memory agrees.
    pub fn check(&self, memory: &dyn Memory) -> Result<(), String> {
        let unreadable = |fault: Fault| fault.to_string();
        let address = memory.read_pointer(self.cycle).map_err(unreadable)?;
        let mut cycle = vec![0; self.layouts.size as usize];
        memory.read(address, &mut cycle).map_err(|fault| format!("ngx_cycle: {fault}"))?;
        self.check_pool_of(memory, address, &cycle)?;
        self.check_modules(memory, &cycle)?;
        self.layouts.check_arrays(&cycle)?;
        self.check_time(memory)?;
        let connections = self.layouts.connections(&cycle, self.last_number(memory));
        // A master has none.
        if connections.first.is_null() {
            return Ok(());
        }
        if connections.count == 0 || connections.count > MAX_CONNECTIONS {
            return Err(format!("there would be {} connections", connections.count));
        }
        self.check_slots(memory, &connections)?;
        self.check_free(memory, &connections, &cycle)?;
        self.reusable.check(memory, address, &connections)
    }

    fn check_pool_of(&self, memory: &dyn Memory, address: Addr, cycle: &[u8]) -> Result<(), String> {
        let pool = Addr(word_at(cycle, self.layouts.pool));
        let end = pool_end(memory, pool).ok_or("ngx_cycle->pool is no pool")?;
        match pool < address && address < end {
            true => Ok(()),
            false => Err("the cycle does not lie in its pool".to_owned()),
        }
    }

    fn check_modules(&self, memory: &dyn Memory, cycle: &[u8]) -> Result<(), String> {
        let count = word_at(cycle, self.layouts.modules_n);
        if !(2..=MAX_MODULES).contains(&count) {
            return Err(format!("there would be {count} modules"));
        }
        let modules = Addr(word_at(cycle, self.layouts.modules));
        let module = |slot: u64| memory.read_pointer(modules + slot * 8).ok();
        if module(0) != Some(self.core_module) {
            return Err("ngx_core_module is not the first module".to_owned());
        }
        let index = |slot: u64| memory.read_u64(module(slot)? + self.module_index).ok();
        match index(0) == Some(0) && index(1) == Some(1) {
            true => Ok(()),
            false => Err("modules do not know their places".to_owned()),
        }
    }

    fn check_time(&self, memory: &dyn Memory) -> Result<(), String> {
        let Some((variable, milliseconds)) = self.time else { return Ok(()) };
        let time = memory.read_pointer(variable).map_err(|fault| fault.to_string())?;
        match memory.read_u64(time + milliseconds) {
            Ok(0..1000) => Ok(()),
            Ok(other) => Err(format!("ngx_cached_time would be {other} milliseconds past a second")),
            Err(fault) => Err(fault.to_string()),
        }
    }

    fn last_number(&self, memory: &dyn Memory) -> Option<u64> {
        memory.read_u64(memory.read_pointer(self.counter?).ok()?).ok()
    }

    fn check_slots(&self, memory: &dyn Memory, connections: &Connections) -> Result<(), String> {
        let spread = (connections.count / SAMPLES).max(1);
        let all_over = (0..SAMPLES).map(|sample| sample * spread);
        for slot in (0..SAMPLES).chain(all_over).filter(|slot| *slot < connections.count) {
            self.check_slot(memory, connections, slot)?;
        }
        Ok(())
    }

    fn check_slot(&self, memory: &dyn Memory, connections: &Connections, slot: u64) -> Result<(), String> {
        let address = connections.first + slot * self.connection.size;
        let problem = |what: &str| format!("connection {slot}: {what}");
        let mut bytes = vec![0; self.connection.size as usize];
        memory.read(address, &mut bytes).map_err(|fault| problem(&fault.to_string()))?;
        let read = connections.read_events + slot * self.event.size;
        let write = connections.write_events + slot * self.event.size;
        if word_at(&bytes, self.connection.read) != read.0 || word_at(&bytes, self.connection.write) != write.0 {
            return Err(problem("its events are not those of its slot"));
        }
        let mut event = vec![0; self.event.size as usize];
        memory.read(read, &mut event).map_err(|fault| problem(&fault.to_string()))?;
        if word_at(&event, EVENT_FLAGS) & ACTIVE == 0 {
            return Ok(());
        }
        self.check_event(&event, address).map_err(problem)?;
        self.check_used(memory, connections, &bytes).map_err(problem)
    }

    /// An event that the kernel watches, of a connection.
    fn check_event(&self, event: &[u8], connection: Addr) -> Result<(), &'static str> {
        let (handler, index) = (word_at(event, self.event.handler), word_at(event, self.event.index));
        match () {
            () if word_at(event, self.event.data) != connection.0 => Err("its event does not lead back to it"),
            () if handler == 0 => Err("its event has no handler"),
            // Only select and poll replace it: by a place in a list of their own.
            () if index != INVALID_INDEX && index > MAX_CONNECTIONS * 2 => Err("its event has an index that cannot be"),
            () => Ok(()),
        }
    }

    /// A connection that is in use.
    fn check_used(
        &self,
        memory: &dyn Memory,
        connections: &Connections,
        connection: &[u8],
    ) -> Result<(), &'static str> {
        let word = |offset| Addr(word_at(connection, offset));
        let listening = word(self.connection.listening);
        let from = listening.checked_offset_from(connections.listening);
        let is_slot = from.is_some_and(|offset| {
            let size = self.layouts.listening_size;
            offset.is_multiple_of(size) && offset / size < connections.listening_count
        });
        if !listening.is_null() && !is_slot {
            return Err("what it listens to is not one of the listening sockets");
        }
        let pool = word(self.connection.pool);
        if !pool.is_null() && pool_end(memory, pool).is_none() {
            return Err("its pool is no pool");
        }
        if word(self.connection.log).is_null() {
            return Err("it has no log");
        }
        let number = word_at(connection, self.connection.number);
        match connections.last_number {
            // One that was just accepted is counted first.
            Some(last) if number > last => Err("its number is beyond the last one"),
            _ => Ok(()),
        }
    }

    fn check_free(&self, memory: &dyn Memory, connections: &Connections, cycle: &[u8]) -> Result<(), String> {
        let count = word_at(cycle, self.layouts.free_n);
        if count > connections.count {
            return Err(format!("{count} of {} connections would be free", connections.count));
        }
        let mut at = Addr(word_at(cycle, self.layouts.free));
        for step in 0..count.min(SAMPLES) {
            if !connections.has(at, self.connection.size) {
                return Err(format!("free connection {step} of {count} lies at {at}, which is no slot"));
            }
            at = memory.read_pointer(at + self.connection.data).map_err(|fault| fault.to_string())?;
        }
        match count <= SAMPLES && !at.is_null() {
            true => Err("there are more free connections than are counted".to_owned()),
            false => Ok(()),
        }
    }
}

/// The end of the first block of the pool at that address; `None` if there is no pool.
fn pool_end(memory: &dyn Memory, pool: Addr) -> Option<Addr> {
    PoolLayout::SINCE_0_8_1.first_block(memory, pool).map(|size| pool + size)
}

#[cfg(test)]
mod tests;
