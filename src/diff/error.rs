//! Why snapshots cannot be compared.

use thiserror::Error;

/// Why snapshots cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DiffError {
    /// There are too few.
    #[error("a comparison needs two snapshots or more, and here {}: name an older and a newer one",
        if *.0 == 0 { "is none" } else { "is one" })]
    TooFew(usize),
}
