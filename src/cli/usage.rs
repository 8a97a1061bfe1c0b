//! What is said to somebody who typed something wrong, beyond what clap finds itself.

use super::args::Args;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use std::ffi::OsString;

/// Reads the words of the command line.
///
/// # Errors
/// Those of clap, with a hint where a pid stands where a command should.
pub(super) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Args, clap::Error> {
    Args::try_parse_from(words).map_err(|mut error| {
        if let Some(pid) = pid_for_command(&error) {
            let hint = format!("to look at process {pid}, type `poolscope snapshot {pid}`");
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint.into()]));
        }
        error
    })
}

/// The pid that was typed in place of a command.
fn pid_for_command(error: &clap::Error) -> Option<i32> {
    match (error.kind(), error.get(ContextKind::InvalidSubcommand)) {
        (ErrorKind::InvalidSubcommand, Some(ContextValue::String(word))) => word.parse().ok().filter(|pid| *pid > 0),
        _ => None,
    }
}

/// A usage error of ours, shown with the usage of the command of that name.
pub(super) fn wrong(name: &str, kind: ErrorKind, message: impl std::fmt::Display) -> clap::Error {
    let mut all = Args::command();
    // Only a built command knows its full name, which its usage begins with.
    all.build();
    let error = clap::Error::raw(kind, message);
    match all.find_subcommand_mut(name) {
        Some(command) => error.format(command),
        None => error.format(&mut all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(words: &str) -> String {
        parse(words.split(' ').map(OsString::from)).unwrap_err().to_string()
    }

    #[test]
    fn a_bare_pid_is_met_with_the_command_for_it() {
        assert!(refused("poolscope 1234").contains("tip: to look at process 1234, type `poolscope snapshot 1234`"));
        assert!(!refused("poolscope snap").contains("to look at process"));
        assert!(!refused("poolscope 0").contains("to look at process"));
    }

    #[test]
    fn the_usage_is_that_of_the_command() {
        for name in ["snapshot", "pools", "chunks"] {
            let args = parse(["poolscope", name, "1"].map(OsString::from)).unwrap();
            let text = wrong(args.command.name(), ErrorKind::ValueValidation, "no").to_string();
            assert!(text.starts_with("error: no") && text.contains(&format!("Usage: poolscope {name} ")), "{text}");
        }
    }
}
