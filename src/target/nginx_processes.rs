//! The processes on this machine that look like nginx: by their title, or by the name of their binary.
//!
//! What looks so need not be so: whoever lists them checks the binaries that it can read.

use super::container::container_of;
use super::nginx_role::{Role, is_server_name, is_short_command};
use super::process::{age_seconds, comm};
use std::fs::File;
use std::path::{Path, PathBuf};

/// A process that looks like nginx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NginxProcess {
    /// Its pid in our pid namespace.
    pub pid: i32,
    /// Its parent's pid.
    pub parent: i32,
    /// What it does.
    pub role: Role,
    /// Its title, or its command line if it has none.
    pub title: String,
    /// Resident bytes; `None` if the kernel does not tell.
    pub resident: Option<u64>,
    /// Seconds since it started.
    pub age_seconds: u64,
    /// Effective user id.
    pub user: u32,
    /// Its binary; `None` if we may not ask, which takes what ptrace takes.
    pub binary: Option<BinaryFile>,
    /// The container that it is in, if its control groups name one.
    pub container: Option<String>,
}

/// The binary of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinaryFile {
    /// Its path below the root of the process.
    pub path: PathBuf,
    /// What has become of the file.
    pub state: FileState,
}

/// What has become of a file that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileState {
    /// It is where it was.
    Present,
    /// There is another one in its place.
    Replaced,
    /// There is none.
    Deleted,
}

impl FileState {
    /// Its name in rows.
    pub fn name(self) -> &'static str {
        match self {
            FileState::Present => "present",
            FileState::Replaced => "replaced",
            FileState::Deleted => "deleted",
        }
    }
}

/// Every process that looks like nginx, in order of pid. `is_server` tells whether an opened binary is that of a server.
pub fn find_all(mut is_server: impl FnMut(&File) -> bool) -> Vec<NginxProcess> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let mut pids: Vec<i32> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter(|pid| *pid > 0).collect();
    pids.sort_unstable();
    let mut found: Vec<NginxProcess> = pids.into_iter().filter_map(|pid| look(pid, &mut is_server)).collect();
    tell_roles_by_family(&mut found);
    found
}

/// The process, if it looks like nginx. What ends meanwhile is left out.
fn look(pid: i32, is_server: &mut impl FnMut(&File) -> bool) -> Option<NginxProcess> {
    let entry = procfs::process::Process::new(pid).ok()?;
    let words = entry.cmdline().ok()?;
    let title = words.join(" ").trim_end().to_owned();
    let titled = Role::of_title(&title);
    let link = std::fs::read_link(format!("/proc/{pid}/exe")).ok();
    let name = match &link {
        Some(link) => without_mark(link).file_name().map(|name| name.to_string_lossy().into_owned()),
        None => comm(pid),
    };
    let named = name.is_some_and(|name| is_server_name(&name)) && !is_short_command(&words);
    // Zombies and threads of the kernel have no command line.
    if title.is_empty() || (titled.is_none() && !named) {
        return None;
    }
    // A shell may be started under any title.
    if File::open(format!("/proc/{pid}/exe")).is_ok_and(|file| !is_server(&file)) {
        return None;
    }
    let (stat, status) = (entry.stat().ok()?, entry.status().ok()?);
    Some(NginxProcess {
        pid,
        parent: stat.ppid,
        role: titled.unwrap_or(Role::Single),
        title,
        resident: status.vmrss.map(|kibibytes| kibibytes.saturating_mul(1024)),
        age_seconds: age_seconds(&stat),
        user: status.euid,
        binary: link.map(|link| binary_file(pid, &link)),
        container: container_of(pid),
    })
}

/// Where something else has written the titles, or nothing has: who has children of its kind is a master.
fn tell_roles_by_family(found: &mut [NginxProcess]) {
    let pids: Vec<i32> = found.iter().map(|process| process.pid).collect();
    let parents: Vec<i32> = found.iter().map(|process| process.parent).collect();
    for process in found.iter_mut().filter(|process| process.role == Role::Single) {
        if parents.contains(&process.pid) {
            process.role = Role::Master;
        } else if pids.contains(&process.parent) {
            process.role = Role::Worker;
        }
    }
}

const DELETED: &str = " (deleted)";

fn without_mark(link: &Path) -> PathBuf {
    let link = link.to_string_lossy();
    PathBuf::from(link.strip_suffix(DELETED).unwrap_or(&link))
}

/// The kernel marks the link of a file that has no name any more, also if another one has got that name.
fn binary_file(pid: i32, link: &Path) -> BinaryFile {
    let whole = without_mark(link);
    let root = std::fs::read_link(format!("/proc/{pid}/root")).unwrap_or_default();
    let path = whole.strip_prefix(&root).map_or_else(|_| whole.clone(), |below| Path::new("/").join(below));
    let is_there = || {
        let below = path.strip_prefix("/").unwrap_or(&path);
        Path::new(&format!("/proc/{pid}/root")).join(below).exists()
    };
    let state = match link.to_string_lossy().ends_with(DELETED) {
        false => FileState::Present,
        true if is_there() => FileState::Replaced,
        true => FileState::Deleted,
    };
    BinaryFile { path, state }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, role: Role) -> NginxProcess {
        NginxProcess {
            pid,
            parent,
            role,
            title: "gateway".into(),
            resident: Some(4096),
            age_seconds: 1,
            user: 0,
            binary: None,
            container: None,
        }
    }

    #[test]
    fn a_family_without_titles_has_a_master_and_workers() {
        let mut found = [process(10, 1, Role::Single), process(11, 10, Role::Single), process(20, 1, Role::Single)];
        tell_roles_by_family(&mut found);
        assert_eq!(found.map(|process| process.role), [Role::Master, Role::Worker, Role::Single]);
    }

    #[test]
    fn what_a_title_says_counts() {
        let mut found = [process(10, 1, Role::Master), process(11, 10, Role::CacheManager)];
        tell_roles_by_family(&mut found);
        assert_eq!(found.map(|process| process.role), [Role::Master, Role::CacheManager]);
    }

    #[test]
    fn our_own_binary_is_where_it_was() {
        let own = std::env::current_exe().unwrap();
        let found = binary_file(std::process::id() as i32, &own);
        assert_eq!(found, BinaryFile { path: own.clone(), state: FileState::Present });
        let marked = PathBuf::from(format!("{}{DELETED}", own.display()));
        assert_eq!(binary_file(std::process::id() as i32, &marked).state, FileState::Replaced);
        assert_eq!(binary_file(std::process::id() as i32, Path::new("/nowhere (deleted)")).state, FileState::Deleted);
    }

    #[test]
    fn we_are_no_nginx() {
        let own = std::process::id() as i32;
        assert!(find_all(|_| true).iter().all(|process| process.pid != own));
    }
}
