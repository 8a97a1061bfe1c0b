//! Owners: typed roots that lead to pools, and what each kind of owner means to an operator.

use super::builtin::BuiltIn;
use super::found::Found;
use super::slots::{ConnectionArray, Slots};
use crate::addr::{Addr, AddrRange, LoadBias};
use crate::debug::{DebugError, DebugInfo, Layout, MissingField};
use crate::target::memory::{Fault, Memory};
use serde::{Deserialize, Serialize};
use std::cell::OnceCell;
use std::sync::Arc;
use thiserror::Error;

/// A kind of owner.
#[derive(Debug, PartialEq, Eq)]
pub struct OwnerKind {
    /// Stable name for filters and machines.
    pub key: &'static str,
    /// What it is, for people.
    pub label: &'static str,
    /// A part of the name of the source files that create such pools, if these are worth naming.
    pub unit: Option<&'static str>,
}

/// A pool that no known root leads to.
pub const NO_KNOWN_OWNER: OwnerKind =
    OwnerKind { key: "unknown_pool", label: "pool without a known owner", unit: None };

/// How an owner is known, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// By a typed path from a root, in the layouts of the very binary.
    TypedPath,
    /// By such a path, of which a step's type had to be inferred: the elements of an untyped container, what a `void *`
    /// points to.
    InferredPath,
    /// By a path in built-in layouts: the binary has no debug info, and what was read agrees with them.
    BuiltInPath,
    /// Something in use points to it; the type of what does is not known.
    Referenced,
    /// It looks like it; nothing that is known leads there.
    #[default]
    Signature,
}

impl Trust {
    /// The name used in rows.
    pub fn name(self) -> &'static str {
        match self {
            Trust::TypedPath => "typed_path",
            Trust::InferredPath => "inferred_path",
            Trust::BuiltInPath => "built_in_path",
            Trust::Referenced => "referenced",
            Trust::Signature => "signature",
        }
    }
}

/// What an owner tells of itself besides its name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnerFacts {
    /// What it speaks: "http/1.1", "http/2", "stream", "mail".
    pub protocol: Option<&'static str>,
    /// The function that it runs next, or whose turn it is: its address in the running process.
    pub handler: Option<Addr>,
    /// How old it is, in milliseconds, by nginx's own clock.
    pub age_ms: Option<u64>,
    /// The client's address; shown only on request.
    pub client: Option<String>,
    /// What was asked for; shown only on request.
    pub uri: Option<String>,
}

/// A pool with its name: what a root led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPool {
    /// Where the `ngx_pool_t` lies, or what lies in the pool ([`NamedPool::within`]).
    pub pool: Addr,
    /// What owns it.
    pub kind: &'static OwnerKind,
    /// What the owner is called, if it has a name.
    pub name: Option<String>,
    /// The typed path from a root.
    pub path: String,
    /// State of the owner, where it has one.
    pub state: Option<&'static str>,
    /// How many references keep it alive, where the owner counts them.
    pub references: Option<u64>,
    /// Where that count is kept, if it is; who holds a reference has this address for its cleanup's data.
    pub reference_counter: Option<Addr>,
    /// Its place in the array that the path leads through, where there is one.
    pub slot: Option<u64>,
    /// What tells the owner from an earlier or later one at the same address: nginx's number of the connection, and the
    /// request's place on it (0 for the connection itself).
    pub identity: Option<(u64, u64)>,
    /// True if `pool` is any address inside the pool's memory: a block or a large allocation. A name by the pool's own
    /// address goes before such a one.
    pub within: bool,
    /// A chunk outside pools that keeps the pool and is the owner's own, as a timer that was allocated by itself.
    pub keeper: Option<Addr>,
    /// How the path is known.
    pub trust: Trust,
    /// What else is known of the owner.
    pub facts: OwnerFacts,
}

impl NamedPool {
    /// A pool whose owner has neither name nor state.
    pub fn plain(pool: Addr, kind: &'static OwnerKind, path: String) -> NamedPool {
        NamedPool {
            pool,
            kind,
            name: None,
            path,
            state: None,
            references: None,
            reference_counter: None,
            slot: None,
            identity: None,
            within: false,
            keeper: None,
            trust: Trust::TypedPath,
            facts: OwnerFacts::default(),
        }
    }
}

/// Why a kind of owner could not be looked for, or not to the end.
#[derive(Debug, Error)]
pub enum OwnerError {
    /// A structure it needs is not described.
    #[error(transparent)]
    Debug(#[from] DebugError),
    /// A structure lacks a field.
    #[error(transparent)]
    Field(#[from] MissingField),
    /// The target's memory could not be read.
    #[error(transparent)]
    Memory(#[from] Fault),
    /// What was read cannot be.
    #[error("{0}")]
    Implausible(String),
}

/// A file with code besides the binary: a module that nginx has loaded, or a library.
#[derive(Debug, Clone, Copy)]
pub struct DynamicModule<'a> {
    /// Its debug info and symbols.
    pub debug: &'a DebugInfo,
    /// What was added to its addresses.
    pub bias: LoadBias,
    /// Where it lies.
    pub span: AddrRange,
}

/// The binary and where it was loaded.
#[derive(Debug, Clone, Copy)]
pub struct NginxModule<'a> {
    /// Its debug info and symbols.
    pub debug: &'a DebugInfo,
    /// What was added to its addresses.
    pub bias: LoadBias,
    /// What it has loaded.
    pub dynamic: &'a [DynamicModule<'a>],
    /// Whether clients' addresses and what they asked for are to be read at all.
    pub show_clients: bool,
    /// Whether it is a process that runs, on this machine: its time is then the machine's.
    pub runs: bool,
    /// Layouts for a binary without debug info, if memory agrees with any.
    pub built_in: Option<&'a BuiltIn>,
}

impl NginxModule<'_> {
    /// Where a variable lies in the running process: one of the binary, or else of a module that it has loaded.
    pub fn variable(&self, name: &str) -> Option<Addr> {
        let own = self.debug.symbol_address(name).map(|address| self.bias.to_running(address));
        own.or_else(|| {
            let mut found = self.dynamic.iter();
            found.find_map(|module| module.debug.symbol_address(name).map(|address| module.bias.to_running(address)))
        })
    }

    /// The layout of a structure, by tag or typedef: as the binary has it, or else a module that it has loaded, or else as it
    /// is built in.
    ///
    /// # Errors
    /// A [`DebugError`] if no debug info defines it, and it is not built in.
    pub fn layout(&self, name: &str) -> Result<Arc<Layout>, DebugError> {
        let own = self.debug.layout(name);
        if !matches!(own, Err(DebugError::NoSuchType { .. })) && self.built_in.is_none() {
            return own;
        }
        own.or_else(|error| {
            let built_in = || self.built_in.and_then(|built_in| built_in.layout(name));
            let mut others = self.dynamic.iter();
            others.find_map(|module| module.debug.layout(name).ok()).or_else(built_in).ok_or(error)
        })
    }
}

/// The target's memory while it stands still.
pub struct Stopped<'a> {
    /// For following pointers.
    pub chase: &'a dyn Memory,
    /// For reading large arrays front to back.
    pub bulk: &'a dyn Memory,
    /// All connections, once a finder has asked for them.
    slots: OnceCell<Option<Slots>>,
}

impl<'a> Stopped<'a> {
    /// Nothing was read yet.
    pub fn new(chase: &'a dyn Memory, bulk: &'a dyn Memory) -> Stopped<'a> {
        Stopped { chase, bulk, slots: OnceCell::new() }
    }

    /// All connections, read once for all finders; `None` if the process has none, as a master.
    ///
    /// # Errors
    /// [`OwnerError`] if they cannot be read.
    pub fn slots(&self, array: &ConnectionArray) -> Result<Option<&Slots>, OwnerError> {
        if let Some(known) = self.slots.get() {
            return Ok(known.as_ref());
        }
        let slots = array.read(self.chase, self.bulk)?;
        Ok(self.slots.get_or_init(|| slots).as_ref())
    }
}

/// Looks for one kind of owner. Made before the stop, with all that debug info can tell; used while the target stands
/// still.
pub trait OwnerFinder: Send + Sync {
    /// What it looks for, in the plural: "connections".
    fn what(&self) -> &'static str;

    /// Notes the pools it finds. What was found before an error stays. It runs while the target stands still, so that it is
    /// to read and to note; strings are made of that later ([`Found::named`]).
    ///
    /// # Errors
    /// [`OwnerError`] if it could not look to the end.
    fn find(&self, target: &Stopped<'_>, found: &mut Found) -> Result<(), OwnerError>;
}

/// Makes a finder; `None` if the binary has no such owners.
pub type MakeFinder = fn(NginxModule<'_>) -> Result<Option<Box<dyn OwnerFinder>>, OwnerError>;

/// Every kind of owner that is known. Where two claim the same pool, the earlier one has it.
pub const FINDERS: &[MakeFinder] = &[
    super::cycle::finder,
    super::dyups::finder,
    super::health_check::finder,
    // Before connections: the Lua module leaves a slot taken whose pool is gone, and a pool of its own can be there by now.
    super::lua::finder,
    super::events::finder,
    super::connection::finder,
];
