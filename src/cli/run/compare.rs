//! What grew.

use super::{Session, failed};
use crate::cli::outcome::Outcome;
use crate::cli::plan::{ChangeFormat, Target};
use crate::diff::Trend;
use crate::report::{diff, rows};
use crate::snapshot::file::Wanted;
use crate::snapshot::human::human_bytes;
use std::io::{self, Write};

/// `poolscope diff`. With `allowed`, more growth than that is an outcome of its own.
pub(super) fn run(
    session: &mut Session<'_>,
    targets: &[Target],
    format: ChangeFormat,
    allowed: Option<u64>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut snapshots = Vec::with_capacity(targets.len());
    for target in targets {
        // Without one of them the rest would be another comparison than the one asked for.
        let Some(snapshot) = session.obtain_one(target, Wanted { pools: true, chunks: false }) else { return Ok(()) };
        session.warn(target, &snapshot);
        snapshots.push(snapshot);
    }
    let trend = match Trend::of(&snapshots) {
        Ok(trend) => trend,
        Err(error) => return failed(session, &error.to_string()),
    };
    match format {
        ChangeFormat::Table(page) => diff::write_table(&trend, &page, out)?,
        ChangeFormat::Json => diff::json::write(&trend, out)?,
        ChangeFormat::Machine(machine) => rows::write(diff::pool_rows(&trend.overall), machine, out)?,
    }
    if let Some(allowed) = allowed {
        let related = &trend.overall.related;
        match related.relation.is_same_process() {
            true => judge(session, trend.overall.growth_in_use(), allowed),
            false => session.fail(&format!("--fail-on-growth has nothing to judge: {}", related.sentence)),
        }
    }
    Ok(())
}

/// Ends with a status of its own if more has grown than is allowed.
fn judge(session: &mut Session<'_>, growth: Option<i128>, allowed: u64) {
    match growth {
        None => session.fail("whether it has grown cannot be told: one of the heaps was not walked"),
        Some(growth) if growth > i128::from(allowed) => {
            session.outcome = session.outcome.max(Outcome::Grew);
            let grown = human_bytes(u64::try_from(growth).unwrap_or(u64::MAX));
            session
                .tell(&format!("what is in use has grown by {grown}, more than the {} allowed", human_bytes(allowed)));
        }
        Some(_) => {}
    }
}
