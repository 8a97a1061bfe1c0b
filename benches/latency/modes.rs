//! What is done to the worker while it is under load, and what that came to.

use std::time::Duration;

use serde::Deserialize;

use crate::common::run::Finished;
use crate::common::spread::Spread;
use crate::live_tool::Recipe;
use crate::load::{Report, Seen};

/// Nothing, or snapshots one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Alone,
    Default,
    FiveMilliseconds,
    SingleStop,
}

impl Mode {
    pub(crate) const ALL: [Mode; 4] = [Mode::Alone, Mode::Default, Mode::FiveMilliseconds, Mode::SingleStop];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Alone => "no snapshots",
            Mode::Default => "snapshot",
            Mode::FiveMilliseconds => "snapshot --max-pause 5ms",
            Mode::SingleStop => "snapshot --single-stop",
        }
    }

    /// How poolscope is called, if it is.
    pub(crate) fn recipe(self) -> Option<Recipe> {
        let options: &[&str] = match self {
            Mode::Alone => return None,
            Mode::Default => &[],
            Mode::FiveMilliseconds => &["--max-pause", "5ms"],
            Mode::SingleStop => &["--single-stop"],
        };
        Some(Recipe::poolscope(&[&["snapshot", "{pid}", "--format", "json"], options].concat()))
    }
}

/// poolscope's exit status for a snapshot in which something does not agree: with several stops, what has changed between them.
pub(crate) const INCOMPLETE: i32 = 3;

/// A snapshot, by its own word.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) freeze: Freeze,
    pub(crate) wall: Duration,
    pub(crate) incomplete: bool,
}

/// The `freeze` of its JSON.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Freeze {
    pub(crate) pause_microseconds: u64,
    pub(crate) sum_microseconds: u64,
    pub(crate) stops: u64,
}

#[derive(Deserialize)]
struct Document {
    freeze: Freeze,
}

impl Taken {
    /// # Errors
    /// What is wrong with what it printed.
    pub(crate) fn of(finished: &Finished) -> Result<Taken, String> {
        let document: Document =
            serde_json::from_str(&finished.stdout).map_err(|cause| format!("poolscope's JSON: {cause}"))?;
        Ok(Taken { freeze: document.freeze, wall: finished.wall, incomplete: finished.status == INCOMPLETE })
    }
}

/// All turns of one mode.
pub(crate) struct Tally {
    pub(crate) mode: Mode,
    pub(crate) own: Seen,
    pub(crate) proxied: Seen,
    pub(crate) taken: Vec<Taken>,
    /// Snapshots that failed.
    pub(crate) failed: u64,
}

impl Tally {
    pub(crate) fn new(mode: Mode) -> Tally {
        Tally { mode, own: Seen::default(), proxied: Seen::default(), taken: Vec::new(), failed: 0 }
    }

    /// Adds what wrk measured in a turn, in the order of `Traffic::ALL`.
    pub(crate) fn see(&mut self, reports: &[Report]) {
        for (seen, report) in [&mut self.own, &mut self.proxied].into_iter().zip(reports) {
            seen.add(report);
        }
    }

    /// Adds a snapshot.
    pub(crate) fn take(&mut self, outcome: Result<Taken, String>) {
        match outcome {
            Ok(taken) => self.taken.push(taken),
            Err(reason) => {
                eprintln!("{}: {reason}", self.mode.name());
                self.failed += 1;
            }
        }
    }

    /// Snapshots, with those that failed.
    pub(crate) fn tried(&self) -> u64 {
        self.taken.len() as u64 + self.failed
    }

    pub(crate) fn failed_requests(&self) -> u64 {
        self.own.failed + self.proxied.failed
    }

    pub(crate) fn incomplete(&self) -> usize {
        self.taken.iter().filter(|taken| taken.incomplete).count()
    }

    /// Of the snapshots.
    pub(crate) fn spread(&self, value: impl Fn(&Taken) -> f64) -> Option<Spread> {
        Spread::of(self.taken.iter().map(value).collect())
    }

    /// Which part of the time under load the worker stood still, from 0 to 1, by poolscope's word.
    pub(crate) fn stood_still(&self) -> f64 {
        let stopped: u64 = self.taken.iter().map(|taken| taken.freeze.sum_microseconds).sum();
        stopped as f64 / 1e6 / self.own.time.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}
