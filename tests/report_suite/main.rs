//! Reports, rows, the published schema and the command line, over snapshots made by hand.

mod command;
mod explained;
mod golden;
mod invariants;
mod rows;
mod samples;
mod schema;
