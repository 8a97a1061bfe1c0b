//! What is looked at: a running process, a saved snapshot, or a core dump.

use clap::Args as ClapArgs;
use std::fmt;
use std::path::PathBuf;

/// A process or a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetArg {
    /// A running process, by its pid.
    Pid(i32),
    /// A saved snapshot or a core: its content tells which.
    File(PathBuf),
}

impl fmt::Display for TargetArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetArg::Pid(pid) => write!(f, "{pid}"),
            TargetArg::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Where a core and what goes with it are.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct CoreArgs {
    /// Read this core dump; it may be compressed with zstd, lz4, xz or gzip
    #[arg(long, value_name = "FILE")]
    pub core: Option<PathBuf>,
    /// The binary that a core is of, if it is not where it was
    #[arg(long, value_name = "FILE")]
    pub exe: Option<PathBuf>,
    /// Where the files of the machine that a core is of lie: binary, libraries, debug info
    #[arg(long, value_name = "DIR")]
    pub sysroot: Option<PathBuf>,
}

/// What is shown of clients.
#[derive(Debug, Clone, Copy, Default, ClapArgs)]
pub struct ClientArgs {
    /// Show the addresses of clients and what they asked for; without, nothing of them is read, shown or saved
    #[arg(long)]
    pub show_clients: bool,
}

/// The one thing that a list is of.
#[derive(Debug, Clone, ClapArgs)]
pub struct OneTarget {
    /// Process id of an nginx worker, or a saved snapshot or core dump
    #[arg(value_name = "PID|FILE", value_parser = parse_target, required_unless_present = "core", conflicts_with = "core")]
    pub target: Option<TargetArg>,
    /// Where a core is.
    #[command(flatten)]
    pub core: CoreArgs,
}

/// Process ids are positive numbers (proc(5)); everything else names a file. A file with such a name is written with a
/// folder before it: `./4242`.
pub(super) fn parse_target(text: &str) -> Result<TargetArg, String> {
    let is_number = !text.is_empty() && text.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(pid) if pid > 0 => Ok(TargetArg::Pid(pid)),
        _ if is_number => Err(not_a_pid(text)),
        _ if text.is_empty() => Err(not_a_pid(text)),
        _ => Ok(TargetArg::File(text.into())),
    }
}

/// A process that runs.
pub(super) fn parse_pid(text: &str) -> Result<i32, String> {
    text.parse().ok().filter(|pid| *pid > 0).ok_or_else(|| not_a_pid(text))
}

fn not_a_pid(text: &str) -> String {
    format!("\"{text}\" is not a pid: give the number that `poolscope ps` lists before each process")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pids_are_positive_numbers_and_the_rest_are_files() {
        assert_eq!(parse_target("4242"), Ok(TargetArg::Pid(4242)));
        assert_eq!(parse_target("./4242"), Ok(TargetArg::File("./4242".into())));
        assert_eq!(parse_target("core.4242"), Ok(TargetArg::File("core.4242".into())));
        assert_eq!(parse_pid("4242"), Ok(4242));
        for wrong in ["0", "-5", "99999999999", ""] {
            assert!(parse_target(wrong).unwrap_err().contains("is not a pid"));
            assert!(parse_pid(wrong).unwrap_err().contains("is not a pid"));
        }
    }
}
