//! Saving a snapshot so that its name never shows half of one, and nobody else may read it.

use super::error::SaveError;
use super::write::write;
use crate::snapshot::model::Snapshot;
use nix::errno::Errno;
use nix::unistd::{AccessFlags, eaccess};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A snapshot names upstreams and addresses: for its owner only.
const MODE: u32 = 0o600;

/// Whether a snapshot can be saved at `path`, as far as that can be told without writing: asked before a process stands still
/// for it.
///
/// # Errors
/// As [`save`].
pub fn can_save(path: &Path) -> Result<(), SaveError> {
    let (folder, _) = folder_and_name(path)?;
    check_replaceable(path)?;
    can_save_in(folder)
}

/// The same for a file of any name in this folder.
///
/// # Errors
/// [`SaveError::Create`].
pub fn can_save_in(folder: &Path) -> Result<(), SaveError> {
    let failed = |errno: Errno| SaveError::Create { folder: folder.to_owned(), source: errno.into() };
    eaccess(folder, AccessFlags::W_OK | AccessFlags::X_OK).map_err(failed)
}

/// Saves a snapshot at `path`, with mode 0600. A regular file that is there is replaced in one step, once all is on disk.
///
/// # Errors
/// [`SaveError`]; nothing is then left behind, and what was at `path` still is. A symbolic link is not followed and not
/// replaced: in a folder that others may write to, it could lead anywhere.
pub fn save(snapshot: &Snapshot, path: &Path) -> Result<(), SaveError> {
    let (folder, name) = folder_and_name(path)?;
    check_replaceable(path)?;
    let failed = |source| SaveError::Write { path: path.to_owned(), source };
    let create_failed = |source| SaveError::Create { folder: folder.to_owned(), source };
    // Opened first: once the file has its name, nothing may fail any more.
    let folder_file = File::open(folder).map_err(create_failed)?;
    let (file, temporary) = create_in(folder).map_err(create_failed)?;
    // A umask may have taken bits away; it cannot have added any.
    file.set_permissions(Permissions::from_mode(MODE)).map_err(failed)?;
    write(snapshot, BufWriter::with_capacity(1 << 17, &file)).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    temporary.rename_to(&folder.join(name)).map_err(failed)?;
    // The name itself is on disk only when its folder is. Some file systems cannot do that for folders; the snapshot is saved
    // all the same.
    let _ = folder_file.sync_all();
    Ok(())
}

fn folder_and_name(path: &Path) -> Result<(&Path, &OsStr), SaveError> {
    let no_name = || SaveError::NoName { path: path.to_owned() };
    // A path that ends with a slash means a folder, though its last part would be a name.
    let is_folder = path.as_os_str().as_encoded_bytes().ends_with(b"/");
    let name = path.file_name().filter(|_| !is_folder).ok_or_else(no_name)?;
    let folder = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    Ok((folder, name))
}

/// Refuses what must not be replaced by a regular file.
fn check_replaceable(path: &Path) -> Result<(), SaveError> {
    // What cannot be looked at is said when a file is to be created there.
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    let kind = metadata.file_type();
    let refuse = |what, way_out| Err(SaveError::NotARegularFile { path: path.to_owned(), what, way_out });
    match () {
        () if kind.is_file() => Ok(()),
        () if kind.is_dir() => refuse("a folder", "name a file in it"),
        () if kind.is_symlink() => refuse("a symbolic link", "name the file that it leads to"),
        () if kind.is_fifo() || kind.is_socket() => refuse("a pipe or socket", STREAM),
        () => refuse("a device", STREAM),
    }
}

const STREAM: &str = "name a file, or write to standard output with --format json";

/// A new file that goes away again unless it gets its final name.
struct Temporary {
    path: PathBuf,
    renamed: bool,
}

impl Temporary {
    fn rename_to(mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // The error that led here is the one to tell.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Creates a file that was not there, under a short name of its own: the final one may be as long as names can be.
fn create_in(folder: &Path) -> io::Result<(File, Temporary)> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const TRIES: u32 = 100;
    let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
    for _ in 0..TRIES {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".poolscope-{}-{number}.part", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).mode(MODE).open(&path) {
            Ok(file) => return Ok((file, Temporary { path, renamed: false })),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}
