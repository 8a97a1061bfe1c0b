//! How much of the process a core holds.

use super::Core;

/// How much of the process's memory a core holds, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Completeness {
    /// All memory that the core describes.
    pub mapped: u64,
    /// What its writer left out on purpose, such as the text of binaries.
    pub not_saved: u64,
    /// What of `not_saved` files answer for that were added by [`Core::add_file`].
    pub from_files: u64,
    /// What its headers promise and the file does not hold: it was cut off or is damaged.
    pub missing: u64,
    /// What is wrong with the file, in one sentence; `None` if nothing is.
    pub problem: Option<String>,
}

impl Core {
    /// How much of the process's memory it holds.
    pub fn completeness(&self) -> Completeness {
        let length = self.storage.len();
        let sum = |of: &dyn Fn(&super::segments::Segment) -> u64| {
            self.segments.list.iter().fold(0u64, |sum, segment| sum.saturating_add(of(segment)))
        };
        let missing = sum(&|segment| segment.missing(length));
        Completeness {
            mapped: sum(&|segment| segment.range.len()),
            not_saved: sum(&|segment| segment.range.len() - segment.saved),
            from_files: self.from_files,
            missing,
            problem: self.problem(missing, length),
        }
    }

    /// True if its writer left out memory that the process could write to: a file that is shared, or what was marked not to be
    /// saved (`MADV_DONTDUMP`).
    pub fn lacks_writable_memory(&self) -> bool {
        self.segments.list.iter().any(|segment| segment.writable && segment.saved < segment.range.len())
    }

    fn problem(&self, missing: u64, length: u64) -> Option<String> {
        let mut problems = self.problems.clone();
        if missing > 0 && problems.is_empty() {
            problems.push(format!("the core was cut off after {length} bytes"));
        }
        if missing > 0 {
            problems.push(format!("{missing} bytes of memory are missing that its headers promise"));
        }
        (!problems.is_empty()).then(|| problems.join("; "))
    }
}

/// What to say of a core that lacks some of its program headers.
pub(super) fn header_problem(found: u64, claimed: u64) -> Option<String> {
    (found < claimed).then(|| format!("only {found} of its {claimed} program headers are there"))
}
