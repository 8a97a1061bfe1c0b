//! Shows on standard error what is being done, while it is being done.

use crate::analysis::Progress;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The step that is being done, on one line that is cleared at the end. Several threads may show theirs: the latest is seen.
pub(super) struct Steps {
    shown: bool,
    /// Held by who writes on the terminal.
    line: Mutex<()>,
}

impl Steps {
    /// Shows steps only if `shown` is set: standard error must be a terminal.
    pub(super) fn new(shown: bool) -> Steps {
        Steps { shown, line: Mutex::new(()) }
    }

    /// Steps of one of several targets, with its name before each.
    pub(super) fn of(&self, target: String) -> StepsOf<'_> {
        StepsOf { steps: self, target }
    }

    /// Takes the line away for as long as the guard lives, so that something else can be written. Who shows a step meanwhile
    /// waits.
    pub(super) fn hide(&self) -> MutexGuard<'_, ()> {
        let guard = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        self.clear();
        guard
    }

    fn clear(&self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Progress for Steps {
    fn step(&self, what: &str) {
        if self.shown {
            let _line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
            // Nobody misses a step that cannot be shown.
            let _ = write!(io::stderr(), "\r\x1b[K{what} ...");
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Steps of one of several targets.
pub(super) struct StepsOf<'a> {
    steps: &'a Steps,
    target: String,
}

impl Progress for StepsOf<'_> {
    fn step(&self, what: &str) {
        self.steps.step(&format!("{}: {what}", self.target));
    }
}
