//! The one value between analysis and output: what a snapshot holds, free of any way to show or to store it.

mod chunk_json;
pub mod chunks;
pub mod ends;
pub mod explanation;
pub mod file;
pub mod finding;
pub mod holder;
pub mod human;
pub mod model;
pub mod pool;
pub mod sizes;
