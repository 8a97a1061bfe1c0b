//! The `poolscope` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    poolscope::cli::main(std::env::args_os())
}
