//! Renderings of a snapshot: one file for each format, all of them writing into an [`std::io::Write`] that the caller
//! chose. Nothing here decides where output goes, and nothing is computed that the model does not hold.

pub mod diff;
pub mod doctor;
pub mod explain;
pub mod json;
pub mod openmetrics;
mod owner_name;
pub mod parquet;
pub mod ps;
pub mod rows;
pub mod scope;
pub mod style;
pub mod table;
pub mod text;
mod trust;
