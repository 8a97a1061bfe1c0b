//! Opening files that someone else named, possibly below another root directory, without being led astray.

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens a regular file for reading. With a `root`, `path` means what it means to a process whose root directory that is:
/// an absolute symbolic link in a container leads to the container's file, and nothing leads out of it. A device or a
/// FIFO is refused, and does not block.
pub(crate) fn open_regular(root: Option<&Path>, path: &Path) -> io::Result<File> {
    let file = match root {
        None => plain(path)?,
        Some(root) => match in_root(root, path) {
            // Kernels before 5.6, and seccomp filters that do not know the call.
            Err(Errno::ENOSYS | Errno::EPERM) => plain(&root.join(path.strip_prefix("/").unwrap_or(path)))?,
            other => other?,
        },
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok(file)
}

fn plain(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)
}

fn in_root(root: &Path, path: &Path) -> Result<File, Errno> {
    let directory = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_PATH | OFlag::O_DIRECTORY).bits())
        .open(root)
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()))?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(&directory, path, how).map(File::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn an_absolute_link_below_a_root_stays_below_it() {
        let root = std::env::temp_dir().join(format!("poolscope-open-{}", std::process::id()));
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/inside"), "inside").unwrap();
        symlink("/etc/inside", root.join("link")).unwrap();
        symlink("../../../../../../../../etc/passwd", root.join("out")).unwrap();
        let found = io::read_to_string(open_regular(Some(&root), Path::new("/link")).unwrap()).unwrap();
        assert_eq!(found, "inside");
        assert_eq!(open_regular(Some(&root), Path::new("/out")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(open_regular(None, Path::new("/dev/null")).is_err());
        fs::remove_dir_all(root).unwrap();
    }
}
