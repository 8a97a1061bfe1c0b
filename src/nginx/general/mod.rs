//! Pools and chunks of modules that nobody wrote a file for: a typed traversal from nginx's own variables and
//! configurations, by debug info alone.
//!
//! **Where it starts.** At every variable of every source file that uses nginx's structures, file-static ones included, and
//! first of all at `ngx_cycle`. Through its `conf_ctx` come the configurations of each module. These are `void *`; their
//! type is that of the structure which the module's `create_main_conf`, `create_srv_conf`, `create_loc_conf` or
//! `create_conf` makes: such a function has one local variable that points to it. A module with several, or whose function
//! says nothing, is told by the habit of names (`PREFIX_main_conf_t`). Which protocol a module belongs to follows from the
//! type of its context (`ngx_http_module_t`), so that protocols of other modules come out right too. The same tables hang
//! off servers, locations, upstreams and requests, and are read wherever a `void **` of such a name is met.
//!
//! **How it goes on.** Breadth first over pairs of address and type. Embedded structures and C arrays are parts of their
//! holder. Pointers to structures are followed into pools, chunks in use and static memory, and nowhere else. A pointer
//! with a number beside it that counts (`connections`, `connection_n`) leads to that many elements. `ngx_array_t`,
//! `ngx_list_t`, `ngx_queue_t`, `ngx_rbtree_t` and `ngx_hash_t` are walked.
//!
//! **Inference.** Containers and `void *` do not say what they hold; the code that uses them does. Candidates are the
//! structures to which the same functions have pointers that also have one to the holder, those of the source file or
//! module at hand, and for an object with a handler beside it (`ev->handler`, `ev->data`) those of the handler. Each is laid
//! over the bytes: its size must be that of an element, no pointer of it may lead into unmapped memory, pointers to
//! functions must lead to functions, links must be linked back, and an `ngx_pool_t *` that is the exact address of a pool
//! decides. What lies behind an inferred step is marked as inferred, all of it.
//!
//! **Bounds.** The target's memory is not trusted: every walk is counted, and each object is visited once. What is alike
//! and led to nothing for 64 times is only looked at, without going further. [`Budget`] bounds the whole.
//!
//! **Paths** are expressions of C, as they could be given to a debugger: `ngx_cycle->conf_ctx[ngx_http_module]->main_conf
//! [ngx_http_dyups_module]->dy_upstreams[17].pool`. A number in brackets after a container of nginx's is that of the
//! element, in the container's own order; a module in brackets stands for its index.

mod blocks;
mod candidates;
mod companions;
mod configurations;
mod containers;
mod evidence;
mod explorer;
mod found;
mod graph;
mod layouts;
mod lookup;
mod modules;
mod paths;
mod roots;
mod shape;
mod shapes;
mod steps;

use super::owner::NginxModule;
use crate::addr::Addr;
use crate::target::memory::Memory;
use explorer::Explorer;
use std::time::Duration;

/// What lies at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Memory of a pool: a block or a large allocation.
    Pool {
        /// Which pool, by a number of the caller's.
        index: u32,
    },
    /// A chunk in use that belongs to no pool.
    Chunk {
        /// What malloc returned.
        start: Addr,
        /// Bytes that the program may use.
        size: u64,
    },
    /// A module's own data: a mapping of its file, or the zeroed memory behind it.
    Static,
    /// Anything else: a freed chunk, a stack, shared memory, code, or nothing at all.
    Other,
}

/// Tells what lies where. It is asked several times for each object.
pub trait Places {
    /// What lies at an address.
    fn at(&self, address: Addr) -> Place;

    /// The number of the pool whose `ngx_pool_t` lies at exactly this address.
    fn pool_at(&self, address: Addr) -> Option<u32>;
}

/// How much an exploration may do. When one is used up, what was found by then is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Objects visited.
    pub objects: usize,
    /// Bytes of the target's memory that are read, in whole blocks of 1 KiB.
    pub bytes: u64,
    /// Time, as a last resort: what it cuts off differs from run to run.
    pub time: Duration,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { objects: 400_000, bytes: 512 << 20, time: Duration::from_secs(2) }
    }
}

/// What an exploration starts from.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The binary first, then the modules that it loaded.
    pub modules: &'a [NginxModule<'a>],
    /// The target's memory. What it gives may change meanwhile; it need not make sense.
    pub memory: &'a dyn Memory,
    /// What lies where in it.
    pub places: &'a dyn Places,
    /// How much may be done.
    pub budget: Budget,
}

/// A pool that was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPool {
    /// The pool.
    pub pool: Addr,
    /// The path that leads there, with ` (FILE)` behind it if it starts at a variable that only this file knows.
    pub path: String,
    /// True if a type on the way is not stated but inferred.
    pub inferred: bool,
    /// The module in whose configuration the path goes on, or the source file of the variable that it starts from.
    pub module: Option<String>,
    /// True if the pointer is only that of a container to the pool of its elements, such as `headers.pool`: it says who
    /// uses the pool, not who owns it.
    pub by_container: bool,
}

/// A chunk outside pools that was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundChunk {
    /// What malloc returned.
    pub memory: Addr,
    /// The path to the pointer that leads there, as in [`FoundPool::path`].
    pub path: String,
    /// True if a type on the way is not stated but inferred.
    pub inferred: bool,
    /// The structure that the pointer is declared to lead to, also one of a library that has no debug info (`ssl_st`);
    /// `void`, `char` for other data.
    pub type_name: String,
    /// As in [`FoundPool::module`].
    pub module: Option<String>,
    /// True if the pointer leads into the chunk and not to its start.
    pub interior: bool,
}

/// What an exploration found.
#[derive(Debug, Clone, Default)]
pub struct Exploration {
    /// Pools, each once, in address order.
    pub pools: Vec<FoundPool>,
    /// Chunks outside pools, each once, in address order.
    pub chunks: Vec<FoundChunk>,
    /// Objects that were visited.
    pub objects: u64,
    /// What could not be read or looked at, also because a budget ran out: what was not found may be there all the same.
    pub problems: Vec<String>,
}

/// Explores a target that stands still, or nearly so.
pub fn explore(input: &Input<'_>) -> Exploration {
    Explorer::new(input).run()
}
