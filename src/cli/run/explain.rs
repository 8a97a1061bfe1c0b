//! What is at an address.

use super::Session;
use crate::cli::plan::Target;
use crate::cli::progress::Steps;
use crate::report::{explain, json};
use crate::snapshot::pool::PoolRow;
use std::io::{self, Write};

/// `poolscope explain`.
pub(super) fn run(
    session: &mut Session<'_>,
    target: &Target,
    addresses: &[u64],
    top: usize,
    as_json: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let progress = Steps::new(session.plan.progress);
    let explained = session.from.explain(target, addresses, &session.plan.options, &progress);
    drop(progress);
    let (snapshot, mut explained) = match explained {
        Ok(explained) => explained,
        Err(error) => return super::failed(session, &super::told(&error)),
    };
    if !session.plan.options.show_clients {
        explained.iter_mut().flat_map(|explanation| &mut explanation.pool).for_each(PoolRow::hide_client);
    }
    session.warn(target, &snapshot);
    for (index, explanation) in explained.iter().enumerate() {
        if as_json {
            json::write_line(explanation, out)?;
            continue;
        }
        if index > 0 {
            out.write_all(b"\n")?;
        }
        explain::write(explanation, session.plan.style, top, out)?;
    }
    Ok(())
}
