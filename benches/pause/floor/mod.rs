//! The least that one stop can take: every page with a chunk header is read, and nothing else is done.
//!
//! Which pages these are is found out before, by poolscope's own list of chunks, in a process of its own: neither the list's
//! memory nor the stops that it took are anybody's in the comparison.

mod list;
mod plain_stop;

use std::io::IoSliceMut;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::libc;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::common::scratch::Scratch;
use crate::common::{Failure, run};
use list::{Piece, Pieces};
use plain_stop::PlainStop;

/// Bytes that are read at a time.
const WINDOW: usize = 64 << 10;

/// Lists of what to read, and what they come to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Listed {
    /// Chunks of the heap, free ones as well.
    pub(crate) chunks: u64,
    /// Windows of 64 KiB that begin at a page with a header which the window before does not reach.
    pub(crate) windows: List,
    /// The same, without what is behind the last page with a header in each.
    pub(crate) pages: List,
}

/// A file with pieces of memory to read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct List {
    pub(crate) file: PathBuf,
    pub(crate) pieces: u64,
    pub(crate) bytes: u64,
}

/// What a stop says of itself, in microseconds; the same words as poolscope's.
#[derive(Debug, Serialize)]
struct Told {
    freeze: ToldFreeze,
}

#[derive(Debug, Serialize)]
struct ToldFreeze {
    pause_microseconds: u64,
    stops: u32,
    sum_microseconds: u64,
}

/// Has the pages of `pid` listed in another process.
pub(crate) fn list_in_child(pid: u32, scratch: &Scratch) -> Result<Listed, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--list").arg(pid.to_string()).arg(&scratch.disk);
    let finished = run::run(command, Duration::from_secs(60), scratch)?;
    Ok(serde_json::from_str(&finished.stdout)?)
}

/// That other process: writes the lists to `folder`, and what they come to to standard output.
pub(crate) fn list(pid: &str, folder: &Path) -> Result<(), Failure> {
    let pieces = Pieces::of(pid.parse()?)?;
    let write = |name: &str, wanted: Vec<Piece>| -> Result<List, Failure> {
        let file = folder.join(format!("{name}-{pid}"));
        list::write(&file, &wanted)?;
        let bytes = wanted.iter().map(|piece| piece.length).sum();
        Ok(List { file, pieces: wanted.len() as u64, bytes })
    };
    let listed = Listed {
        chunks: pieces.chunks,
        windows: write("windows", pieces.windows())?,
        pages: write("pages", pieces.pages())?,
    };
    println!("{}", serde_json::to_string(&listed)?);
    Ok(())
}

/// Stops `pid` in the plainest way there is, reads what `list` says, lets it go, and says how long that took.
pub(crate) fn stop_and_read(pid: &str, list: &Path) -> Result<(), Failure> {
    let pid = Pid::from_raw(pid.parse()?);
    let pieces = list::read(list)?;
    // Written once: otherwise the kernel would look for pages of ours during the stop.
    let mut buffer = vec![1_u8; WINDOW];
    let stop = PlainStop::begin(pid)?;
    let outcome = read(pid, &pieces, &mut buffer);
    let pause = stop.end();
    outcome?;
    let pause_microseconds = u64::try_from(pause.as_micros())?;
    let freeze = ToldFreeze { pause_microseconds, stops: 1, sum_microseconds: pause_microseconds };
    println!("{}", serde_json::to_string(&Told { freeze })?);
    Ok(())
}

fn read(pid: Pid, pieces: &[Piece], buffer: &mut [u8]) -> Result<(), Failure> {
    for piece in pieces {
        let length = usize::try_from(piece.length)?;
        let local = buffer.get_mut(..length).ok_or("a list has a piece that is longer than a window")?;
        let remote = RemoteIoVec { base: usize::try_from(piece.start)?, len: length };
        process_vm_readv(pid, &mut [IoSliceMut::new(local)], &[remote])
            .map_err(|errno| format!("reading {:#x} of {pid}: {errno}", piece.start))?;
    }
    Ok(())
}

/// Bytes of a page.
fn page_size() -> u64 {
    // SAFETY: sysconf has no condition.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}
