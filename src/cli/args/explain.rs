//! Words of the command that explains an address.

use super::stop::StopArgs;
use super::target::{ClientArgs, CoreArgs, TargetArg, parse_target};
use clap::{Args as ClapArgs, ValueEnum};

/// `poolscope explain`.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  poolscope explain 4242 0x55d0c8a3f2b0\n  poolscope explain before.snap 0x55d0c8a3f2b0\n  poolscope \
                  explain --core core.4242 0x55d0c8a3f2b0 0x7f601d7f6ac0"
)]
pub struct ExplainArgs {
    /// Process id of an nginx worker, or a saved snapshot or core dump (not with --core), and then addresses in hex
    #[arg(value_names = ["PID|FILE", "ADDRESS"], required = true, num_args = 1..)]
    pub words: Vec<String>,
    /// Where a core is.
    #[command(flatten)]
    pub core: CoreArgs,
    /// At most N of those that point there
    #[arg(long, value_name = "N", value_parser = super::parse_rows, default_value = "10")]
    pub top: u32,
    /// What is shown of clients.
    #[command(flatten)]
    pub clients: ClientArgs,
    /// How to write it
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: ExplainFormat,
    /// How it may be stopped.
    #[command(flatten)]
    pub stop: StopArgs,
}

/// How to write an explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ExplainFormat {
    /// For people
    #[default]
    Table,
    /// A JSON document on one line for each address
    Json,
}

impl ExplainArgs {
    /// What is looked at (`None` for the core of --core), and the addresses.
    ///
    /// # Errors
    /// A sentence that says what is missing or wrong.
    pub fn split(&self) -> Result<(Option<TargetArg>, Vec<u64>), String> {
        let (target, addresses) = match (&self.core.core, self.words.split_first()) {
            (Some(_), _) => (None, self.words.as_slice()),
            (None, Some((first, _))) if first.starts_with("0x") => {
                return Err(format!("\"{first}\" comes too early: first the pid or file, then addresses"));
            }
            (None, Some((first, rest))) => (Some(parse_target(first)?), rest),
            (None, None) => (None, &[] as &[String]),
        };
        if addresses.is_empty() {
            return Err("an address is missing: give one or more in hex, such as 0x55d0c8a3f2b0".to_owned());
        }
        let parsed = addresses.iter().map(|text| parse_address(text)).collect::<Result<_, _>>()?;
        Ok((target, parsed))
    }
}

/// Addresses are hex, with `0x` or without, as gdb, /proc/PID/maps and our own rows write them.
fn parse_address(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let is_hex = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let address = if is_hex { u64::from_str_radix(digits, 16).ok() } else { None };
    address.ok_or_else(|| format!("\"{text}\" is not an address: write it in hex, such as 0x55d0c8a3f2b0"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn split(words: &[&str], core: Option<&str>) -> Result<(Option<TargetArg>, Vec<u64>), String> {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        let core = CoreArgs { core: core.map(Into::into), ..CoreArgs::default() };
        let stop = StopArgs { max_pause: Duration::ZERO, single_stop: true, memory_limit: None };
        ExplainArgs { words, core, top: 1, clients: ClientArgs::default(), format: ExplainFormat::Table, stop }.split()
    }

    #[test]
    fn the_first_word_is_the_target_unless_a_core_is_named() {
        assert_eq!(split(&["42", "0x10", "ff"], None), Ok((Some(TargetArg::Pid(42)), vec![0x10, 0xff])));
        assert_eq!(split(&["0x10"], Some("core")), Ok((None, vec![0x10])));
        assert!(split(&["42"], None).unwrap_err().contains("an address is missing"));
        assert!(split(&["42", "main"], None).unwrap_err().contains("is not an address"));
    }
}
