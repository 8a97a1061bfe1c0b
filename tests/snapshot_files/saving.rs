//! Saving: private, in one step, and nothing left behind where it fails.

use super::samples::random;
use super::{assert_same, written};
use poolscope::snapshot::file::{SaveError, Wanted, load, save};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder for one test, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("saving-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Runs one of these tests in a process of its own, set up by a shell command, with `folder` to work in.
fn in_another_process(test: &str, setup: &str, folder: &Folder) {
    let script = format!("{setup}; exec \"$0\" --exact saving::{test} --nocapture");
    let output = Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env("SAVING_IN", &folder.0)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Where to work, in the process that [`in_another_process`] started.
fn given_folder() -> Option<PathBuf> {
    std::env::var_os("SAVING_IN").map(PathBuf::from)
}

#[test]
fn a_file_is_for_its_owner_only_whatever_the_umask() {
    let Some(folder) = given_folder() else {
        for umask in ["000", "777", "022"] {
            let folder = Folder::new(&format!("umask-{umask}"));
            in_another_process("a_file_is_for_its_owner_only_whatever_the_umask", &format!("umask {umask}"), &folder);
            assert_eq!(folder.names(), ["new.zst"]);
        }
        return;
    };
    let path = folder.join("new.zst");
    save(&random(1, 3, None), &path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn a_regular_file_is_replaced_by_another_one() {
    let folder = Folder::new("replaced");
    let path = folder.file("now.zst");
    fs::write(&path, "something else").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let open = fs::File::open(&path).unwrap();
    let snapshot = random(2, 30, Some(40));
    save(&snapshot, &path).unwrap();
    assert_same(&load(&path, Wanted::ALL).unwrap(), &snapshot);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    // Who had the old one open still has all of it.
    assert_eq!(std::io::read_to_string(open).unwrap(), "something else");
    assert_eq!(folder.names(), ["now.zst"]);
}

#[test]
fn a_name_as_long_as_names_can_be_is_fine() {
    let folder = Folder::new("long");
    let path = folder.file(&"x".repeat(255));
    save(&random(2, 3, None), &path).unwrap();
    assert_eq!(load(&path, Wanted::ALL).unwrap().pools.len(), 3);
}

#[test]
fn what_is_no_regular_file_is_not_replaced() {
    let folder = Folder::new("refused");
    let snapshot = random(3, 1, None);
    fs::create_dir(folder.file("folder")).unwrap();
    fs::write(folder.file("kept"), "kept").unwrap();
    symlink("kept", folder.file("link")).unwrap();
    symlink("nowhere", folder.file("dangling")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.file("s")).unwrap();
    let before = folder.names();
    for (path, what) in [
        (folder.file("folder"), "is a folder"),
        (folder.file("link"), "is a symbolic link"),
        (folder.file("dangling"), "is a symbolic link"),
        (folder.file("s"), "is a pipe or socket"),
        (PathBuf::from("/dev/null"), "is a device"),
    ] {
        let error = save(&snapshot, &path).unwrap_err();
        assert!(matches!(error, SaveError::NotARegularFile { .. }), "{error}");
        assert!(error.to_string().contains(what) && error.to_string().contains(&*path.to_string_lossy()), "{error}");
    }
    assert!(matches!(save(&snapshot, Path::new("/")), Err(SaveError::NoName { .. })));
    assert!(matches!(save(&snapshot, &folder.file("..")), Err(SaveError::NoName { .. })));
    assert_eq!(folder.names(), before);
    assert_eq!(fs::read_to_string(folder.file("kept")).unwrap(), "kept");
    assert_eq!(fs::metadata("/dev/null").unwrap().mode() & 0o170_000, 0o020_000);
}

#[test]
fn a_folder_that_nothing_can_be_made_in_is_named() {
    let folder = Folder::new("nowhere");
    fs::write(folder.file("file"), "").unwrap();
    for place in [folder.file("missing"), folder.file("file"), PathBuf::from("/proc")] {
        let error = save(&random(4, 1, None), &place.join("new.zst")).unwrap_err();
        assert!(matches!(error, SaveError::Create { .. }), "{error}");
        assert!(error.to_string().contains(&format!("in {}", place.display())), "{error}");
    }
    assert_eq!(folder.names(), ["file"]);
}

#[test]
fn when_there_is_no_room_the_old_file_stays_and_nothing_else() {
    let Some(folder) = given_folder() else {
        let folder = Folder::new("full");
        fs::write(folder.file("old.zst"), "old").unwrap();
        // Files of this process cannot grow beyond some blocks: writing fails in the middle, as on a full disk.
        let setup = "trap '' XFSZ; ulimit -f 16";
        in_another_process("when_there_is_no_room_the_old_file_stays_and_nothing_else", setup, &folder);
        assert_eq!(folder.names(), ["old.zst"]);
        assert_eq!(fs::read_to_string(folder.file("old.zst")).unwrap(), "old");
        return;
    };
    let large = random(5, 3_000, None);
    assert!(written(&large).len() > 100_000);
    for name in ["old.zst", "new.zst"] {
        let error = save(&large, &folder.join(name)).unwrap_err();
        assert!(matches!(error, SaveError::Write { .. }), "{error}");
        assert!(error.to_string().ends_with("nothing was saved"), "{error}");
    }
}

#[test]
fn a_snapshot_that_could_not_be_read_again_is_not_saved() {
    let folder = Folder::new("contradiction");
    let mut snapshot = random(6, 5, Some(20));
    snapshot.pools.clear();
    let error = save(&snapshot, &folder.file("new.zst")).unwrap_err();
    assert!(error.to_string().contains("its chunks name pools that it does not have"), "{error}");
    assert_eq!(folder.names(), Vec::<String>::new());
}
