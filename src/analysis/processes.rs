//! The nginx masters and workers on this machine, each worker behind its master.

use crate::nginx::version::server_version;
use crate::target::nginx_processes::{NginxProcess, find_all};
use crate::target::nginx_role::Role;
use crate::target::process::TargetError;
use memchr::memmem;
use rustc_hash::FxHashMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use thiserror::Error;

/// A process with its server's version and its master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What is known of it.
    pub process: NginxProcess,
    /// Pid of its master, or its own if it is one; `None` if it has none.
    pub master: Option<i32>,
    /// Name and version of the server, as its binary states it: `nginx/1.28.3`.
    pub server: Option<String>,
}

/// Why there are no workers to look at.
#[derive(Debug, Error)]
pub enum WorkersError {
    /// There is no such process, or it is none that can be looked at.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// It is no nginx.
    #[error("process {0} is no nginx master: `poolscope ps` lists the masters and their workers")]
    NotNginx(i32),
    /// It is one of the others.
    #[error("process {pid} is no master but a {role} of master {master}: give --workers-of {master}")]
    NotMaster {
        /// The pid that was given.
        pid: i32,
        /// What it is.
        role: Role,
        /// Its parent's pid.
        master: i32,
    },
    /// It does all itself.
    #[error("process {0} has no workers, since master_process is off: give its own pid, `poolscope snapshot {0}`")]
    Single(i32),
    /// It has none now.
    #[error(
        "master {0} has no workers: it is starting, or they crash at once; its error log says which, and `poolscope ps` \
         shows when there are some"
    )]
    None(i32),
}

/// Every nginx process: masters in order of pid, behind each its own, those with most memory first; then those without a
/// master in the same order. What may not be read of the processes of others is absent.
pub fn list() -> Vec<Listed> {
    let mut binaries = Binaries::default();
    let found = find_all(|file| binaries.look(file).is_server);
    let masters: Vec<i32> =
        found.iter().filter(|process| process.role == Role::Master).map(|process| process.pid).collect();
    let master_of = |process: &NginxProcess| match process.role {
        Role::Master => Some(process.pid),
        _ => masters.contains(&process.parent).then_some(process.parent),
    };
    let list = |process: NginxProcess| {
        let file = File::open(format!("/proc/{}/exe", process.pid)).ok();
        let server = file.and_then(|file| binaries.look(&file).version);
        Listed { master: master_of(&process), server, process }
    };
    let mut listed: Vec<Listed> = found.into_iter().map(list).collect();
    listed.sort_by_key(order);
    listed
}

/// Groups by master, the master before its own, largest first.
fn order(listed: &Listed) -> (bool, Option<i32>, bool, std::cmp::Reverse<u64>, i32) {
    let process = &listed.process;
    let resident = std::cmp::Reverse(process.resident.unwrap_or(0));
    (listed.master.is_none(), listed.master, process.role != Role::Master, resident, process.pid)
}

/// The workers of a master, also those that are shutting down, largest first.
///
/// # Errors
/// [`WorkersError`] if that pid is no master with workers.
pub fn workers_of(master: i32) -> Result<Vec<i32>, WorkersError> {
    choose_workers(&list(), master, || match std::fs::metadata(format!("/proc/{master}")) {
        Ok(_) => WorkersError::NotNginx(master),
        Err(_) => TargetError::NoSuchProcess(master).into(),
    })
}

fn choose_workers(
    listed: &[Listed],
    master: i32,
    unlisted: impl FnOnce() -> WorkersError,
) -> Result<Vec<i32>, WorkersError> {
    let Some(own) = listed.iter().find(|listed| listed.process.pid == master) else { return Err(unlisted()) };
    match own.process.role {
        Role::Master => {}
        Role::Single => return Err(WorkersError::Single(master)),
        role => return Err(WorkersError::NotMaster { pid: master, role, master: own.process.parent }),
    }
    let is_worker = |listed: &&Listed| {
        listed.master == Some(master) && matches!(listed.process.role, Role::Worker | Role::ShuttingDown)
    };
    let workers: Vec<i32> = listed.iter().filter(is_worker).map(|listed| listed.process.pid).collect();
    if workers.is_empty() { Err(WorkersError::None(master)) } else { Ok(workers) }
}

/// What binaries say of themselves. Workers share a binary, which has some megabytes.
#[derive(Debug, Default)]
struct Binaries(FxHashMap<(u64, u64), Binary>);

#[derive(Debug, Clone, Default)]
struct Binary {
    is_server: bool,
    version: Option<String>,
}

impl Binaries {
    fn look(&mut self, file: &File) -> Binary {
        let Ok(data) = file.metadata() else { return Binary::default() };
        self.0.entry((data.dev(), data.ino())).or_insert_with(|| read(file)).clone()
    }
}

/// Every build has the name of this directive of nginx's core, and says its version.
const CORE_DIRECTIVE: &[u8] = b"worker_processes";

fn read(file: &File) -> Binary {
    // SAFETY: the file is only read, and a package manager replaces files instead of writing into them. Should somebody
    // truncate it all the same, reading beyond its new end raises SIGBUS and ends us; nothing is stopped.
    let Ok(bytes) = (unsafe { memmap2::Mmap::map(file) }) else { return Binary::default() };
    Binary { is_server: memmem::find(&bytes, CORE_DIRECTIVE).is_some(), version: server_version(&bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(pid: i32, parent: i32, role: Role, resident: u64, master: Option<i32>) -> Listed {
        let process = NginxProcess {
            pid,
            parent,
            role,
            title: "nginx: worker process".into(),
            resident: Some(resident),
            age_seconds: 1,
            user: 33,
            binary: None,
            container: None,
        };
        Listed { process, master, server: None }
    }

    /// Two masters with workers, and one that does all itself.
    fn some() -> Vec<Listed> {
        let mut some = vec![
            listed(1, 0, Role::Single, 900, None),
            listed(10, 1, Role::Master, 5, Some(10)),
            listed(11, 10, Role::Worker, 100, Some(10)),
            listed(12, 10, Role::ShuttingDown, 300, Some(10)),
            listed(13, 10, Role::CacheManager, 500, Some(10)),
            listed(20, 10, Role::Master, 5, Some(20)),
        ];
        some.sort_by_key(order);
        some
    }

    fn never() -> WorkersError {
        unreachable!("it is listed")
    }

    #[test]
    fn workers_stand_behind_their_master_largest_first() {
        let pids: Vec<i32> = some().iter().map(|listed| listed.process.pid).collect();
        assert_eq!(pids, [10, 13, 12, 11, 20, 1]);
    }

    #[test]
    fn workers_are_also_those_that_shut_down_but_no_helpers() {
        assert_eq!(choose_workers(&some(), 10, never).unwrap(), [12, 11]);
    }

    #[test]
    fn who_is_no_master_with_workers_is_told_what_to_give() {
        let refused = |pid| choose_workers(&some(), pid, || WorkersError::NotNginx(pid)).unwrap_err().to_string();
        assert!(refused(12).contains("a worker shutting down of master 10: give --workers-of 10"));
        assert!(refused(1).contains("`poolscope snapshot 1`"));
        assert!(refused(20).contains("has no workers"));
        assert!(refused(99).contains("`poolscope ps`"));
    }

    #[test]
    fn a_binary_that_is_no_nginx_is_recognised() {
        let own = File::open("/bin/sh").unwrap();
        assert!(!Binaries::default().look(&own).is_server);
    }
}
