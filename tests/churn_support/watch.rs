//! Makes room in a churning program's logs until it is stopped, and then asks them what was live.

use std::sync::{Mutex, PoisonError};

use poolscope::analysis::Progress;
use poolscope::target::stops::StopLog;
use poolscope_fixtures::{Churn, Life};

/// What the logs say of the stops.
#[derive(Debug, Default)]
pub struct Witnessed {
    /// A time of each stop, in order ([`Churn::time_of`]).
    pub times: Vec<u64>,
    /// What was live at one of them.
    pub lives: Vec<Life>,
    /// Mallocs and frees between the first of them and the last.
    pub changes: u64,
}

/// Watches over one snapshot.
pub struct Watch<'a>(Mutex<State<'a>>);

struct State<'a> {
    churn: &'a mut Churn,
    outcome: Result<Witnessed, poolscope_fixtures::Error>,
}

impl<'a> Watch<'a> {
    pub fn over(churn: &'a mut Churn) -> Watch<'a> {
        Watch(Mutex::new(State { churn, outcome: Ok(Witnessed::default()) }))
    }

    /// # Errors
    /// When the logs could not be read.
    pub fn witnessed(self) -> Result<Witnessed, poolscope_fixtures::Error> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner).outcome
    }
}

impl Progress for Watch<'_> {
    /// Room is needed from here on; what fills the logs before takes time to read and is of no use.
    fn step(&self, what: &str) {
        if !what.starts_with("stopping") {
            return;
        }
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.outcome.as_ref().is_ok_and(|witnessed| witnessed.times.is_empty())
            && let Err(error) = state.churn.lives(&[])
        {
            state.outcome = Err(error);
        }
    }

    fn stopped(&self, log: &StopLog) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.outcome.is_ok() {
            state.outcome = witness(state.churn, log);
        }
    }
}

fn witness(churn: &mut Churn, log: &StopLog) -> Result<Witnessed, poolscope_fixtures::Error> {
    // No thread looks at the clock while it stands still: any time of a stop will do, and its middle will best.
    let middle = |stop: &std::ops::Range<std::time::Instant>| stop.start + (stop.end - stop.start) / 2;
    let times: Vec<u64> = log.used().map(|stop| churn.time_of(middle(&stop.still))).collect();
    let lives = churn.lives(&times)?;
    Ok(Witnessed { lives, changes: churn.changes(), times })
}
