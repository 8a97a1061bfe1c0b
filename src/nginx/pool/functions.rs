//! Which functions of nginx have a pool half changed while they run.

/// How the names begin of the functions in nginx' `src/core/ngx_palloc.c`. `ngx_destroy_pool` runs cleanup handlers, which
/// then count as well: the pool is half gone.
const BEGINNINGS: &[&str] = &[
    "ngx_create_pool",
    "ngx_destroy_pool",
    "ngx_palloc",
    "ngx_pcalloc",
    "ngx_pfree",
    "ngx_pmemalign",
    "ngx_pnalloc",
    "ngx_pool_",
    "ngx_reset_pool",
];

/// True for a function that changes pools, by its name in the symbol table.
pub fn is_of_pools(name: &str) -> bool {
    BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}
