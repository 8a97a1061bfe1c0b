//! Opening a core: what kind of file it is, where its bytes will come from, and its program headers.

use super::error::CoreError;
use super::header::{FileHeader, HEADER_SIZE, ProgramHeader, Wrong};
use super::storage::Storage;
use super::stream::Stream;
use crate::target::unpack::{Format, first_bytes, unpacked};
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::SystemTime;

/// Memory that zstd may ask for, as a power of two: what the `zstd` command allows, unless told otherwise with `--long`.
const MAX_WINDOW_LOG: u32 = 27;

/// An opened core with its program headers.
pub(super) struct Opened {
    pub(super) storage: Storage,
    pub(super) programs: Vec<ProgramHeader>,
    /// Program headers that should be there.
    pub(super) claimed: u64,
    pub(super) written_at: Option<SystemTime>,
    /// What is wrong with the file as a whole, in one sentence.
    pub(super) problem: Option<String>,
}

/// Opens a core. A plain regular file is read where it lies; everything else is read here, once.
pub(super) fn open(path: &Path) -> Result<Opened, CoreError> {
    let unreadable = |source| CoreError::Unreadable { path: path.into(), source };
    let mut file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let start = first_bytes(&mut file, HEADER_SIZE).map_err(unreadable)?;
    let format = Format::of(&start);
    let mut opened = match format {
        Format::Plain if metadata.is_file() => plain(path, file, metadata.len(), &start)?,
        _ => stream(path, format, start, file)?,
    };
    opened.written_at = metadata.modified().ok().filter(|_| metadata.is_file());
    Ok(opened)
}

fn plain(path: &Path, file: File, length: u64, start: &[u8]) -> Result<Opened, CoreError> {
    let wrong = |wrong| error(path, start, wrong);
    let header = FileHeader::parse(start).map_err(wrong)?;
    let storage = Storage::File { file, length };
    let (programs, claimed) = header.programs(&storage).map_err(|error| wrong(error.into()))?;
    Ok(Opened { storage, programs, claimed, written_at: None, problem: None })
}

fn stream(path: &Path, format: Format, start: Vec<u8>, file: File) -> Result<Opened, CoreError> {
    let undecodable = |source| CoreError::Undecodable { path: path.into(), format: format.name(), source };
    let mut stream = Stream::new(unpacked(format, start, file, MAX_WINDOW_LOG).map_err(undecodable)?);
    stream.fill_to(HEADER_SIZE as u64);
    if stream.storage.len() == 0
        && let Some(source) = stream.failure.take()
    {
        return Err(match format {
            Format::Plain => CoreError::Unreadable { path: path.into(), source },
            _ => undecodable(source),
        });
    }
    let mut bytes = vec![0; HEADER_SIZE];
    let got = stream.storage.read_at(0, &mut bytes).map_err(undecodable)?;
    bytes.truncate(got);
    let wrong = |wrong| error(path, &bytes, wrong);
    let header = FileHeader::parse(&bytes).map_err(wrong)?;
    let (storage, programs, claimed, failure) = fill(stream, &header).map_err(|error| wrong(error.into()))?;
    let problem = failure.map(|error| problem(format, &storage, &error));
    Ok(Opened { storage, programs, claimed, written_at: None, problem })
}

type Filled = (Storage, Vec<ProgramHeader>, u64, Option<io::Error>);

/// Reads a stream up to the last byte that its program headers promise, and no further: what comes then is no part of it, and
/// a few damaged bytes of a compressed file can stand for terabytes.
fn fill(mut stream: Stream, header: &FileHeader) -> io::Result<Filled> {
    stream.fill_to(header.start_of_table_end());
    stream.fill_to(header.table_end(&stream.storage)?);
    let (programs, _) = header.programs(&stream.storage)?;
    let promised = programs.iter().map(|program| program.offset.saturating_add(program.file_size)).max().unwrap_or(0);
    stream.fill_to(promised.max(header.sections_end()));
    let (storage, failure) = stream.finish();
    // The true count of program headers may have been at the stream's end.
    let (programs, claimed) = header.programs(&storage)?;
    Ok((storage, programs, claimed, failure))
}

fn problem(format: Format, storage: &Storage, error: &io::Error) -> String {
    let length = storage.len();
    match format {
        Format::Plain => format!("the stream could be read only up to byte {length} of the core ({error})"),
        _ => format!("the {} data is cut off or damaged after {length} bytes of the core ({error})", format.name()),
    }
}

/// The error that names the file. `start` is how its contents start.
fn error(path: &Path, start: &[u8], wrong: Wrong) -> CoreError {
    let path = path.to_owned();
    match wrong {
        Wrong::NotElf => CoreError::NotElf { path, looks: looks(start) },
        Wrong::NotCore(kind) => CoreError::NotCore { path, kind },
        Wrong::Bits32 => CoreError::Bits32 { path },
        Wrong::BigEndian => CoreError::BigEndian { path },
        Wrong::OtherMachine(theirs) => CoreError::OtherMachine { path, theirs },
        Wrong::Damaged(reason) => CoreError::BadHeaders { path, reason },
        Wrong::Unreadable(source) => CoreError::Unreadable { path, source },
    }
}

/// What a file that is not ELF looks like, and the way out.
fn looks(start: &[u8]) -> &'static str {
    if start.is_empty() {
        "it is empty; the disk may have been full, or a limit (`ulimit -c`) may have cut it off"
    } else if memchr::memmem::find(start, b"poolscope").is_some() {
        "it looks like a snapshot that poolscope wrote: show it with `poolscope report FILE`"
    } else if start.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
        "it is text; give the file that the kernel, gcore or `coredumpctl dump` wrote"
    } else {
        "it does not start as ELF files do, nor do its contents if it is compressed; give the file that the kernel, gcore or \
         `coredumpctl dump` wrote"
    }
}
