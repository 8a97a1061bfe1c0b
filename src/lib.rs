//! poolscope: which nginx pool owns this worker's memory.

pub mod addr;
pub mod analysis;
pub mod attribution;
pub mod cli;
pub mod debug;
pub mod malloc;
pub mod nginx;
pub mod report;
pub mod snapshot;
pub mod target;
pub mod view;
