//! What stands in the way of a snapshot.

use super::{Session, told};
use crate::analysis::doctor::State;
use crate::cli::outcome::Outcome;
use crate::cli::progress::Steps;
use crate::report::{doctor, json};
use std::io::{self, Write};

/// `poolscope doctor`.
pub(super) fn run(session: &mut Session<'_>, pids: &[i32], as_json: bool, out: &mut dyn Write) -> io::Result<()> {
    let mut is_first = true;
    for pid in pids {
        let progress = Steps::new(session.plan.progress);
        let examined = session.from.examine(*pid, &session.plan.options, &progress);
        drop(progress);
        let diagnosis = match examined {
            Ok(diagnosis) => diagnosis,
            Err(error) => {
                session.fail(&told(&error));
                continue;
            }
        };
        session.outcome = session.outcome.max(outcome(diagnosis.verdict));
        if as_json {
            json::write_line(&diagnosis, out)?;
            continue;
        }
        if !std::mem::take(&mut is_first) {
            out.write_all(b"\n")?;
        }
        doctor::write(&diagnosis, session.plan.style, out)?;
    }
    Ok(())
}

/// What a snapshot would end with.
fn outcome(verdict: State) -> Outcome {
    match verdict {
        State::Ok | State::Note => Outcome::Fine,
        State::Warn => Outcome::Incomplete,
        State::Stops => Outcome::Failed,
    }
}
