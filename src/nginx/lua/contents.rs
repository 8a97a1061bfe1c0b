//! Pools of the Lua module that nothing known leads to, by what is in them.

use super::LuaCode;
use crate::nginx::owner::{NamedPool, OwnerFacts, OwnerKind, Trust};
use crate::nginx::pool::Pool;

const REGEX: OwnerKind = OwnerKind { key: "lua.regex", label: "Lua regex, compiled", unit: Some("lua_regex") };
const OTHER: OwnerKind = OwnerKind { key: "lua.other", label: "pool with a cleanup of Lua", unit: None };

/// Size of the pool of a regex, as the module gives it to `ngx_create_pool`.
const REGEX_POOL: u64 = 512;

/// Names for the pools that look like the module's.
///
/// A regex is the first thing in its pool, and begins with the pool's address; only a Lua object points to it (lua-nginx-module
/// `ngx_http_lua_regex.c`, `ngx_http_lua_ffi_compile_regex`). Other pools are known by a cleanup handler.
pub fn name_by_contents<'a>(code: &LuaCode, pools: impl IntoIterator<Item = &'a Pool>) -> Vec<NamedPool> {
    pools.into_iter().filter_map(|pool| name(code, pool)).collect()
}

fn name(code: &LuaCode, pool: &Pool) -> Option<NamedPool> {
    let named = |kind| NamedPool { trust: Trust::Signature, ..NamedPool::plain(pool.address, kind, String::new()) };
    if pool.block_size == REGEX_POOL && pool.first_word == pool.address && !pool.address.is_null() {
        return Some(named(&REGEX));
    }
    let cleanup = pool.cleanups.iter().find(|cleanup| code.contains(cleanup.handler))?;
    let facts = OwnerFacts { handler: Some(cleanup.handler), ..OwnerFacts::default() };
    Some(NamedPool { facts, ..named(&OTHER) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{Addr, AddrRange};
    use crate::nginx::pool::Cleanup;

    fn kind(pool: &Pool) -> Option<&'static str> {
        let code = LuaCode { ranges: vec![AddrRange::new(Addr(0x7000), Addr(0x8000))] };
        name_by_contents(&code, [pool]).pop().map(|named| named.kind.key)
    }

    #[test]
    fn a_regex_begins_with_the_address_of_its_pool() {
        let regex = Pool { address: Addr(0x100), block_size: 512, first_word: Addr(0x100), ..Pool::default() };
        assert_eq!(kind(&regex), Some("lua.regex"));
        assert_eq!(kind(&Pool { first_word: Addr(0x110), ..regex.clone() }), None);
        assert_eq!(kind(&Pool { block_size: 1024, ..regex }), None);
    }

    #[test]
    fn a_cleanup_of_the_module_tells_that_a_pool_is_its() {
        let cleanup = |handler| vec![Cleanup { handler: Addr(handler), data: Addr(1) }];
        let pool = |handler| Pool { address: Addr(0x100), cleanups: cleanup(handler), ..Pool::default() };
        assert_eq!(kind(&pool(0x7fff)), Some("lua.other"));
        assert_eq!(kind(&pool(0x8000)), None);
        assert_eq!(kind(&pool(0)), None);
    }
}
