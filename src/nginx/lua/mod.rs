//! Pools of the Lua module (lua-nginx-module), loaded or linked in.
//!
//! | what | where it is made | what leads to it |
//! |---|---|---|
//! | pending timer | `ngx_http_lua_timer.c`, 128 bytes | an event in the tree of timers; its context lies right behind it |
//! | running timer, phase without a client | `ngx_http_lua_util.c`, `ngx_http_lua_create_fake_connection`, 128 bytes | a connection without a descriptor, whose log handler is the module's |
//! | cosocket | `ngx_http_lua_socket_tcp.c`, 128 bytes | a connection whose handlers are the module's |
//! | compiled regex | `ngx_http_lua_regex.c`, 512 bytes | Lua objects only: known by what is in it |
//!
//! The module has no debug info on most machines. That an address is its code is known by where it lies; the rest by
//! structures that point to one another.

mod contents;
mod sockets;

pub use contents::name_by_contents;
pub use sockets::finder;

use super::events::Event;
use super::layout::PoolLayout;
use super::owner::{NginxModule, OwnerError, OwnerKind, Trust};
use crate::addr::{Addr, AddrRange};
use crate::target::memory::{Memory, word_at};

/// A timer that has not run yet.
pub const PENDING: OwnerKind = OwnerKind { key: "lua.timer", label: "Lua timer, pending", unit: Some("lua_timer") };

/// Size of the pools of timers, cosockets and fake connections, as the module gives it to `ngx_create_pool`.
const SMALL_POOL: u64 = 128;

/// Where the module's code is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LuaCode {
    /// In address order.
    ranges: Vec<AddrRange>,
}

impl LuaCode {
    /// `None` if the process has no Lua module. One that was loaded is a file of its own. One that was linked in is known by
    /// the names of its functions, as far as there are symbols.
    pub fn of(nginx: NginxModule<'_>) -> Option<LuaCode> {
        const MODULE: &str = "ngx_http_lua_module";
        let loaded = nginx.dynamic.iter().find(|module| module.debug.symbol_address(MODULE).is_some());
        if let Some(module) = loaded {
            return Some(LuaCode { ranges: vec![module.span] });
        }
        nginx.debug.symbol_address(MODULE)?;
        let functions = nginx.debug.functions_with("ngx_http_lua_").into_iter();
        let range = |(address, size)| AddrRange::sized(nginx.bias.to_running(address), size);
        let mut ranges: Vec<AddrRange> = functions.map(range).collect();
        ranges.sort_by_key(|range| range.start);
        Some(LuaCode { ranges })
    }

    /// True if a function of the module is there.
    pub fn contains(&self, address: Addr) -> bool {
        let after = self.ranges.partition_point(|range| range.start <= address);
        after.checked_sub(1).and_then(|index| self.ranges.get(index)).is_some_and(|range| range.contains(address))
    }
}

/// A function's address, if any file has a symbol for it.
fn function(nginx: NginxModule<'_>, name: &str) -> Option<Addr> {
    nginx.variable(name)
}

/// Recognises pools as small as the module makes most.
struct SmallPools(PoolLayout);

impl SmallPools {
    fn of(nginx: NginxModule<'_>) -> SmallPools {
        SmallPools(PoolLayout::from_debug(nginx.debug).unwrap_or(PoolLayout::SINCE_0_8_1))
    }

    fn is_one(&self, memory: &dyn Memory, pool: Addr) -> bool {
        self.0.first_block(memory, pool) == Some(SMALL_POOL)
    }

    /// True if `allocation` lies in the pool at that address.
    fn holds(&self, memory: &dyn Memory, pool: Addr, allocation: Addr) -> bool {
        self.0.holds(memory, pool, allocation)
    }
}

/// Recognises the events of timers that wait.
pub struct LuaTimers {
    code: LuaCode,
    /// `ngx_http_lua_timer_handler`, if there is a symbol for it.
    handler: Option<Addr>,
    event_size: u64,
    pools: SmallPools,
    /// Where the context keeps its pool, if debug info tells.
    pool: Option<u64>,
}

/// Words of a timer's context that its pool is looked for in: it is the fifth one from version 0.10.11 to 0.10.31.
const CONTEXT_WORDS: u64 = 8;

impl LuaTimers {
    /// `None` if the process has no Lua module. `event_size` is that of `ngx_event_t`.
    ///
    /// # Errors
    /// [`OwnerError`] if the debug info describes something else than the module's timers.
    pub fn of(nginx: NginxModule<'_>, event_size: u64) -> Result<Option<LuaTimers>, OwnerError> {
        let Some(code) = LuaCode::of(nginx) else { return Ok(None) };
        let context = nginx.layout("ngx_http_lua_timer_ctx_t").ok();
        let pool = context.map(|context| context.offset("pool")).transpose()?;
        let handler = function(nginx, "ngx_http_lua_timer_handler");
        Ok(Some(LuaTimers { code, handler, event_size, pools: SmallPools::of(nginx), pool }))
    }

    /// The pool of a timer, if the event is one, and how that is known.
    ///
    /// The event and the context are one allocation, so that the event's `data` is the address right behind it (lua-nginx-module
    /// `ngx_http_lua_timer.c`, `ngx_http_lua_ngx_timer_helper`).
    pub fn pool_of(&self, memory: &dyn Memory, event: &Event) -> Option<(Addr, Trust)> {
        let is_handler = self.handler.map_or_else(|| self.code.contains(event.handler), |known| known == event.handler);
        if !is_handler || event.data != event.address + self.event_size {
            return None;
        }
        if let Some(offset) = self.pool {
            return Some((memory.read_pointer(event.data + offset).ok()?, Trust::TypedPath));
        }
        let mut bytes = [0; CONTEXT_WORDS as usize * 8];
        memory.read(event.data, &mut bytes).ok()?;
        let words = (0..CONTEXT_WORDS).map(|word| Addr(word_at(&bytes, word * 8)));
        let mut pools = words.filter(|word| self.pools.is_one(memory, *word));
        let pool = pools.next()?;
        pools.next().is_none().then_some((pool, Trust::InferredPath))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::image::Image;

    const EVENT: Addr = Addr(0x1000);
    const CONTEXT: Addr = Addr(0x1060);
    const POOL: Addr = Addr(0x2000);

    /// A timer that waits; its pool is the fifth word of its context.
    fn image() -> Image {
        let mut image = Image::new();
        image.map(EVENT, vec![0; 200]);
        image.map(POOL, vec![0; 256]);
        assert!(image.write_u64(CONTEXT + 32, POOL.0));
        for (offset, value) in [(0, POOL.0 + 80), (8, POOL.0 + 128), (32, 48), (40, POOL.0), (72, 0x99)] {
            assert!(image.write_u64(POOL + offset, value));
        }
        image
    }

    fn code() -> LuaCode {
        LuaCode { ranges: vec![AddrRange::new(Addr(0x7000), Addr(0x8000)), AddrRange::new(Addr(0x9000), Addr(0x9100))] }
    }

    fn pool_of(image: &Image, handler: Option<Addr>, event: Event) -> Option<Addr> {
        let pools = SmallPools(PoolLayout::SINCE_0_8_1);
        let timers = LuaTimers { code: code(), handler, event_size: 96, pools, pool: None };
        timers.pool_of(image, &event).map(|(pool, _)| pool)
    }

    #[test]
    fn code_is_where_its_functions_are() {
        let inside = [0x6fff, 0x7000, 0x7fff, 0x8000, 0x9000, 0x9100].map(|at| code().contains(Addr(at)));
        assert_eq!(inside, [false, true, true, false, true, false]);
    }

    #[test]
    fn a_timer_s_context_lies_behind_its_event_and_has_its_pool() {
        let event = Event { address: EVENT, handler: Addr(0x7100), data: CONTEXT };
        assert_eq!(pool_of(&image(), None, event), Some(POOL));
        assert_eq!(pool_of(&image(), Some(Addr(0x7100)), event), Some(POOL));
        assert_eq!(pool_of(&image(), Some(Addr(0x7200)), event), None);
        assert_eq!(pool_of(&image(), None, Event { handler: Addr(0x6000), ..event }), None);
        assert_eq!(pool_of(&image(), None, Event { data: CONTEXT + 8, ..event }), None);
    }

    #[test]
    fn a_context_that_could_have_two_pools_names_none() {
        let event = Event { address: EVENT, handler: Addr(0x7100), data: CONTEXT };
        let mut image = image();
        assert!(image.write_u64(CONTEXT + 8, POOL.0));
        assert_eq!(pool_of(&image, None, event), None);
        assert!(image.write_u64(CONTEXT + 8, 0) && image.write_u64(POOL + 8, POOL.0 + 256));
        assert_eq!(pool_of(&image, None, event), None);
    }
}
