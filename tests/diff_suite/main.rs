//! Comparisons of snapshots made by hand: who is whom, what changed, and how it is told.

mod golden;
mod large;
mod machine;
mod matching;
mod properties;
mod relations;
mod samples;
mod verdicts;
