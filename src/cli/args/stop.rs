//! How a running process may be stopped.

use crate::report::rows::parse_size;
use clap::Args as ClapArgs;
use std::time::Duration;

/// How long it may stand still.
#[derive(Debug, Clone, Copy, ClapArgs)]
#[command(next_help_heading = "Stops of a running process")]
pub struct StopArgs {
    /// How long it may stand still at a time (`5ms`, `1s`; 2ms or more). What takes longer is read in several stops, and the
    /// report says so
    #[arg(long, value_name = "TIME", value_parser = parse_pause, default_value = "20ms", conflicts_with = "single_stop")]
    pub max_pause: Duration,
    /// Read everything in one stop, however long: only that gives an exact picture of one moment
    #[arg(long)]
    pub single_stop: bool,
    /// Take at most so much memory (`200M`; 64M or more). Before the process is stopped it is foreseen how much that would be,
    /// and what would take more is refused
    #[arg(long, value_name = "SIZE", value_parser = parse_memory, help_heading = "Our own memory")]
    pub memory_limit: Option<u64>,
}

impl StopArgs {
    /// How long it may stand still at a time, if that is limited.
    pub fn longest(self) -> Option<Duration> {
        (!self.single_stop).then_some(self.max_pause)
    }
}

/// With less memory than this nothing can be looked at.
const LEAST_MEMORY: u64 = 64 << 20;

fn parse_memory(text: &str) -> Result<u64, String> {
    match parse_size(text) {
        Ok(bytes) if bytes >= LEAST_MEMORY => Ok(bytes),
        Ok(_) => Err(format!("{text} is too little to look at any process: give 64M or more")),
        Err(error) => Err(error.to_string()),
    }
}

/// To stop a process and to let it go takes most of a millisecond, so that in stops of one hardly anything is read.
const SHORTEST: Duration = Duration::from_millis(2);

/// Nobody would wait for longer ones.
const LONGEST: Duration = Duration::from_secs(3600);

fn parse_pause(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is no time: write it in ms or s, as `5ms` or `0.5s`");
    let (number, unit) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1e-3),
        (None, Some(number)) => (number, 1.0),
        (None, None) => return Err(wrong()),
    };
    let seconds = number.trim_end().parse::<f64>().map_err(|_| wrong())? * unit;
    let pause = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
    match pause {
        _ if pause < SHORTEST => Err(format!("{text} is too short to stop and to read anything: give 2ms or more")),
        _ if pause > LONGEST => Err(format!("{text} is too long for a stop: give 3600s or less, or --single-stop")),
        _ => Ok(pause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_a_unit() {
        assert_eq!(parse_pause("5ms"), Ok(Duration::from_millis(5)));
        assert_eq!(parse_pause("0.5s"), Ok(Duration::from_millis(500)));
        for wrong in ["5", "ms", "-5ms", "inf s", "NaNs", "1e99s", "5m"] {
            assert!(parse_pause(wrong).unwrap_err().contains("is no time"), "{wrong}");
        }
        assert!(parse_pause("1e18s").unwrap_err().contains("too long"));
        for short in ["0s", "0.1ms", "1ms"] {
            assert!(parse_pause(short).unwrap_err().contains("give 2ms or more"), "{short}");
        }
    }

    #[test]
    fn memory_has_a_least_size() {
        assert_eq!(parse_memory("200M"), Ok(200 << 20));
        assert!(parse_memory("1M").unwrap_err().contains("too little"));
        assert!(parse_memory("much").is_err());
    }
}
