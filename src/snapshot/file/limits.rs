//! How much a file may make its reader do. Files are untrusted: some hundred bytes can unpack to gigabytes.
//!
//! Nothing is allocated for what a file claims, only for what was unpacked of it. Beyond these bounds it is refused.

use super::error::ReadError;
use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

/// Bytes that a file may unpack to. The largest snapshots, a million pools and ten million chunks as one JSON document,
/// have 1.3 GB; in a file that poolscope saves, they have a fifth of that.
pub const MAX_UNPACKED: u64 = 2 << 30;
/// Bytes in the line that has all but pools and chunks. Addresses of pools that no root leads to are most of it.
pub const MAX_MODEL: u64 = 128 << 20;
/// Bytes in any other line.
pub const MAX_LINE: u64 = 32 << 20;
/// Lines. The largest snapshot has some thousands.
pub const MAX_LINES: u64 = 1 << 20;
/// Values in a line, and in all fields of a JSON document but `pools` and `chunks`, of which an object counts as eight.
pub const MAX_VALUES: u64 = 1 << 23;
/// Pools.
pub const MAX_POOLS: u64 = 1 << 23;
/// Chunks.
pub const MAX_CHUNKS: u64 = 1 << 26;
/// Runs of chunks that lie side by side: each needs a mapping, of which Linux allows a process 65,530 unless told otherwise
/// (`vm.max_map_count`), or a hole in one.
pub const MAX_RUNS: u64 = 1 << 22;
/// Bytes in `chunks` of a JSON document: some twenty million of them.
pub const MAX_DOCUMENT_CHUNKS: u64 = 1 << 30;
/// Values in `pools` of a JSON document: more than fit [`MAX_UNPACKED`], if they are pools.
pub const MAX_POOL_VALUES: u64 = 1 << 28;
/// Memory that zstd may ask for, as a power of two: what the `zstd` command allows as well, unless told otherwise.
pub const MAX_WINDOW_LOG: u32 = 27;

/// What may still be read before something must have ended.
#[derive(Debug, Default)]
struct Allowance {
    /// What is left, and what there was.
    bytes: Cell<(u64, u64)>,
    values: Cell<(u64, u64)>,
    /// All that may be read at all.
    all: Cell<(u64, u64)>,
}

/// Sets what the [`Metered`] reader that it belongs to lets through.
#[derive(Debug, Clone)]
pub struct Meter(Rc<Allowance>);

impl Meter {
    /// Lets through so many bytes and JSON values more, counted from what the reader has let through so far.
    pub fn allow(&self, bytes: u64, values: u64) {
        self.0.bytes.set((bytes, bytes));
        self.0.values.set((values, values));
    }
}

/// About how many JSON values there are, by their commas. Some bytes that begin an object can stand for as much memory as
/// eight plain values.
pub(super) fn values(bytes: &[u8]) -> u64 {
    let count = |byte| memchr::memchr_iter(byte, bytes).count() as u64;
    8 * count(b'{') + count(b',')
}

/// Unpacked bytes, counted. A reader that buffers may stand behind: bounds are rough by its buffer.
pub struct Metered<R> {
    inner: R,
    allowance: Rc<Allowance>,
}

impl<R: Read> Metered<R> {
    /// A reader that lets [`MAX_UNPACKED`] bytes through, and what sets narrower bounds for parts of them.
    pub fn new(inner: R) -> (Metered<R>, Meter) {
        let allowance = Rc::new(Allowance::default());
        allowance.all.set((MAX_UNPACKED, MAX_UNPACKED));
        let meter = Meter(allowance.clone());
        meter.allow(MAX_LINE, MAX_VALUES);
        (Metered { inner, allowance }, meter)
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let bytes = buffer.get(..count).unwrap_or_default();
        take(&self.allowance.all, count as u64, "bytes unpacked")?;
        take(&self.allowance.bytes, count as u64, "bytes in a line or field")?;
        take(&self.allowance.values, values(bytes), "values in a line or field")?;
        Ok(count)
    }
}

fn take(left_of: &Cell<(u64, u64)>, count: u64, what: &str) -> io::Result<()> {
    let (left, of) = left_of.get();
    let rest = left.checked_sub(count).ok_or_else(|| too_much(format!("{of} {what}")))?;
    left_of.set((rest, of));
    Ok(())
}

/// The bound that was reached, on its way through layers that know [`io::Error`] only.
#[derive(Debug, thiserror::Error)]
#[error("more than {0}")]
struct TooMuch(String);

/// An error that says which bound was reached.
pub(super) fn too_much(what: String) -> io::Error {
    io::Error::other(TooMuch(what))
}

/// Says what an error of a reader that unpacks means, where in the file `place` says.
pub(super) fn unpacking(error: io::Error, place: &str) -> ReadError {
    if let Some(TooMuch(what)) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
        return ReadError::TooLarge(what.clone());
    }
    // Only the kernel's answers have a number; all else comes from unpacking.
    match error.raw_os_error() {
        Some(_) => ReadError::Io(error),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            ReadError::CutOff { place: place.to_owned(), held: String::new() }
        }
        None => ReadError::Damaged { place: place.to_owned(), what: error.to_string() },
    }
}
