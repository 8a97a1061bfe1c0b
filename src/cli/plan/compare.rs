//! The command that compares.

use super::{ChangeFormat, Target, Task};
use crate::cli::args::{DiffArgs, DiffFormat};
use crate::report::rows::Machine;
use crate::report::style::Style;
use crate::report::table::Page;

/// How many single pools of each kind of change are listed unless asked for more.
const USUAL: u32 = 5;

/// `poolscope diff`.
pub(super) fn diff(args: DiffArgs, style: Style) -> Result<Task, clap::Error> {
    let targets = args.targets.into_iter().map(|typed| Target::of("diff", typed)).collect::<Result<_, _>>()?;
    let format = match args.format {
        DiffFormat::Table => ChangeFormat::Table(Page { style, top: args.top.unwrap_or(USUAL) as usize }),
        _ if args.top.is_some() => {
            return Err(super::conflict("diff", "--top is for the table: other formats hold all pools that changed"));
        }
        DiffFormat::Json => ChangeFormat::Json,
        DiffFormat::Ndjson => ChangeFormat::Machine(Machine::Ndjson),
        DiffFormat::Csv => ChangeFormat::Machine(Machine::Csv),
    };
    Ok(Task::Diff { targets, format, allowed: args.fail_on_growth })
}
