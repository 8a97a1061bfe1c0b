//! The system's own glibc, with the debug file of Debian's libc6-dbg.

use poolscope::addr::FileAddr;
use poolscope::debug::{Binary, DebugInfo, Location, SearchOptions, SymbolKind, Verified};
use std::fs;
use std::path::PathBuf;

/// The libc that this test is linked to.
fn libc() -> DebugInfo {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let path = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).find(|path| path.contains("/libc.so.6"));
    let path = PathBuf::from(path.expect("this test must be linked to glibc"));
    DebugInfo::load(&Binary::open(path).unwrap(), &SearchOptions::default()).unwrap()
}

#[test]
fn structures_of_malloc() {
    let libc = libc();
    assert_eq!(
        libc.source().map(|source| source.verified),
        Some(Verified::BuildId),
        "libc6-dbg is needed: {:?}",
        libc.tried()
    );
    let names = [
        "malloc_state",
        "malloc_par",
        "heap_info",
        "malloc_chunk",
        "tcache_perthread_struct",
        "tcache_entry",
        "no_such",
    ];
    let layouts = libc.layouts(&names, Some("malloc.c")).unwrap();
    assert!(layouts[6].is_none());
    let layout = |index: usize| layouts[index].clone().unwrap_or_else(|| panic!("{}", names[index]));
    // The same in all glibc versions of x86_64 since 2.26, and named so in malloc.c.
    let chunk = layout(3);
    let offsets: Vec<u64> = ["mchunk_prev_size", "mchunk_size", "fd", "bk", "fd_nextsize", "bk_nextsize"]
        .map(|field| chunk.offset(field).unwrap())
        .into();
    assert_eq!((offsets.as_slice(), chunk.size), ([0, 8, 16, 24, 32, 40].as_slice(), 48));
    assert!(layout(1).has("n_mmaps") && layout(1).has("mmapped_mem") && layout(1).has("sbrk_base"));
    assert_eq!(layout(2).offset("ar_ptr").unwrap(), 0);
    assert!(layout(4).has("counts") && layout(4).has("entries"));
    let arena = layout(0);
    assert_eq!(arena.offset("mutex").unwrap(), 0);
    assert!(arena.offset("top").unwrap() < arena.offset("bins").unwrap());
    // The other names that each goes by.
    for (name, same) in [("mstate", None), ("heap_info", Some(layout(2))), ("_heap_info", Some(layout(2)))] {
        assert_eq!(libc.layout(name).ok().map(|layout| layout.size), same.map(|layout| layout.size), "{name}");
    }
}

/// glibc 2.36, which Debian 12 carries. On another version only the first assertion of the test above applies.
#[test]
fn known_layout_of_one_version() {
    let libc = libc();
    let arena = libc.layout("malloc_state").unwrap();
    let version = libc_version();
    match version.as_str() {
        "2.36" => assert_eq!((arena.size, arena.offset("top").unwrap()), (2200, 96)),
        "2.41" => assert_eq!((arena.size, arena.offset("top").unwrap()), (2200, 96)),
        // Fields moved in 2.26 (have_fastchunks) and before; newer versions are checked against their own books only.
        _ => assert!(arena.size > 2000, "glibc {version}: {arena}"),
    }
}

fn libc_version() -> String {
    let output = std::process::Command::new("getconf").arg("GNU_LIBC_VERSION").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().trim_start_matches("glibc ").to_string()
}

#[test]
fn variables_of_malloc_and_their_symbols() {
    let libc = libc();
    for (name, type_name) in [("main_arena", "struct malloc_state"), ("mp_", "struct malloc_par")] {
        let variable = libc.variable(name, Some("malloc.c")).unwrap().unwrap();
        assert_eq!(variable.address(), libc.symbol_address(name), "{name}");
        assert_eq!(libc.type_name(variable.type_id).unwrap(), type_name);
        let (symbol, offset) = libc.symbol_at(variable.address().unwrap()).unwrap();
        assert_eq!((symbol.name.as_str(), offset, symbol.kind, symbol.global), (name, 0, SymbolKind::Object, false));
        // Without knowing the source file it is found by its address.
        assert_eq!(libc.variable(name, None).unwrap().unwrap().location, variable.location);
    }
    let tcache = libc.variable("tcache", Some("malloc.c")).unwrap().unwrap();
    assert_eq!(libc.type_name(tcache.type_id).unwrap(), "tcache_perthread_struct *");
    assert_eq!(tcache.location, Location::ThreadLocal(libc.tls_offset("tcache").unwrap()));
    assert_eq!(libc.symbol_address("tcache"), None);
    let together = libc.variables(&["mp_", "no_such", "tcache"], Some("malloc.c")).unwrap();
    assert_eq!(together, [libc.variable("mp_", Some("malloc.c")).unwrap(), None, Some(tcache)]);
}

#[test]
fn functions_and_lines_of_malloc() {
    let libc = libc();
    let malloc = libc.symbol_address("malloc").unwrap();
    let (symbol, offset) = libc.symbol_at(FileAddr(malloc.0 + 4)).unwrap();
    assert!(symbol.name.contains("malloc") && offset == 4, "{symbol:?}");
    let line = libc.line_at(malloc).unwrap().unwrap();
    assert!(line.file.unwrap().ends_with("malloc/malloc.c"));
    assert!(line.function.unwrap().contains("malloc"));
}

#[test]
fn can_be_asked_from_several_threads() {
    let libc = libc();
    std::thread::scope(|scope| {
        for name in ["malloc_state", "malloc_par", "_IO_FILE", "pthread"] {
            let libc = &libc;
            scope.spawn(move || assert!(libc.layout(name).unwrap().size > 64, "{name}"));
        }
        scope.spawn(|| assert!(libc.line_at(libc.symbol_address("free").unwrap()).unwrap().is_some()));
    });
}
