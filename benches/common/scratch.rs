//! Folders for core files and output, gone afterwards also when the benchmark is interrupted: a core is as large as
//! the worker, and one that is left in /dev/shm takes that much memory until somebody finds it.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::{SigSet, Signal};

use crate::common::Failure;

const PREFIX: &str = "poolscope-bench-";

/// Cargo's folder for benchmarks, below the target directory.
pub(crate) fn target_tmp() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// Room for one run of the benchmark.
pub(crate) struct Scratch {
    /// On the disk that has the target directory.
    pub(crate) disk: PathBuf,
    /// In memory, if there is a tmpfs.
    #[allow(dead_code, reason = "not every benchmark compares it with the disk")]
    pub(crate) memory: Option<PathBuf>,
}

impl Scratch {
    /// Makes the folders, and removes those of runs that were killed.
    pub(crate) fn create() -> Result<Scratch, Failure> {
        parents().for_each(remove_abandoned);
        let disk = own(target_tmp());
        fs::create_dir_all(&disk).map_err(|cause| format!("creating {}: {cause}", disk.display()))?;
        let memory = own(Path::new("/dev/shm"));
        let memory = fs::create_dir(&memory).is_ok().then_some(memory);
        Ok(Scratch { disk, memory })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove_own();
    }
}

fn parents() -> impl Iterator<Item = &'static Path> {
    [target_tmp(), Path::new("/dev/shm")].into_iter()
}

fn own(parent: &Path) -> PathBuf {
    parent.join(format!("{PREFIX}{}", std::process::id()))
}

fn remove_own() {
    for parent in parents() {
        // One that was never made cannot be removed, and need not be.
        let _ = fs::remove_dir_all(own(parent));
    }
}

fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Makes Ctrl-C and SIGTERM remove the folders and end the benchmark. Nginx and the tool that runs end with it.
///
/// Called before any other thread starts: the signals are blocked in all of them, and one thread waits for them.
pub(crate) fn clear_on_signals() -> Result<(), Failure> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    signals.thread_block().map_err(|cause| format!("blocking signals: {cause}"))?;
    std::thread::spawn(move || {
        if let Ok(signal) = signals.wait() {
            remove_own();
            std::process::exit(128 + signal as i32);
        }
    });
    Ok(())
}
