//! What a snapshot can tell of pools and their owners: that decides what a report says is missing.

use crate::snapshot::model::Snapshot;

/// What was looked for in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// It is not nginx: it has no pools.
    NotNginx,
    /// Pools were found by the layout they have had since nginx 0.8.1. Who owns them is not known: there is no debug info, and
    /// built-in layouts do not fit or were not tried.
    PoolsOnly,
    /// Pools and their owners.
    Owners,
}

impl Scope {
    /// What was looked for in the process of that snapshot.
    pub fn of(snapshot: &Snapshot) -> Scope {
        let process = &snapshot.process;
        // A binary that states no version is still nginx if it has the title or the pools of one.
        let is_nginx = process.server.is_some() || process.role != "process" || !snapshot.pools.is_empty();
        match snapshot.knows_owners() {
            _ if !is_nginx => Scope::NotNginx,
            true => Scope::Owners,
            false => Scope::PoolsOnly,
        }
    }
}
