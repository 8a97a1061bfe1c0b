//! The cycle: the pool that holds the configuration, and those of cycles that were replaced.

use super::found::{Found, FoundPool, Path};
use super::owner::{NginxModule, OwnerError, OwnerFinder, OwnerKind, Stopped};
use crate::addr::Addr;
use crate::target::memory::Memory;

const CYCLE: OwnerKind = OwnerKind { key: "cycle", label: "cycle", unit: None };
const OLD_CYCLE: OwnerKind = OwnerKind { key: "old_cycle", label: "old cycle", unit: None };

/// Old cycles beyond this number are not believed.
const MAX_OLD_CYCLES: u64 = 4096;

struct CycleFinder {
    /// The variable `ngx_cycle`, a pointer.
    cycle: Addr,
    /// The array `ngx_old_cycles`, of pointers to cycles.
    old_cycles: Option<Addr>,
    /// The variable `ngx_temp_pool`, from which `ngx_old_cycles` takes its memory.
    temp_pool: Option<Addr>,
    pool: u64,
    elements: u64,
    count: u64,
}

/// Looks for the pools of cycles.
pub fn finder(nginx: NginxModule<'_>) -> Result<Option<Box<dyn OwnerFinder>>, OwnerError> {
    let Some(cycle) = nginx.variable("ngx_cycle") else { return Ok(None) };
    let layout = nginx.layout("ngx_cycle_s")?;
    let array = nginx.layout("ngx_array_t")?;
    Ok(Some(Box::new(CycleFinder {
        cycle,
        old_cycles: nginx.variable("ngx_old_cycles"),
        temp_pool: nginx.variable("ngx_temp_pool"),
        pool: layout.offset("pool")?,
        elements: array.offset("elts")?,
        count: array.offset("nelts")?,
    })))
}

impl OwnerFinder for CycleFinder {
    fn what(&self) -> &'static str {
        "cycles"
    }

    fn find(&self, target: &Stopped<'_>, found: &mut Found) -> Result<(), OwnerError> {
        let memory = target.chase;
        let cycle = memory.read_pointer(self.cycle)?;
        let pool = memory.read_pointer(cycle + self.pool)?;
        found.pools.push(FoundPool::plain(pool, &CYCLE, Path::fixed("ngx_cycle->pool")));
        if let Some(temp_pool) = self.temp_pool {
            let pool = memory.read_pointer(temp_pool)?;
            if !pool.is_null() {
                found.pools.push(FoundPool::plain(pool, &OLD_CYCLE, Path::fixed("ngx_temp_pool")));
            }
        }
        self.find_old_cycles(memory, found)
    }
}

impl CycleFinder {
    /// Only a process without a master keeps old cycles until their connections have closed.
    fn find_old_cycles(&self, memory: &dyn Memory, found: &mut Found) -> Result<(), OwnerError> {
        let Some(array) = self.old_cycles else { return Ok(()) };
        let elements = memory.read_pointer(array + self.elements)?;
        let count = memory.read_u64(array + self.count)?;
        if count > MAX_OLD_CYCLES {
            return Err(OwnerError::Implausible(format!("ngx_old_cycles holds {count} cycles")));
        }
        for slot in 0..count {
            let cycle = memory.read_pointer(elements + slot * 8)?;
            // A cycle whose last connection has closed leaves a null in its place.
            if !cycle.is_null() {
                let pool = memory.read_pointer(cycle + self.pool)?;
                let path = Path::through("((ngx_cycle_t **) ngx_old_cycles.elts)[", slot, "]->pool");
                found.pools.push(FoundPool::plain(pool, &OLD_CYCLE, path));
            }
        }
        Ok(())
    }
}
