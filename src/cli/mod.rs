//! The command line: what was typed ([`args`]), what it means (`plan`), and what is done (`run`).

mod arena;
pub mod args;
mod courtesy;
mod obtain;
mod outcome;
mod plan;
mod progress;
mod run;
mod terminal;
mod usage;

pub use outcome::Outcome;

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use terminal::Environment;

/// Runs the command that was typed, and says how it ended.
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    courtesy::begin();
    let environment = Environment::of_this_process();
    let plan =
        usage::parse(words).and_then(|args| plan::Plan::new(args, &environment)).unwrap_or_else(|wrong| wrong.exit());
    courtesy::limit_memory(plan.options.memory_limit);
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let outcome = run::run(&plan, &obtain::Real::default(), &mut out, &mut io::stderr());
    let flushed = out.flush().map_err(anyhow::Error::from);
    outcome.and_then(|outcome| flushed.map(|()| outcome)).unwrap_or_else(outcome::of_error).into()
}
