//! Layouts for an nginx without debug info: from tables, by the version that its core module states, and believed only if
//! what its memory holds agrees with them.
//!
//! A stripped nginx still exports its variables, because modules that are loaded at run time need them (nginx
//! `auto/cc/conf` links with `-Wl,-E`). What the debug info would add is where structures keep what. That is in `tables.rs`
//! for builds with `--with-compat`; `proof.rs` says what must agree, and `request.rs` what must in each request.

mod proof;
mod request;
mod tables;
mod version;

pub use request::RequestProof;
pub use version::Version;

use crate::addr::Addr;
use crate::debug::Layout;
use crate::target::memory::Memory;
use proof::Proof;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// How often the proof is tried on a process that runs: what is read of it can change meanwhile.
const TRIES: usize = 8;

/// Layouts from tables, with what proves them.
#[derive(Debug)]
pub struct BuiltIn {
    version: Version,
    layouts: FxHashMap<&'static str, Arc<Layout>>,
    proof: Proof,
}

impl BuiltIn {
    /// The layouts of the nginx whose memory this is; it may be running. `variable` tells where its variables lie.
    ///
    /// # Errors
    /// Says why there are none, or what contradicts them.
    pub fn of(memory: &dyn Memory, variable: impl Fn(&str) -> Option<Addr>) -> Result<BuiltIn, String> {
        let core_module = variable("ngx_core_module").ok_or("it does not export ngx_core_module")?;
        let version = version::read_version(memory, core_module)?;
        if version < tables::FIRST {
            return Err(format!(
                "nginx {version} is older than the built-in layouts, which begin with {}",
                tables::FIRST
            ));
        }
        let layouts = tables::layouts(version).map(|(name, layout)| (name, Arc::new(layout))).collect();
        let proof = Proof::new(&layouts, &variable)?;
        let built_in = BuiltIn { version, layouts, proof };
        let mut outcome = Ok(());
        for _ in 0..TRIES {
            outcome = built_in.check(memory);
            if outcome.is_ok() {
                break;
            }
        }
        outcome.map(|()| built_in)
    }

    /// The version that they are of.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The layout of a structure, by tag or typedef.
    pub fn layout(&self, name: &str) -> Option<Arc<Layout>> {
        // Tags end in _s where typedefs end in _t.
        let tag = || Some(format!("{}_s", name.strip_suffix("_t")?));
        self.layouts.get(name).or_else(|| self.layouts.get(tag()?.as_str())).cloned()
    }

    /// Whether what memory holds agrees with them.
    ///
    /// # Errors
    /// Says what contradicts them.
    pub fn check(&self, memory: &dyn Memory) -> Result<(), String> {
        self.proof.check(memory).map_err(|problem| format!("nginx {} has other layouts: {problem}", self.version))
    }
}
