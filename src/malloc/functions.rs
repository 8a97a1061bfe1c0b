//! Which functions of glibc have the heap half changed while they run.

/// How the names begin of the functions in glibc's malloc.c and arena.c, without what [`stem`] takes off; those of 2.17 to
/// 2.44.
const BEGINNINGS: &[&str] = &[
    "aligned_alloc",
    "alloc_new_heap",
    "arena_",
    "calloc",
    "detach_arena",
    "get_free_list",
    "grow_heap",
    "heap_trim",
    "int_free",
    "int_mallinfo",
    "int_malloc",
    "int_memalign",
    "int_realloc",
    "mallinfo",
    "malloc",
    "mallopt",
    "memalign",
    "mid_memalign",
    "mremap_chunk",
    "mtrim",
    "munmap_chunk",
    "new_heap",
    "posix_memalign",
    "ptmalloc",
    "pvalloc",
    "realloc",
    "reused_arena",
    "shrink_heap",
    "sysmalloc",
    "systrim",
    "tcache",
    "unlink_chunk",
    "valloc",
];

/// True for a function of glibc's malloc, by its name in the symbol table.
pub fn is_of_malloc(name: &str) -> bool {
    let stem = stem(name);
    BEGINNINGS.iter().any(|beginning| stem.starts_with(beginning)) || is_free(stem)
}

/// `free`, `cfree`, `free2` (what 2.42 has split off), `free_sized`; but not `freeaddrinfo` or `freelocale`.
fn is_free(stem: &str) -> bool {
    let stem = stem.strip_prefix('c').unwrap_or(stem);
    stem.strip_prefix("free").is_some_and(|rest| {
        rest.is_empty() || rest.starts_with(|first: char| first.is_ascii_digit()) || rest.contains("sized")
    })
}

/// A name without what says that it is the library's own (`__GI___libc_malloc`) or a part that the compiler has split off
/// (`systrim.constprop.0`).
fn stem(name: &str) -> &str {
    let name = name.split('.').next().unwrap_or_default();
    let name = name.trim_start_matches('_');
    let name = name.strip_prefix("GI_").unwrap_or(name).trim_start_matches('_');
    name.strip_prefix("libc_").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::is_of_malloc;

    #[test]
    fn functions_of_malloc_are_known_by_all_their_names() {
        let inside = [
            "malloc",
            "__GI___libc_malloc",
            "__libc_free",
            "_int_free",
            "_int_free_merge_chunk",
            "cfree",
            "systrim.constprop.0",
            "__malloc_fork_lock_parent",
            "_mid_memalign.constprop.0",
            "tcache_init.part.0",
            "__malloc_arena_thread_freeres",
            "arena_get2",
        ];
        assert!(inside.into_iter().all(is_of_malloc));
        let outside =
            ["freelocale", "freeaddrinfo", "__libc_alloca_cutoff", "obstack_free", "_IO_free_backup_area", "fork"];
        assert!(!outside.into_iter().any(is_of_malloc));
    }
}
