//! Heaps laid out in memory as glibc would have left them: what is read of them must be what was laid, whatever the heap,
//! and whatever has damaged it the reading must end and say so.

mod builder;
mod circles;
#[path = "../core_support/mod.rs"]
mod core_support;
#[cfg(target_arch = "x86_64")]
mod cores;
mod damage;
mod glibcs;
mod lists;
mod mapped;
mod moments;
mod places;
mod pool_image;
mod pools;
mod process;
mod reading;
mod sentences;
mod spec;
mod walks;
