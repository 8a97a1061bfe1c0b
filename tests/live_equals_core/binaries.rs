//! A core whose program is not where it was: found below `--sysroot` and by `--exe`, and refused if it is another build.

use crate::core_support::Directory;
use crate::process::{of_core, options, stop};
use assert_cmd::Command;
use poolscope::analysis::{CoreFiles, Options, Silent, read_core};
use poolscope::snapshot::model::Snapshot;
use poolscope_fixtures::build::heap_program;
use poolscope_fixtures::{gcore, kernel_core, spawn_tied};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

/// A program of a path of its own, and cores of it.
struct Scene {
    directory: Directory,
    program: PathBuf,
    cores: [PathBuf; 2],
}

fn start(program: &Path) -> Child {
    let mut command = std::process::Command::new(program);
    command.arg("1").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = spawn_tied(command, nix::sys::signal::Signal::SIGKILL).unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "ready"));
    child
}

fn scene() -> Scene {
    let directory = Directory::new();
    let program = directory.path().join("app/worker");
    place(&heap_program("single").unwrap(), &program);
    let mut child = start(&program);
    stop(child.id());
    let cores = [gcore(child.id(), directory.path()).unwrap(), kernel_core(child.id(), directory.path()).unwrap()];
    child.wait().unwrap();
    Scene { directory, program, cores }
}

fn place(file: &Path, at: &Path) {
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    std::fs::copy(file, at).unwrap();
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap())
}

fn with(files: CoreFiles) -> Options {
    Options { core_files: files, ..options() }
}

/// The heap, whatever files told of it.
fn heap(snapshot: &Snapshot) -> String {
    let heap = (&snapshot.chunks, &snapshot.books, &snapshot.owners, &snapshot.mallinfo, &snapshot.memory);
    serde_json::to_string(&heap).unwrap()
}

/// The path of glibc in the core.
fn glibc(core: &Path) -> PathBuf {
    let modules = poolscope::target::core::Core::open(core).unwrap().modules();
    modules.into_iter().find(|module| module.path.ends_with("libc.so.6")).unwrap().path
}

#[test]
fn binaries_are_found_below_a_sysroot_or_by_name() {
    let Scene { directory, program, cores } = scene();
    for core in &cores {
        let expected = of_core(core);
        let root = directory.path().join("root");
        let library = glibc(core);
        let debug_file = PathBuf::from(expected.layouts.glibc.file.clone().unwrap());
        for file in [&program, &library, &debug_file] {
            place(file, &below(&root, file));
        }
        let elsewhere = directory.path().join("kept");
        std::fs::rename(&program, &elsewhere).unwrap();
        let sysroot = CoreFiles { sysroot: Some(root.clone()), exe: None };
        let found = read_core(core, &with(sysroot), &Silent).unwrap();
        assert_eq!(heap(&found), heap(&expected));
        assert_eq!(found.layouts.glibc.file, Some(below(&root, &debug_file).display().to_string()));
        assert_eq!(found.process.executable, program.display().to_string());
        let named = CoreFiles { sysroot: None, exe: Some(elsewhere.clone()) };
        let found = read_core(core, &with(named), &Silent).unwrap();
        assert_eq!((heap(&found), found.notes), (heap(&expected), expected.notes));
        std::fs::rename(&elsewhere, &program).unwrap();
        std::fs::remove_dir_all(&root).unwrap();
    }
}

/// What the command says, with status 1 and nothing else; paths as in every run.
fn refused(directory: &Directory, core: &Path, more: &[&str]) -> String {
    let mut command = Command::cargo_bin("poolscope").unwrap();
    command.args(["snapshot", "--core"]).arg(core).args(more).env("LC_ALL", "C.UTF-8");
    // The cache of debuginfod clients is below the user's own directory.
    command.env("HOME", directory.path()).env_remove("XDG_CACHE_HOME").env_remove("DEBUGINFOD_CACHE_PATH");
    let output = command.assert().code(1).get_output().clone();
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap().replace(&directory.path().display().to_string(), "DIR")
}

#[test]
fn another_build_is_refused_by_its_build_id() {
    let Scene { directory, program, cores } = scene();
    let wanted = of_core(&cores[1]).process.build_id.unwrap();
    let other = directory.path().join("other");
    place(&heap_program("threads").unwrap(), &other);
    std::fs::remove_file(&program).unwrap();
    let gone = refused(&directory, &cores[1], &[]);
    place(&other, &program);
    let changed = cores.each_ref().map(|core| refused(&directory, core, &[]));
    let named = refused(&directory, &cores[1], &["--exe", other.to_str().unwrap()]);
    assert_eq!(changed[0], changed[1], "gcore and the kernel save the build-id");
    let messages = [gone, changed[1].clone(), named];
    assert!(messages.iter().all(|message| message.contains(&wanted)), "{messages:?}");
    let text = messages.join("-----\n").replace(&wanted, "WANTED");
    insta::with_settings!({filters => vec![
        (r"[0-9a-f]{40}", "OTHER"),
        (r"build-id/[0-9a-f]{2}/[0-9a-f]{38}", "build-id/XX/YY"),
    ]}, { insta::assert_snapshot!(text) });
}
