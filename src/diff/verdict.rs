//! What kind of growth it is: in use, free memory that glibc keeps, or outside malloc. These call for different remedies.

use super::change::Change;
use super::totals::TotalChange;
use serde::Serialize;

/// What kind of growth it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing grew.
    Nothing,
    /// The program holds more: a leak, or more work.
    InUse,
    /// The program holds no more than before, and glibc more: fragmentation, or a peak that has passed.
    FreeButKept,
    /// The program has freed memory, and glibc keeps it: neither of them together has more than before.
    FreedAndKept,
    /// What grew most is outside malloc: shared zones, anonymous mappings such as LuaJIT's, files, stacks.
    OutsideMalloc,
    /// The heap as a whole grew, or nothing is known of it in one of the snapshots: what is in use cannot be told.
    HeapOfUnknownUse,
}

/// Outside malloc, what is in memory comes and goes by the page: a stack that was used a little deeper, a page of a library
/// that was run for the first time. Less growth than this is in the table of parts, and is no verdict.
const PAGE_NOISE: i128 = 64 << 10;

/// How much a part of the process grew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Part<'a> {
    /// What it is, as in [`crate::snapshot::model::MemoryRow::kind`].
    pub kind: &'a str,
    /// The same for people.
    pub label: &'a str,
    /// Its bytes: of chunks for malloc's parts; in memory for the others, or of address space if that is not known.
    pub bytes: Change,
}

/// The verdict, with what it follows from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judgement<'a> {
    /// What kind of growth it is.
    pub verdict: Verdict,
    /// The parts that grew, most growth first.
    pub grew: Vec<Part<'a>>,
}

impl<'a> Judgement<'a> {
    /// Judges by where the memory is.
    pub(super) fn of(totals: &[TotalChange<'a>]) -> Judgement<'a> {
        let parts: Vec<Part<'_>> = totals.iter().filter(|row| !row.nested).filter_map(part).collect();
        let by = |kind: &str| parts.iter().find(|part| part.kind == kind).map(|part| part.bytes.by());
        let mut grew: Vec<Part<'_>> = parts.iter().filter(|part| part.has_grown()).copied().collect();
        grew.sort_by_key(|part| std::cmp::Reverse(part.bytes.by()));
        let heap_known = parts.iter().any(|part| matches!(part.kind, "glibc_in_use" | "brk_heap"));
        let verdict = match grew.first().map(|part| part.kind) {
            _ if !heap_known => Verdict::HeapOfUnknownUse,
            None => Verdict::Nothing,
            Some("glibc_in_use") => Verdict::InUse,
            Some("glibc_free") => match by("glibc_in_use").unwrap_or(0) + by("glibc_free").unwrap_or(0) {
                // Memory that is freed in small pieces costs malloc a few bytes: what was freed is about what is kept.
                sum if by("glibc_in_use").is_some_and(|bytes| bytes < 0) && sum <= 0 => Verdict::FreedAndKept,
                _ => Verdict::FreeButKept,
            },
            Some("glibc_own" | "brk_heap") => Verdict::HeapOfUnknownUse,
            Some(_) => Verdict::OutsideMalloc,
        };
        Judgement { verdict, grew }
    }

    /// What grew most.
    pub fn main(&self) -> Option<&Part<'a>> {
        self.grew.first()
    }
}

impl Part<'_> {
    /// True if it grew by more than comes and goes by itself.
    fn has_grown(&self) -> bool {
        let noise = if is_exact(self.kind) { 0 } else { PAGE_NOISE };
        self.bytes.by() > noise
    }
}

fn is_exact(kind: &str) -> bool {
    kind.starts_with("glibc_")
}

/// Malloc's own parts are measured in chunks, exactly. Of the others address space means little: a shared zone has its
/// size from the start, and fills up.
fn part<'a>(row: &TotalChange<'a>) -> Option<Part<'a>> {
    let bytes = if is_exact(row.kind) { row.size } else { row.resident.or(row.size) };
    bytes.map(|bytes| Part { kind: row.kind, label: row.label, bytes })
}
