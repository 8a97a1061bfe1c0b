//! Times and sizes as people read them.

use poolscope::snapshot::human::human_bytes;

/// Milliseconds, of seconds.
pub(crate) fn milliseconds(seconds: f64) -> String {
    let value = seconds * 1e3;
    if value.abs() < 10.0 { format!("{value:.1} ms") } else { format!("{value:.0} ms") }
}

/// Seconds, with hundredths.
pub(crate) fn seconds(seconds: f64) -> String {
    format!("{seconds:.2} s")
}

/// KiB, MiB and so on.
pub(crate) fn bytes(bytes: f64) -> String {
    human_bytes(bytes as u64)
}
