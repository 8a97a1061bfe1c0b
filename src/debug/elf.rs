//! An ELF file, opened: its sections (inflated if they are compressed), segments, build-id, and links to debug files.

use super::bytes::Bytes;
use super::error::DebugError;
use crate::addr::FileAddr;
use object::LittleEndian;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::read::{CompressedData, CompressionFormat};
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the linker stamped on a build (`NT_GNU_BUILD_ID`): a file and its debug file carry the same one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BuildId(Arc<[u8]>);

impl BuildId {
    /// The build-id of those bytes, or `None` if there are none: an empty one identifies nothing.
    pub fn new(bytes: &[u8]) -> Option<BuildId> {
        (!bytes.is_empty()).then(|| BuildId(bytes.into()))
    }

    /// Its bytes, as they stand in the note.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Where a directory of debug files keeps this one: `.build-id/ab/cdef….debug`. `None` for one too short to split.
    pub fn debug_path(&self) -> Option<PathBuf> {
        let hex = self.to_string();
        let (directory, rest) = hex.split_at_checked(2).filter(|(_, rest)| !rest.is_empty())?;
        Some(Path::new(".build-id").join(directory).join(format!("{rest}.debug")))
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A loadable (or thread-local) part of the file, from its program headers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Where it starts, before the load bias.
    pub address: FileAddr,
    /// Where its bytes start in the file.
    pub offset: u64,
    /// How many bytes of it the file holds.
    pub file_size: u64,
    /// How many bytes it has in memory; those past `file_size` start as zero.
    pub memory_size: u64,
    /// Alignment in bytes.
    pub align: u64,
    /// True if it can be executed.
    pub executable: bool,
}

/// One entry of the section table.
#[derive(Clone, Debug)]
struct Section {
    name: String,
    kind: u32,
    compressed: bool,
    link: usize,
    /// Its bytes in the file; empty for `SHT_NOBITS`.
    range: Range<usize>,
}

/// An ELF file for a 64-bit little-endian machine.
#[derive(Debug)]
pub(crate) struct ElfFile {
    path: PathBuf,
    bytes: Bytes,
    machine: u16,
    sections: Vec<Section>,
    pub(crate) loads: Vec<Segment>,
    pub(crate) tls: Option<Segment>,
    /// `.eh_frame_hdr`: where call frame information is.
    pub(crate) frames: Option<Segment>,
    build_id: Option<BuildId>,
}

/// Largest section that is inflated. The biggest `.debug_info` known (browsers) inflate to about 1 GiB.
const LARGEST_SECTION: u64 = 4 << 30;

/// DEFLATE cannot do better than 1032:1, so a header that claims more is corrupt.
const BEST_ZLIB_RATIO: u64 = 1032;

/// Zstandard's run-length blocks reach 128 KiB for 4 bytes.
const BEST_ZSTD_RATIO: u64 = 32768;

impl ElfFile {
    /// Maps `file`. `path` is only for messages.
    pub(crate) fn open(file: &File, path: &Path) -> Result<ElfFile, DebugError> {
        let bytes = Bytes::map(file).map_err(|error| DebugError::unreadable(path, error))?;
        ElfFile::parse(bytes, path)
    }

    /// Reads the headers of an ELF file.
    pub(crate) fn parse(bytes: Bytes, path: &Path) -> Result<ElfFile, DebugError> {
        check_ident(&bytes).map_err(|reason| DebugError::NotElf { path: path.into(), reason })?;
        let damaged = |part: &str, error: object::Error| DebugError::malformed(path, part, error);
        let header = elf::FileHeader64::<LittleEndian>::parse(&*bytes).map_err(|e| damaged("ELF header", e))?;
        let programs = header.program_headers(LittleEndian, &*bytes).map_err(|e| damaged("program headers", e))?;
        let sections = read_sections(header, &bytes).map_err(|e| damaged("section headers", e))?;
        let of_type =
            |wanted: u32| programs.iter().filter(move |p| p.p_type.get(LittleEndian).0 == wanted).map(segment);
        let mut file = ElfFile {
            path: path.into(),
            machine: header.e_machine.get(LittleEndian).0,
            loads: of_type(elf::PT_LOAD.0).collect(),
            tls: of_type(elf::PT_TLS.0).next(),
            frames: of_type(elf::PT_GNU_EH_FRAME.0).next(),
            build_id: None,
            sections,
            bytes: bytes.clone(),
        };
        file.build_id = file.find_build_id(programs);
        Ok(file)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn machine(&self) -> u16 {
        self.machine
    }

    pub(crate) fn build_id(&self) -> Option<&BuildId> {
        self.build_id.as_ref()
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// True if it holds the section and the section has bytes in this file. `.debug_info` also matches `.zdebug_info`.
    pub(crate) fn has_section(&self, name: &str) -> bool {
        self.find_section(name).is_some()
    }

    /// True if it holds the section in compressed form.
    pub(crate) fn is_compressed(&self, name: &str) -> bool {
        self.find_section(name).is_some_and(|section| section.compressed || section.name.starts_with(".zdebug_"))
    }

    /// The contents of a section, inflated if it is compressed; no bytes if there is no such section.
    pub(crate) fn section(&self, name: &str) -> Result<Bytes, DebugError> {
        let Some(section) = self.find_section(name) else { return Ok(Bytes::default()) };
        let raw = self.bytes.slice(section.range.clone()).unwrap_or_default();
        let packed = compression(section, &raw).map_err(|reason| self.malformed(name, reason))?;
        let Some(packed) = packed else { return Ok(raw) };
        let inflated = packed.decompress().map_err(|error| self.malformed(name, error))?;
        Ok(Bytes::from(inflated.into_owned()))
    }

    /// The bytes from an address on, as far as its segment has them in the file; none if no segment does.
    pub(crate) fn bytes_from(&self, address: FileAddr) -> Option<&[u8]> {
        let holds =
            |load: &&Segment| (load.address.0..load.address.0.saturating_add(load.file_size)).contains(&address.0);
        let load = self.loads.iter().find(holds)?;
        let start = load.offset.checked_add(address.0 - load.address.0)?;
        let end = load.offset.checked_add(load.file_size)?;
        self.bytes.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
    }

    /// A symbol table and its strings: `.symtab` or `.dynsym`. No bytes if the file has none.
    pub(crate) fn symbol_table(&self, kind: u32) -> (Bytes, Bytes) {
        let table = self.sections.iter().find(|s| s.kind == kind && !s.range.is_empty());
        let slice = |section: &Section| self.bytes.slice(section.range.clone()).unwrap_or_default();
        match table {
            Some(table) => (slice(table), self.sections.get(table.link).map(slice).unwrap_or_default()),
            None => Default::default(),
        }
    }

    /// What `.gnu_debuglink` says: a file name and the CRC-32 of that file.
    pub(crate) fn debug_link(&self) -> Option<(PathBuf, u32)> {
        let section = self.section(".gnu_debuglink").ok()?;
        let length = section.iter().position(|&byte| byte == 0).filter(|&length| length > 0)?;
        let checksum = (length + 1).next_multiple_of(4);
        let checksum: [u8; 4] = section.get(checksum..checksum + 4)?.try_into().ok()?;
        Some((PathBuf::from(OsStr::from_bytes(&section[..length])), u32::from_le_bytes(checksum)))
    }

    /// What `.gnu_debugaltlink` (dwz) or `.debug_sup` (DWARF 5) says: the path of the shared debug file and its build-id.
    pub(crate) fn supplement_link(&self) -> Option<(PathBuf, Option<BuildId>)> {
        if let Ok(section) = self.section(".gnu_debugaltlink")
            && let Some(length) = section.iter().position(|&byte| byte == 0).filter(|&length| length > 0)
        {
            return Some((PathBuf::from(OsStr::from_bytes(&section[..length])), BuildId::new(&section[length + 1..])));
        }
        debug_sup(&self.section(".debug_sup").ok()?)
    }

    fn find_section(&self, name: &str) -> Option<&Section> {
        let old = name.strip_prefix(".debug_").map(|rest| format!(".zdebug_{rest}"));
        let matches = |section: &&Section| section.name == name || old.as_ref() == Some(&section.name);
        self.sections.iter().filter(|section| !section.range.is_empty()).find(matches)
    }

    fn find_build_id(&self, programs: &[elf::ProgramHeader64<LittleEndian>]) -> Option<BuildId> {
        let in_sections = self.sections.iter().filter(|s| s.kind == elf::SHT_NOTE.0).map(|s| s.range.clone());
        // A binary without section headers (sstrip) still has its notes in a segment.
        let in_segments = programs
            .iter()
            .filter(|p| p.p_type.get(LittleEndian) == elf::PT_NOTE)
            .filter_map(|p| file_range(p.p_offset(LittleEndian), p.p_filesz(LittleEndian), self.bytes.len()));
        in_sections.chain(in_segments).find_map(|range| build_id_note(self.bytes.get(range)?))
    }

    fn malformed(&self, part: &str, reason: impl fmt::Display) -> DebugError {
        DebugError::malformed(&self.path, part, reason)
    }
}

fn check_ident(bytes: &[u8]) -> Result<(), String> {
    match bytes.get(..6) {
        Some([0x7f, b'E', b'L', b'F', 2, 1]) => Ok(()),
        Some([0x7f, b'E', b'L', b'F', 1, _]) => Err("it is a 32-bit ELF file".into()),
        Some([0x7f, b'E', b'L', b'F', 2, 2]) => Err("it is a big-endian ELF file".into()),
        Some([0x7f, b'E', b'L', b'F', ..]) => Err("its ELF identification is invalid".into()),
        Some(_) => Err("it does not start as ELF files do".into()),
        None => Err(format!("it has only {} bytes", bytes.len())),
    }
}

fn segment(program: &elf::ProgramHeader64<LittleEndian>) -> Segment {
    Segment {
        address: FileAddr(program.p_vaddr.get(LittleEndian)),
        offset: program.p_offset.get(LittleEndian),
        file_size: program.p_filesz.get(LittleEndian),
        memory_size: program.p_memsz.get(LittleEndian),
        align: program.p_align.get(LittleEndian),
        executable: program.p_flags.get(LittleEndian).0 & elf::PF_X.0 != 0,
    }
}

fn read_sections(header: &elf::FileHeader64<LittleEndian>, bytes: &[u8]) -> Result<Vec<Section>, object::Error> {
    let table = header.sections(LittleEndian, bytes)?;
    let describe = |section: &elf::SectionHeader64<LittleEndian>| Section {
        name: table
            .section_name(LittleEndian, section)
            .map(|n| String::from_utf8_lossy(n).into_owned())
            .unwrap_or_default(),
        kind: section.sh_type.get(LittleEndian).0,
        compressed: section.sh_flags.get(LittleEndian).0 & elf::SHF_COMPRESSED.0 != 0,
        link: section.sh_link.get(LittleEndian) as usize,
        range: section
            .file_range(LittleEndian)
            .and_then(|(offset, size)| file_range(offset, size, bytes.len()))
            .unwrap_or_default(),
    };
    Ok(table.iter().map(describe).collect())
}

/// The part of a file of `length` bytes, or `None` where the range is not wholly in the file.
fn file_range(offset: u64, size: u64, length: usize) -> Option<Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(size).ok()?)?;
    (end <= length).then_some(start..end)
}

/// How a section is compressed, if it is: by `SHF_COMPRESSED` and its header, or in the older way, by a name that starts
/// with `.zdebug_` and a header of `ZLIB` and the size as a big-endian number.
fn compression<'a>(section: &Section, raw: &'a [u8]) -> Result<Option<CompressedData<'a>>, String> {
    let too_short = || "compressed section without a header".to_string();
    let (format, size, data) = if section.compressed {
        let (header, data) = raw.split_at_checked(24).ok_or_else(too_short)?;
        let kind = u32::from_le_bytes(header[..4].try_into().map_err(|_| too_short())?);
        let size = u64::from_le_bytes(header[8..16].try_into().map_err(|_| too_short())?);
        match elf::CompressionType(kind) {
            elf::ELFCOMPRESS_ZLIB => (CompressionFormat::Zlib, size, data),
            elf::ELFCOMPRESS_ZSTD => (CompressionFormat::Zstandard, size, data),
            _ => return Err(format!("compression type {kind} is unknown")),
        }
    } else if section.name.starts_with(".zdebug_") {
        let header = raw.strip_prefix(b"ZLIB").ok_or_else(too_short)?;
        let (size, data) = header.split_first_chunk::<8>().ok_or_else(too_short)?;
        (CompressionFormat::Zlib, u64::from_be_bytes(*size), data)
    } else {
        return Ok(None);
    };
    let ratio = if format == CompressionFormat::Zlib { BEST_ZLIB_RATIO } else { BEST_ZSTD_RATIO };
    if size > LARGEST_SECTION || size > (data.len() as u64).saturating_mul(ratio).saturating_add(64) {
        return Err(format!("{} compressed bytes cannot inflate to {size}", data.len()));
    }
    Ok(Some(CompressedData { format, data, uncompressed_size: size }))
}

/// The build-id among the notes of one section or segment.
fn build_id_note(notes: &[u8]) -> Option<BuildId> {
    let mut rest = notes;
    loop {
        let (header, after) = rest.split_at_checked(12)?;
        let word = |at: usize| header.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
        let (name_size, data_size, kind) = (word(0)? as usize, word(4)? as usize, word(8)?);
        let name = after.get(..name_size)?;
        let data = after.get(name_size.checked_next_multiple_of(4)?..)?;
        let description = data.get(..data_size)?;
        if kind == elf::NT_GNU_BUILD_ID.0 && name == b"GNU\0" {
            return BuildId::new(description);
        }
        rest = data.get(data_size.checked_next_multiple_of(4)?..)?;
    }
}

/// `.debug_sup` (DWARF 5, 7.3.6): version 5, a flag that is 0 in the file that refers to the other, its name, and an
/// identifier preceded by its length.
fn debug_sup(section: &[u8]) -> Option<(PathBuf, Option<BuildId>)> {
    let rest = section.strip_prefix(&[5, 0, 0])?;
    let length = rest.iter().position(|&byte| byte == 0).filter(|&length| length > 0)?;
    let name = PathBuf::from(OsStr::from_bytes(&rest[..length]));
    let identifier = rest.get(length + 1..)?;
    // A build-id is far shorter than 128 bytes, so that the LEB128 length is one byte.
    let (&size, identifier) = identifier.split_first()?;
    Some((name, identifier.get(..usize::from(size)).and_then(BuildId::new)))
}
