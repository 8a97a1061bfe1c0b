//! Shared memory zones, by name: which memory belongs to `limit_conn_zone`, caches, upstreams and the like.

use super::text::read_name;
use crate::addr::{Addr, AddrRange, LoadBias};
use crate::debug::DebugInfo;
use crate::target::memory::Memory;

/// No cycle has as many zones, or parts of the list of them.
const MOST: u64 = 4096;

/// A zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Its name in the configuration.
    pub name: String,
    /// Its memory, which all workers share.
    pub memory: AddrRange,
}

/// The zones of the cycle, `ngx_cycle->shared_memory` (nginx `src/core/ngx_cycle.h`, `ngx_list.h`, `ngx_shmem.h`); as many as
/// can be read, and none without debug info.
pub fn zones(debug: &DebugInfo, bias: LoadBias, memory: &dyn Memory) -> Vec<Zone> {
    let mut found = Vec::new();
    let _ = read(debug, bias, memory, &mut found);
    found
}

/// `None` as soon as something cannot be read.
fn read(debug: &DebugInfo, bias: LoadBias, memory: &dyn Memory, found: &mut Vec<Zone>) -> Option<()> {
    let cycle_layout = debug.layout("ngx_cycle_s").ok()?;
    let (part_layout, zone_layout) = (debug.layout("ngx_list_part_s").ok()?, debug.layout("ngx_shm_zone_s").ok()?);
    let cycle = memory.read_pointer(bias.to_running(debug.symbol_address("ngx_cycle")?)).ok()?;
    let mut part = cycle + cycle_layout.offset("shared_memory.part").ok()?;
    let last = memory.read_pointer(cycle + cycle_layout.offset("shared_memory.last").ok()?).ok()?;
    for _ in 0..MOST {
        let field = |name: &str| memory.read_u64(part + part_layout.offset(name).ok()?).ok();
        let (first, count) = (Addr(field("elts")?), field("nelts")?);
        for number in 0..count.min(MOST) {
            let zone = first + number.checked_mul(zone_layout.size)?;
            let field = |name: &str| memory.read_u64(zone + zone_layout.offset(name).ok()?).ok();
            let name = read_name(memory, Addr(field("shm.name.data")?), field("shm.name.len")?)?;
            found.push(Zone { name, memory: AddrRange::sized(Addr(field("shm.addr")?), field("shm.size")?) });
        }
        let next = Addr(field("next")?);
        if part == last || next.is_null() || found.len() as u64 >= MOST {
            return Some(());
        }
        part = next;
    }
    Some(())
}
