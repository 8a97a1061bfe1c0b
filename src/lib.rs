//! Which nginx pool owns this worker's memory.
//!
//! poolscope stops a live nginx worker for some milliseconds with ptrace, reads what it needs of its memory, lets it go, and
//! then says which `ngx_pool_t` holds each chunk of the glibc heap, and what that pool is for. Structure layouts come from
//! the debug info of the very binary that runs.
//!
//! ```no_run
//! use poolscope::analysis::{Options, Silent, take};
//! use poolscope::debug::SearchOptions;
//!
//! let options = Options { debug: SearchOptions::from_environment(), with_chunks: false, ..Options::default() };
//! let snapshot = take(4242, &options, &Silent)?;
//! for owner in &snapshot.owners {
//!     println!("{:>12} bytes  {}", owner.bytes, owner.label);
//! }
//! # Ok::<(), poolscope::analysis::SnapshotError>(())
//! ```
//!
//! What is read: live processes on 64-bit little-endian Linux with glibc. What is understood of nginx: its own pools, the
//! cycle, connections, HTTP requests and their upstream peers, and dynamic upstreams (dyups).
//!
//! The modules are rooms in an order, and each uses only those before it: [`addr`], [`target`], [`debug`], [`view`],
//! [`malloc`], [`nginx`], [`attribution`], [`snapshot`], [`diff`], [`analysis`], [`report`], [`cli`].

pub mod addr;
pub mod analysis;
pub mod attribution;
pub mod cli;
pub mod debug;
pub mod diff;
pub mod malloc;
pub mod nginx;
pub mod report;
pub mod snapshot;
pub mod target;
pub mod view;
