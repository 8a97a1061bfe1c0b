//! Shows on standard error what is being done, while it is being done.

use crate::analysis::Progress;
use std::io::{self, Write};

/// The step that is being done, on one line that is cleared at the end.
pub(super) struct Steps {
    shown: bool,
}

impl Steps {
    /// Shows steps only if `shown` is set: standard error must be a terminal.
    pub(super) fn new(shown: bool) -> Steps {
        Steps { shown }
    }
}

impl Progress for Steps {
    fn step(&self, what: &str) {
        if self.shown {
            // Nobody misses a step that cannot be shown.
            let _ = write!(io::stderr(), "\r\x1b[K{what} ...");
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
