//! Where the binaries of a core are looked for, what is refused, and what the messages say.

#[allow(dead_code)]
mod debug_support;

use debug_support::{Workshop, load};
use poolscope::debug::{BinaryNotFound, BinaryPlaces, BuildId, SearchOptions, WantedBinary, find_binary};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

fn build_id(program: &Path) -> BuildId {
    load(program, &SearchOptions::default()).build_id().unwrap().clone()
}

/// A program as a core on another machine would name it: at a path that does not exist here.
fn wanted(id: Option<BuildId>) -> WantedBinary {
    WantedBinary { path: PathBuf::from("/opt/elsewhere/sbin/nginx"), build_id: id, is_executable: true }
}

fn place(program: &Path, at: PathBuf) -> PathBuf {
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    fs::copy(program, &at).unwrap();
    at
}

/// Another build of the same program.
fn other_build(workshop: &Workshop) -> PathBuf {
    let first = workshop.shapes(&["-g"]);
    let kept = place(&first, workshop.path("first/shapes"));
    let second = workshop.shapes(&["-g", "-O1"]);
    assert_ne!(build_id(&kept), build_id(&second));
    kept
}

#[test]
fn the_named_program_is_taken_or_refused_and_nothing_else_is_looked_at() {
    let workshop = Workshop::new();
    let other = other_build(&workshop);
    let program = workshop.path("shapes");
    let id = build_id(&program);
    let named = |exe: &Path| BinaryPlaces {
        exe: Some(exe.to_owned()),
        sysroot: Some(workshop.path("sysroot")),
        ..BinaryPlaces::default()
    };
    place(&program, workshop.path("sysroot/opt/elsewhere/sbin/nginx"));
    let found = find_binary(&wanted(Some(id.clone())), &named(&program)).unwrap();
    assert_eq!((found.path.as_path(), found.verified, found.has_contents), (program.as_path(), true, true));
    let error = find_binary(&wanted(Some(id.clone())), &named(&other)).unwrap_err();
    assert!(matches!(error, BinaryNotFound::OtherExe { .. }));
    let message = error.to_string();
    for part in
        [&other.display().to_string(), &id.to_string(), &build_id(&other).to_string(), "/opt/elsewhere/sbin/nginx"]
    {
        assert!(message.contains(part), "{message}");
    }
    let missing = find_binary(&wanted(Some(id.clone())), &named(Path::new("/nowhere/nginx"))).unwrap_err().to_string();
    assert!(missing.starts_with("/nowhere/nginx does not exist: name the binary"), "{missing}");
    // It stands for the program alone.
    let library = WantedBinary { is_executable: false, ..wanted(Some(id)) };
    let found = find_binary(&library, &named(Path::new("/nowhere/nginx"))).unwrap();
    assert_eq!(found.path, workshop.path("sysroot/opt/elsewhere/sbin/nginx"));
}

#[test]
fn a_sysroot_comes_first_and_its_links_stay_in_it() {
    let workshop = Workshop::new();
    let program = workshop.shapes(&["-g"]);
    let id = build_id(&program);
    let sysroot = workshop.path("sysroot");
    let real = place(&program, sysroot.join("real/nginx"));
    fs::create_dir_all(sysroot.join("opt/elsewhere/sbin")).unwrap();
    symlink("/real/nginx", sysroot.join("opt/elsewhere/sbin/nginx")).unwrap();
    let places = BinaryPlaces { sysroot: Some(sysroot.clone()), ..BinaryPlaces::default() };
    assert!(find_binary(&wanted(Some(id.clone())), &places).unwrap().verified);
    fs::remove_file(real).unwrap();
    let absolute = program.strip_prefix("/").unwrap();
    symlink(Path::new("/../../../..").join(absolute), sysroot.join("real/nginx")).unwrap();
    assert!(find_binary(&wanted(Some(id)), &places).is_err());
}

#[test]
fn build_id_directories_and_caches_are_looked_at() {
    let workshop = Workshop::new();
    let program = workshop.shapes(&["-g"]);
    let id = build_id(&program);
    let by_id = id.debug_path().unwrap();
    let in_debug_dir = place(&program, workshop.path("symbols").join(by_id.with_extension("")));
    let places = BinaryPlaces { debug_dirs: vec![workshop.path("symbols")], ..BinaryPlaces::default() };
    assert_eq!(find_binary(&wanted(Some(id.clone())), &places).unwrap().path, in_debug_dir);
    let in_cache = place(&program, workshop.path("cache").join(id.to_string()).join("executable"));
    let places = BinaryPlaces { debuginfod_caches: vec![workshop.path("cache")], ..BinaryPlaces::default() };
    assert_eq!(find_binary(&wanted(Some(id)), &places).unwrap().path, in_cache);
}

#[test]
fn a_debug_file_serves_only_if_the_binary_is_nowhere() {
    let workshop = Workshop::new();
    let program = workshop.shapes(&["-g"]);
    let id = build_id(&program);
    let debug = workshop.path("symbols").join(id.debug_path().unwrap());
    fs::create_dir_all(debug.parent().unwrap()).unwrap();
    workshop.separate(&program, &debug);
    let mut places = BinaryPlaces { debug_dirs: vec![workshop.path("symbols")], ..BinaryPlaces::default() };
    let found = find_binary(&wanted(Some(id.clone())), &places).unwrap();
    assert_eq!((found.path, found.has_contents), (debug, false));
    let in_cache = place(&program, workshop.path("cache").join(id.to_string()).join("executable"));
    places.debuginfod_caches = vec![workshop.path("cache")];
    let found = find_binary(&wanted(Some(id)), &places).unwrap();
    assert_eq!((found.path, found.has_contents), (in_cache, true));
}

#[test]
fn a_binary_that_is_nowhere_is_named_with_every_place_and_the_way_out() {
    let workshop = Workshop::new();
    let other = other_build(&workshop);
    let id = build_id(&workshop.path("shapes"));
    let sysroot = workshop.path("sysroot");
    let replaced = place(&other, sysroot.join("opt/elsewhere/sbin/nginx"));
    let places = BinaryPlaces { sysroot: Some(sysroot), ..BinaryPlaces::default() };
    let message = find_binary(&wanted(Some(id.clone())), &places).unwrap_err().to_string();
    let other = build_id(&other);
    for part in [
        format!("the /opt/elsewhere/sbin/nginx that the core was made with (build-id {id})"),
        format!("{} is of another build: has {other}, wanted {id}", replaced.display()),
        "/opt/elsewhere/sbin/nginx does not exist".to_owned(),
        "--exe FILE".to_owned(),
        "--sysroot DIR".to_owned(),
        format!("`debuginfod-find executable {id}`"),
    ] {
        assert!(message.contains(&part), "{part}\n{message}");
    }
}

#[test]
fn without_a_build_id_the_file_at_the_path_is_taken_and_said_to_be_unproven() {
    let workshop = Workshop::new();
    let program = workshop.shapes(&["-g"]);
    let wanted = WantedBinary { path: program.clone(), build_id: None, is_executable: true };
    let found = find_binary(&wanted, &BinaryPlaces::default()).unwrap();
    assert_eq!((found.path, found.verified), (program, false));
}
