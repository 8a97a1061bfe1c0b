//! What the benchmarks have in common: running a command and seeing what it costs, folders that are gone afterwards, tables.

pub(crate) mod machine;
pub(crate) mod run;
pub(crate) mod scratch;
pub(crate) mod spread;
pub(crate) mod table;

/// Why there is nothing to measure.
pub(crate) type Failure = Box<dyn std::error::Error>;

/// What was hoped for, and what came out.
pub(crate) fn verdict(what: &str, got: &str, met: bool) {
    println!("expected: {what}; got: {got} - {}", if met { "met" } else { "NOT met" });
}
