//! Functions and source lines of addresses, through addr2line. Everything it needs is loaded when first asked.

use super::SourceLine;
use super::bytes::Bytes;
use super::dwarf::Dwarf;
use super::error::DebugError;
use super::file::DwarfFile;
use crate::addr::FileAddr;
use addr2line::{Context, Frame, FrameIter, LookupContinuation, LookupResult, SplitDwarfLoad};
use gimli::{DwoId, EndianReader, LittleEndian, SectionId};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

type Reader = EndianReader<LittleEndian, Bytes>;

/// The line tables and functions of a module.
pub(crate) struct Lines {
    /// addr2line parses units as they are asked for, into cells that only one thread may fill at a time.
    context: Mutex<Context<Reader>>,
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lines")
    }
}

/// What is needed beyond the sections for types.
const LINE_SECTIONS: [SectionId; 9] = [
    SectionId::DebugInfo,
    SectionId::DebugAbbrev,
    SectionId::DebugStr,
    SectionId::DebugLineStr,
    SectionId::DebugStrOffsets,
    SectionId::DebugAddr,
    SectionId::DebugLine,
    SectionId::DebugRanges,
    SectionId::DebugRngLists,
];

impl Lines {
    /// Reads which addresses belong to which unit.
    pub(crate) fn open(dwarf: &Dwarf) -> Result<Lines, DebugError> {
        dwarf.main.prefetch(&LINE_SECTIONS);
        let mut sections = owned(&dwarf.main)?;
        // Without its supplement a file still has its line tables; names that are in the supplement are left out.
        if let Ok(Some(supplement)) = dwarf.supplement() {
            sections.set_sup(owned(supplement)?);
        }
        let context = Context::from_dwarf(sections)
            .map_err(|error| DebugError::malformed(dwarf.main.path(), ".debug_info", error))?;
        Ok(Lines { context: Mutex::new(context) })
    }

    /// The function and line of the instruction that holds the byte at an address.
    pub(crate) fn at(&self, dwarf: &Dwarf, address: FileAddr) -> Result<Option<SourceLine>, DebugError> {
        // No instruction lies at the very top, and addr2line adds one to the address.
        if address.0 == u64::MAX {
            return Ok(None);
        }
        let damaged = |error| DebugError::malformed(dwarf.main.path(), ".debug_line", error);
        let context = self.context.lock().unwrap_or_else(PoisonError::into_inner);
        let frames = finish(dwarf, context.find_frames(address.0)).map_err(damaged)?;
        source_line(frames).map_err(damaged)
    }
}

/// Runs a lookup to its end, giving it the split files that it asks for and that there are.
fn finish<L: LookupContinuation<Buf = Reader>>(dwarf: &Dwarf, mut lookup: LookupResult<L>) -> L::Output {
    loop {
        match lookup {
            LookupResult::Output(output) => return output,
            LookupResult::Load { load, continuation } => lookup = continuation.resume(split(dwarf, &load)),
        }
    }
}

fn split(dwarf: &Dwarf, load: &SplitDwarfLoad<Reader>) -> Option<Arc<gimli::Dwarf<Reader>>> {
    let DwoId(wanted) = load.dwo_id;
    let index = dwarf.splits().ok()?.units.iter().position(|unit| unit.id.0 == wanted)?;
    let mut sections = owned(dwarf.split(index).ok()?).ok()?;
    sections.make_dwo(&load.parent);
    Some(Arc::new(sections))
}

fn owned(file: &DwarfFile) -> Result<gimli::Dwarf<Reader>, DebugError> {
    gimli::Dwarf::load(|id| file.section(id).map(|bytes| EndianReader::new(bytes.clone(), LittleEndian)))
}

fn source_line(mut frames: FrameIter<'_, Reader>) -> Result<Option<SourceLine>, gimli::Error> {
    let Some(innermost) = frames.next()? else { return Ok(None) };
    let mut line = SourceLine {
        function: name(&innermost),
        file: innermost.location.as_ref().and_then(|location| location.file).map(Into::into),
        line: innermost.location.as_ref().and_then(|location| location.line),
        inlined_into: Vec::new(),
    };
    while let Some(outer) = frames.next()? {
        line.inlined_into.extend(name(&outer));
    }
    Ok(Some(line))
}

fn name(frame: &Frame<'_, Reader>) -> Option<String> {
    frame.function.as_ref().and_then(|function| function.raw_name().ok().map(|name| name.into_owned()))
}
