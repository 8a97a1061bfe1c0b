//! The ELF headers of a module as they lie in memory: its program headers and its build-id.

use super::header::ProgramHeader;
use super::storage::{u16_at, u32_at, u64_at};
use crate::addr::{Addr, AddrRange};
use crate::target::memory::Memory;
use object::elf;

/// Most program headers of a module that are read; linkers make about a dozen.
const MAX_PROGRAMS: u64 = 256;

/// Bytes of a program header.
const ENTRY_SIZE: u64 = 56;

/// Most bytes of notes of a module that are read.
const MAX_NOTES: u64 = 64 * 1024;

/// Where the parts of a file are mapped: `(range, offset in the file)`.
pub(super) type Ranges = [(AddrRange, u64)];

/// Where the byte at `offset` in the file is mapped.
fn address_of(ranges: &Ranges, offset: u64) -> Option<Addr> {
    ranges.iter().find_map(|(range, start)| {
        let within = offset.checked_sub(*start).filter(|within| *within < range.len())?;
        Some(range.start + within)
    })
}

/// The program headers of the module whose ELF header is mapped at `header`.
pub(super) fn programs(memory: &impl Memory, header: Addr) -> Option<Vec<ProgramHeader>> {
    let mut bytes = [0; 64];
    memory.read(header, &mut bytes).ok()?;
    let is_elf = bytes.starts_with(b"\x7fELF\x02\x01") && u64::from(u16_at(&bytes, 54)?) == ENTRY_SIZE;
    let table = u64_at(&bytes, 32).filter(|_| is_elf)?;
    table_at(memory, header + table, u64::from(u16_at(&bytes, 56)?))
}

/// `count` program headers at `address`.
pub(super) fn table_at(memory: &impl Memory, address: Addr, count: u64) -> Option<Vec<ProgramHeader>> {
    let mut bytes = vec![0; (count.min(MAX_PROGRAMS) * ENTRY_SIZE) as usize];
    memory.read(address, &mut bytes).ok()?;
    Some(bytes.chunks_exact(ENTRY_SIZE as usize).filter_map(ProgramHeader::parse).collect())
}

/// The build-id of the module that is mapped at `ranges`: both Linux and gcore save the first page of each binary so that it
/// can be found again.
pub(super) fn build_id(memory: &impl Memory, ranges: &Ranges) -> Option<Vec<u8>> {
    let programs = programs(memory, address_of(ranges, 0)?)?;
    programs.iter().filter(|program| program.kind == elf::PT_NOTE.0).find_map(|program| {
        let mut notes = vec![0; program.file_size.min(MAX_NOTES) as usize];
        memory.read(address_of(ranges, program.offset)?, &mut notes).ok()?;
        build_id_note(&notes)
    })
}

/// The build-id among the notes of one segment.
fn build_id_note(notes: &[u8]) -> Option<Vec<u8>> {
    let mut rest = notes;
    loop {
        let (name_size, size) = (u32_at(rest, 0)? as usize, u32_at(rest, 4)? as usize);
        let kind = u32_at(rest, 8)?;
        let after = rest.get(12..)?;
        let contents = after.get(name_size.checked_next_multiple_of(4)?..)?;
        if kind == elf::NT_GNU_BUILD_ID.0 && after.starts_with(b"GNU\0") && name_size == 4 && size > 0 {
            return contents.get(..size).map(<[u8]>::to_vec);
        }
        rest = contents.get(size.checked_next_multiple_of(4)?..)?;
    }
}

/// Where the loadable parts of a module lie that was loaded with `bias`, by its program headers: whole pages.
pub(super) fn ranges_of(programs: &[ProgramHeader], bias: u64, page_size: u64) -> Vec<(AddrRange, u64)> {
    let loads = programs.iter().filter(|program| program.kind == elf::PT_LOAD.0 && program.memory_size > 0);
    loads
        .map(|program| {
            let start = Addr(program.address.wrapping_add(bias));
            let end = (start + program.memory_size).align_up(page_size);
            let skipped = start.0 - start.align_down(page_size).0;
            (AddrRange::new(start.align_down(page_size), end), program.offset.saturating_sub(skipped))
        })
        .collect()
}
