//! Owners: typed roots that lead to pools, and what each kind of owner means to an operator.

use crate::addr::{Addr, LoadBias};
use crate::debug::{DebugError, DebugInfo, MissingField};
use crate::target::memory::{Fault, Memory};
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

/// A pool with its name: what a root led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPool {
    /// Where the `ngx_pool_t` lies.
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
    /// Its place in the array that the path leads through, where there is one.
    pub slot: Option<u64>,
    /// What tells the owner from an earlier or later one at the same address: nginx's number of the connection, and the
    /// request's place on it (0 for the connection itself).
    pub identity: Option<(u64, u64)>,
}

impl NamedPool {
    /// A pool whose owner has neither name nor state.
    pub fn plain(pool: Addr, kind: &'static OwnerKind, path: String) -> NamedPool {
        NamedPool { pool, kind, name: None, path, state: None, references: None, slot: None, identity: None }
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

/// The binary and where it was loaded.
#[derive(Debug, Clone, Copy)]
pub struct NginxModule<'a> {
    /// Its debug info and symbols.
    pub debug: &'a DebugInfo,
    /// What was added to its addresses.
    pub bias: LoadBias,
}

impl NginxModule<'_> {
    /// Where a variable lies in the running process.
    pub fn variable(&self, name: &str) -> Option<Addr> {
        self.debug.symbol_address(name).map(|address| self.bias.to_running(address))
    }
}

/// The target's memory while it stands still.
pub struct Stopped<'a> {
    /// For following pointers.
    pub chase: &'a dyn Memory,
    /// For reading large arrays front to back.
    pub bulk: &'a dyn Memory,
}

/// Looks for one kind of owner. Made before the stop, with all that debug info can tell; used while the target stands
/// still.
pub trait OwnerFinder: Send + Sync {
    /// What it looks for, in the plural: "connections".
    fn what(&self) -> &'static str;

    /// Adds the pools it finds. What was found before an error stays.
    ///
    /// # Errors
    /// [`OwnerError`] if it could not look to the end.
    fn find(&self, target: &Stopped<'_>, found: &mut Vec<NamedPool>) -> Result<(), OwnerError>;
}

/// Makes a finder; `None` if the binary has no such owners.
pub type MakeFinder = fn(NginxModule<'_>) -> Result<Option<Box<dyn OwnerFinder>>, OwnerError>;

/// Every kind of owner that is known. Where two claim the same pool, the earlier one has it.
pub const FINDERS: &[MakeFinder] = &[super::cycle::finder, super::dyups::finder, super::connection::finder];
