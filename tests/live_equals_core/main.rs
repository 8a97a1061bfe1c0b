//! Live equals core: of one stopped process, a live snapshot and a core give the same model; whole, packed, through a pipe,
//! sparse, with the binaries elsewhere. What is cut off or damaged gives less, and says so.

mod binaries;
#[path = "../core_support/mod.rs"]
mod core_support;
mod cut;
mod damage;
mod forms;
mod heaps;
mod layout;
mod model;
mod process;
mod worker;
