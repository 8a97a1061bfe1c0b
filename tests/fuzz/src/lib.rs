//! What the fuzz targets do with their bytes. See README.md beside this crate.

#![forbid(unsafe_op_in_unsafe_fn)]

pub mod bounded;
pub mod core;
pub mod glibcs;
mod heap;
pub mod snapshot;
