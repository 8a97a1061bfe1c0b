//! nginx processes.

use super::{Session, failed};
use crate::cli::plan::ListFormat;
use crate::report::ps::{ProcessRow, write_table};
use crate::report::rows;
use crate::snapshot::human::human_count;
use std::io::{self, Write};

/// `poolscope ps`.
pub(super) fn run(session: &mut Session<'_>, format: ListFormat, out: &mut dyn Write) -> io::Result<()> {
    let listed = session.from.processes();
    if listed.is_empty() {
        let why = "no nginx is running here: neither a title nor the name of a binary says so; if it runs in a container, \
                   look from its host, and if processes of others are hidden (hidepid), as root";
        return failed(session, why);
    }
    let unknown = listed.iter().filter(|listed| listed.process.binary.is_none()).count() as u64;
    if unknown > 0 {
        session.tell(&format!(
            "which binary {} may not be read, and is shown as \"?\": run poolscope with sudo, or give it CAP_SYS_PTRACE",
            match unknown {
                1 => "1 process runs".to_owned(),
                several => format!("{} processes run", human_count(several)),
            }
        ));
    }
    match format {
        ListFormat::Table { limit } => write_table(&listed, session.plan.style, limit, out),
        ListFormat::Machine(machine) => rows::write(listed.iter().map(ProcessRow::from), machine, out),
    }
}
