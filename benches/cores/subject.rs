//! The core that all tools look at.

use std::fs::File;
use std::path::PathBuf;

use poolscope_fixtures::LargeHeap;

use crate::common::Failure;
use crate::common::machine::field;
use crate::common::scratch::Scratch;

/// Chunks that the program asks for.
const CHUNKS: u64 = 10_000_000;

/// zstd's default, and systemd-coredump's.
const LEVEL: i32 = 3;

/// A core with the program that it is of, which does not run any more.
pub(crate) struct Subject {
    pub(crate) binary: PathBuf,
    pub(crate) core: PathBuf,
    /// Bytes.
    pub(crate) core_size: u64,
    /// The same, packed with zstd.
    pub(crate) packed: PathBuf,
    /// Bytes.
    pub(crate) packed_size: u64,
    /// Resident bytes of the program.
    pub(crate) resident: u64,
    /// Chunks that the program has not freed, by its own count.
    pub(crate) live: u64,
    /// Their bytes, headers included.
    pub(crate) live_bytes: u64,
}

impl Subject {
    /// Runs the program, and saves a core of it twice, plain and packed.
    pub(crate) fn make(scratch: &Scratch) -> Result<Subject, Failure> {
        eprintln!("making a heap of {CHUNKS} chunks");
        let program = LargeHeap::start(CHUNKS)?;
        let resident = field(&format!("/proc/{}/status", program.pid()), "VmRSS:").unwrap_or(0);
        eprintln!("saving its core");
        let core = poolscope_fixtures::gcore(program.pid(), &scratch.disk)?;
        let (binary, live, live_bytes) = (program.binary().to_owned(), program.live(), program.live_bytes());
        drop(program);
        eprintln!("packing it with zstd");
        let packed = scratch.disk.join("core.zst");
        let reading = |cause| format!("reading {}: {cause}", core.display());
        let writing = |cause| format!("writing {}: {cause}", packed.display());
        zstd::stream::copy_encode(File::open(&core).map_err(reading)?, File::create(&packed).map_err(writing)?, LEVEL)
            .map_err(writing)?;
        let (core_size, packed_size) = (core.metadata()?.len(), packed.metadata()?.len());
        Ok(Subject { binary, core, core_size, packed, packed_size, resident, live, live_bytes })
    }
}
