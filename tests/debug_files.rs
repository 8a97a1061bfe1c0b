//! Where debug info is looked for, what is refused, and what the messages say.

#[allow(dead_code)]
mod debug_support;

use debug_support::{Workshop, load};
use poolscope::debug::{Binary, BuildId, DebugError, DebugInfo, Refusal, SearchOptions, Verified};
use std::fs;
use std::path::{Path, PathBuf};

fn build_id(program: &Path) -> BuildId {
    load(program, &SearchOptions::default()).build_id().unwrap().clone()
}

fn options_with(directory: PathBuf) -> SearchOptions {
    SearchOptions { debug_dirs: vec![directory], ..SearchOptions::default() }
}

fn size_of_hidden(debug: &DebugInfo) -> u64 {
    debug.layout("hidden_t").unwrap().size
}

/// Strips a program and puts its debug file into a build-id directory.
fn in_build_id_directory(workshop: &Workshop, program: &Path, directory: &Path) -> PathBuf {
    let debug = directory.join(build_id(program).debug_path().unwrap());
    fs::create_dir_all(debug.parent().unwrap()).unwrap();
    workshop.separate(program, &debug);
    debug
}

#[test]
fn debug_info_in_the_binary_itself() {
    let workshop = Workshop::new();
    let program = workshop.shapes(&["-g"]);
    let debug = load(&program, &SearchOptions::default());
    let source = debug.source().unwrap();
    assert_eq!((source.path.as_path(), source.verified), (program.as_path(), Verified::SameFile));
    assert!(debug.tried().is_empty());
}

#[test]
fn debug_file_in_a_directory_given_by_the_user() {
    let workshop = Workshop::new();
    let program = workshop.shapes(&["-g"]);
    let file = in_build_id_directory(&workshop, &program, &workshop.path("symbols"));
    let debug = load(&program, &options_with(workshop.path("symbols")));
    let source = debug.source().unwrap();
    assert_eq!((source.path.as_path(), source.verified), (file.as_path(), Verified::BuildId));
    assert_eq!(size_of_hidden(&debug), 16);
    // The stripped binary has lost its static symbols; the debug file has them.
    assert!(debug.symbol_address("same_name").is_some());
    assert!(debug.tls_offset("per_thread").is_some());
}

#[test]
fn debug_file_beside_the_binary_by_its_link() {
    for place in ["shapes.debug", ".debug/shapes.debug"] {
        let workshop = Workshop::new();
        let program = workshop.shapes(&["-g"]);
        fs::create_dir_all(workshop.path(".debug")).unwrap();
        workshop.separate(&program, &workshop.path(place));
        workshop.run("objcopy", &[&format!("--add-gnu-debuglink={place}"), "shapes"]);
        let debug = load(&program, &SearchOptions::default());
        assert_eq!(debug.source().unwrap().path, workshop.path(place));
        assert_eq!(debug.source().unwrap().verified, Verified::BuildId);
        assert_eq!(size_of_hidden(&debug), 16);
    }
}

#[test]
fn debug_link_is_verified_by_checksum_where_there_is_no_build_id() {
    let workshop = Workshop::new();
    let program = workshop.shapes(&["-g", "-Wl,--build-id=none"]);
    workshop.separate(&program, &workshop.path("shapes.debug"));
    workshop.run("objcopy", &["--add-gnu-debuglink=shapes.debug", "shapes"]);
    let debug = load(&program, &SearchOptions::default());
    assert_eq!(debug.source().unwrap().verified, Verified::Checksum);
    assert_eq!(debug.build_id(), None);

    let mut bytes = fs::read(workshop.path("shapes.debug")).unwrap();
    bytes.push(0);
    fs::write(workshop.path("shapes.debug"), bytes).unwrap();
    let debug = load(&program, &SearchOptions::default());
    assert!(debug.source().is_none());
    assert!(
        debug.tried().iter().any(|tried| matches!(tried.refusal, Refusal::OtherChecksum { .. })),
        "{:?}",
        debug.tried()
    );
}

#[test]
fn debug_file_of_another_build_is_refused() {
    let workshop = Workshop::new();
    let other = workshop.compile("other", &["-g", "-DOTHER", "-O1"]);
    let program = workshop.shapes(&["-g"]);
    let wanted = build_id(&program);
    assert_ne!(build_id(&other), wanted);
    let file = in_build_id_directory(&workshop, &program, &workshop.path("symbols"));
    fs::copy(&other, &file).unwrap();

    let debug = load(&program, &options_with(workshop.path("symbols")));
    assert!(debug.source().is_none());
    let refused = debug.tried().iter().find(|tried| tried.path == file).unwrap();
    assert_eq!(refused.refusal.to_string(), format!("is of another build: has {}, wanted {wanted}", build_id(&other)));
    let error = debug.layout("pool_t").unwrap_err();
    assert!(matches!(error, DebugError::NoDebugInfo { .. }));
    let message = error.to_string();
    for part in
        [wanted.to_string(), format!("{} is of another build", file.display()), "looked in 3 places".to_string()]
    {
        assert!(message.contains(&part), "{message}");
    }
}

#[test]
fn target_in_another_root_directory() {
    let workshop = Workshop::new();
    let program = workshop.shapes(&["-g"]);
    let root = workshop.path("root");
    let file = in_build_id_directory(&workshop, &program, &root.join("usr/lib/debug"));
    // As in a container whose /usr/lib/debug is a link: it means the container's /opt, not ours.
    fs::rename(root.join("usr/lib/debug"), root.join("opt")).unwrap();
    std::os::unix::fs::symlink("/opt", root.join("usr/lib/debug")).unwrap();
    let binary = Binary { file: fs::File::open(&program).unwrap(), path: "/usr/sbin/shapes".into() };
    let options = SearchOptions { root: Some(root), ..SearchOptions::default() };
    let debug = DebugInfo::load(&binary, &options).unwrap();
    assert_eq!(debug.source().unwrap().path, file);
    assert_eq!(size_of_hidden(&debug), 16);
}

#[test]
fn cache_of_a_debuginfod_client() {
    let workshop = Workshop::new();
    let program = workshop.shapes(&["-g"]);
    let cache = workshop.path("cache");
    let file = cache.join(build_id(&program).to_string()).join("debuginfo");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    workshop.separate(&program, &file);
    let options = SearchOptions { debuginfod_caches: vec![cache], ..SearchOptions::default() };
    assert_eq!(load(&program, &options).source().unwrap().path, file);
}

#[test]
fn without_debug_info_exported_symbols_are_known_and_types_are_not() {
    let workshop = Workshop::new();
    let program = workshop.shapes(&["-Wl,-E"]);
    workshop.run("strip", &["shapes"]);
    let debug = load(&program, &SearchOptions::default());
    assert!(debug.symbol_address("make_hidden").is_some());
    assert!(debug.symbol_address("first_pool").is_some());
    assert_eq!(debug.symbol_address("same_name"), None);
    let message = debug.layouts(&["pool_t"], None).unwrap_err().to_string();
    assert!(message.starts_with(&format!("no debug info for {}", program.display())), "{message}");
    assert!(message.contains(&format!("build-id {}", debug.build_id().unwrap())), "{message}");
    assert!(debug.variable("first_pool", None).is_err() && debug.call_sites("make_hidden", None).is_err());
}

#[test]
fn a_stripped_glibc_comes_with_the_name_of_its_debug_package() {
    let workshop = Workshop::new();
    fs::rename(workshop.shapes(&[]), workshop.path("libc.so.6")).unwrap();
    let debug = load(&workshop.path("libc.so.6"), &SearchOptions::default());
    let message = debug.layout("malloc_state").unwrap_err().to_string();
    assert!(message.contains("libc6-dbg"), "{message}");
}

/// Two programs whose common debug info dwz has moved into a third file.
fn with_supplement(workshop: &Workshop) -> PathBuf {
    let program = workshop.shapes(&["-g"]);
    workshop.compile("twin", &["-g", "-O1"]);
    workshop.run("dwz", &["-m", "shared.debug", "-M", "shared.debug", "shapes", "twin"]);
    program
}

#[test]
fn supplement_of_dwz_is_followed() {
    let workshop = Workshop::new();
    let program = with_supplement(&workshop);
    let debug = load(&program, &SearchOptions::default());
    assert_eq!(size_of_hidden(&debug), 16);
    assert_eq!(debug.layout("pool_t").unwrap().field("current").unwrap().offset, 32);
    assert_eq!(debug.enumerator("STATE_BUSY").unwrap(), Some(7));
    assert!(debug.variable("first_pool", None).unwrap().is_some());
    let calls = debug.call_sites("make_hidden", None).unwrap();
    assert_eq!(calls.len(), 2);
    assert!(calls.iter().any(|call| call.arguments.first() == Some(&Some(512))), "{calls:?}");
    assert_eq!(calls[0].source.function.as_deref(), Some("main"));
}

#[test]
fn supplement_that_is_missing_or_of_another_build_is_named() {
    let workshop = Workshop::new();
    let program = with_supplement(&workshop);
    fs::rename(workshop.path("shared.debug"), workshop.path("kept.debug")).unwrap();
    let error = load(&program, &SearchOptions::default()).layout("pool_t").unwrap_err();
    assert!(matches!(error, DebugError::SupplementMissing { .. }), "{error}");
    assert!(error.to_string().contains("shared.debug") && error.to_string().contains("does not exist"), "{error}");

    fs::copy(&program, workshop.path("shared.debug")).unwrap();
    let error = load(&program, &SearchOptions::default()).layout("pool_t").unwrap_err();
    assert!(error.to_string().contains("is of another build"), "{error}");

    // The build-id finds it wherever it lies.
    fs::remove_file(workshop.path("shared.debug")).unwrap();
    let id = build_id(&workshop.path("kept.debug")).debug_path().unwrap();
    let place = workshop.path("symbols").join(id);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::rename(workshop.path("kept.debug"), place).unwrap();
    assert_eq!(size_of_hidden(&load(&program, &options_with(workshop.path("symbols")))), 16);
}

#[test]
fn split_files_that_are_missing_or_of_another_build_are_named() {
    let workshop = Workshop::new();
    let program = workshop.shapes(&["-g", "-gsplit-dwarf"]);
    fs::remove_file(workshop.path("hidden.dwo")).unwrap();
    let debug = load(&program, &SearchOptions::default());
    assert_eq!(debug.layout("point_t").unwrap().size, 8);
    let error = debug.layout("no_such_structure").unwrap_err();
    assert!(matches!(error, DebugError::SplitMissing { missing: 1, total: 2, .. }), "{error}");
    assert!(error.to_string().contains("hidden.dwo"), "{error}");

    fs::copy(workshop.path("shapes.dwo"), workshop.path("hidden.dwo")).unwrap();
    let error = load(&program, &SearchOptions::default()).layout("no_such_structure").unwrap_err();
    assert!(error.to_string().contains("is of another build: lacks the unit"), "{error}");
}

#[test]
fn files_that_are_no_64_bit_elf_are_refused_by_name() {
    let workshop = Workshop::new();
    for (name, bytes, reason) in [
        ("text", b"#!/bin/sh\necho\n".to_vec(), "does not start as ELF files do"),
        ("empty", Vec::new(), "it has only 0 bytes"),
        ("narrow", b"\x7fELF\x01\x01\x01rest".to_vec(), "32-bit"),
        ("swapped", b"\x7fELF\x02\x02\x01rest".to_vec(), "big-endian"),
    ] {
        fs::write(workshop.path(name), bytes).unwrap();
        let binary = Binary::open(workshop.path(name)).unwrap();
        let message = DebugInfo::load(&binary, &SearchOptions::default()).unwrap_err().to_string();
        assert!(message.contains(reason) && message.contains(name), "{message}");
    }
    assert!(Binary::open(workshop.path("absent")).unwrap_err().to_string().contains("absent"));
    assert!(Binary::open("/dev/zero").unwrap_err().to_string().contains("not a regular file"));
}
