//! ELF header and program headers of a core (Linux `fs/binfmt_elf.c`, `elf_core_dump`).

use super::storage::{Storage, u16_at, u32_at, u64_at};
use object::elf;
use std::io;

/// Bytes of an ELF64 file header.
pub(super) const HEADER_SIZE: usize = 64;

/// Bytes of an ELF64 program header.
const ENTRY_SIZE: u64 = 56;

/// Most program headers that are read: sixteen times as many as Linux allows mappings by default (`vm.max_map_count`).
const MAX_ENTRIES: u64 = 1 << 20;

/// Bytes of program headers that are read at once: the table grows by what is really there, not by what is claimed.
const READ_AT_ONCE: u64 = ENTRY_SIZE * 1024;

/// What is wrong with a header.
#[derive(Debug)]
pub(super) enum Wrong {
    NotElf,
    NotCore(&'static str),
    Bits32,
    BigEndian,
    OtherMachine(String),
    Damaged(String),
    Unreadable(io::Error),
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Wrong {
        Wrong::Unreadable(error)
    }
}

/// What the ELF header says that a core's reader needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileHeader {
    table: u64,
    count: u16,
    sections: u64,
}

/// One program header.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProgramHeader {
    pub(super) kind: u32,
    pub(super) flags: u32,
    pub(super) offset: u64,
    pub(super) address: u64,
    pub(super) file_size: u64,
    pub(super) memory_size: u64,
}

impl FileHeader {
    /// Checks that the bytes start a core of this machine's kind.
    pub(super) fn parse(bytes: &[u8]) -> Result<FileHeader, Wrong> {
        check_ident(bytes)?;
        let cut = || Wrong::Damaged(format!("it has only {} bytes", bytes.len()));
        let half = |at| u16_at(bytes, at).ok_or_else(cut);
        let word = |at| u64_at(bytes, at).ok_or_else(cut);
        let kind = half(16)?;
        if kind != elf::ET_CORE.0 {
            return Err(Wrong::NotCore(kind_name(kind)));
        }
        let machine = half(18)?;
        if machine != OUR_MACHINE {
            return Err(Wrong::OtherMachine(machine_name(machine)));
        }
        let (table, sections, entry_size, count) = (word(32)?, word(40)?, half(54)?, half(56)?);
        if u64::from(entry_size) != ENTRY_SIZE {
            return Err(Wrong::Damaged(format!("its program headers are said to have {entry_size} bytes each")));
        }
        Ok(FileHeader { table, count, sections })
    }

    /// Where the table of program headers ends, as far as that is known before it is read.
    ///
    /// With 65,535 mappings and more the count does not fit into its field and stands in the first section header
    /// (`PN_XNUM`), which Linux writes last: a core that is cut off has none. But its notes follow the table immediately,
    /// and their header is the first one.
    pub(super) fn table_end(&self, storage: &Storage) -> io::Result<u64> {
        let count = match self.is_extended() {
            true => self.extended_count(storage)?,
            false => u64::from(self.count),
        };
        Ok(self.table.saturating_add(count.min(MAX_ENTRIES) * ENTRY_SIZE))
    }

    /// Where the last thing ends that must be read to know how long the table is.
    pub(super) fn start_of_table_end(&self) -> u64 {
        self.table.saturating_add(ENTRY_SIZE)
    }

    /// Where the section header ends that holds the number of program headers; 0 if it is not needed.
    pub(super) fn sections_end(&self) -> u64 {
        if self.is_extended() { self.sections.saturating_add(HEADER_SIZE as u64) } else { 0 }
    }

    fn is_extended(&self) -> bool {
        self.count == elf::PN_XNUM
    }

    fn extended_count(&self, storage: &Storage) -> io::Result<u64> {
        let mut section = [0; HEADER_SIZE];
        if self.sections != 0 && storage.read_at(self.sections, &mut section)? == section.len() {
            return Ok(u64::from(u32_at(&section, 44).unwrap_or(0)));
        }
        let mut first = [0; ENTRY_SIZE as usize];
        let got = storage.read_at(self.table, &mut first)?;
        let notes = first.get(..got).and_then(ProgramHeader::parse).filter(|header| header.kind == elf::PT_NOTE.0);
        let bytes = notes.and_then(|header| header.offset.checked_sub(self.table)).unwrap_or(0);
        Ok(bytes / ENTRY_SIZE)
    }

    /// The program headers that are there, and how many there should be.
    pub(super) fn programs(&self, storage: &Storage) -> io::Result<(Vec<ProgramHeader>, u64)> {
        let end = self.table_end(storage)?;
        let mut headers = Vec::new();
        let mut at = self.table;
        while at < end {
            let mut bytes = vec![0; (end - at).min(READ_AT_ONCE) as usize];
            let got = storage.read_at(at, &mut bytes)?;
            bytes.truncate(got);
            headers.extend(bytes.chunks_exact(ENTRY_SIZE as usize).filter_map(ProgramHeader::parse));
            if (got as u64) < (end - at).min(READ_AT_ONCE) {
                break;
            }
            at += got as u64;
        }
        Ok((headers, (end - self.table) / ENTRY_SIZE))
    }
}

impl ProgramHeader {
    pub(super) fn parse(bytes: &[u8]) -> Option<ProgramHeader> {
        Some(ProgramHeader {
            kind: u32_at(bytes, 0)?,
            flags: u32_at(bytes, 4)?,
            offset: u64_at(bytes, 8)?,
            address: u64_at(bytes, 16)?,
            file_size: u64_at(bytes, 32)?,
            memory_size: u64_at(bytes, 40)?,
        })
    }
}

fn check_ident(bytes: &[u8]) -> Result<(), Wrong> {
    match bytes {
        [0x7f, b'E', b'L', b'F', 2, 1, ..] => Ok(()),
        [0x7f, b'E', b'L', b'F', 1, ..] => Err(Wrong::Bits32),
        [0x7f, b'E', b'L', b'F', 2, 2, ..] => Err(Wrong::BigEndian),
        [0x7f, b'E', b'L', b'F', ..] => Err(Wrong::Damaged("its ELF identification is cut off or invalid".to_owned())),
        _ => Err(Wrong::NotElf),
    }
}

fn kind_name(kind: u16) -> &'static str {
    match elf::FileType(kind) {
        elf::ET_EXEC => "an executable",
        elf::ET_DYN => "an executable or a shared library",
        elf::ET_REL => "an object file",
        _ => "an ELF file of an unknown kind",
    }
}

#[cfg(target_arch = "x86_64")]
const OUR_MACHINE: u16 = elf::EM_X86_64.0;
#[cfg(target_arch = "aarch64")]
const OUR_MACHINE: u16 = elf::EM_AARCH64.0;

/// The architecture's name as `uname -m` and Rust's targets have it.
fn machine_name(machine: u16) -> String {
    let name = match elf::Machine(machine) {
        elf::EM_X86_64 => "x86_64",
        elf::EM_AARCH64 => "aarch64",
        elf::EM_PPC64 => "powerpc64",
        elf::EM_S390 => "s390x",
        elf::EM_RISCV => "riscv64",
        elf::EM_LOONGARCH => "loongarch64",
        _ => return format!("ELF machine {machine}"),
    };
    name.to_owned()
}
