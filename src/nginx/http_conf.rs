//! The main configurations of HTTP modules: `ngx_cycle->conf_ctx[ngx_http_module].main_conf[…]`.

use super::owner::{NginxModule, OwnerError};
use crate::addr::Addr;
use crate::target::memory::{Fault, Memory};

/// The way to the main configuration of one module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MainConfiguration {
    /// The variable `ngx_cycle`, a pointer.
    pub cycle: Addr,
    /// `conf_ctx` in `ngx_cycle_t`.
    pub conf_ctx: u64,
    /// `ngx_http_module.index`.
    pub http_index: Addr,
    /// `main_conf` in `ngx_http_conf_ctx_t`.
    pub main_conf: u64,
    /// `ctx_index` of the module.
    pub module_index: Addr,
}

impl MainConfiguration {
    /// `None` in a build without http or without that module, which is named by its variable.
    ///
    /// # Errors
    /// [`OwnerError`] if a structure on the way is not described.
    pub fn of(nginx: NginxModule<'_>, module: &str) -> Result<Option<MainConfiguration>, OwnerError> {
        let variables = ["ngx_cycle", "ngx_http_module", module].map(|name| nginx.variable(name));
        let [Some(cycle), Some(http), Some(module)] = variables else { return Ok(None) };
        let layout = nginx.layout("ngx_module_s")?;
        Ok(Some(MainConfiguration {
            cycle,
            conf_ctx: nginx.layout("ngx_cycle_s")?.offset("conf_ctx")?,
            http_index: http + layout.offset("index")?,
            main_conf: nginx.layout("ngx_http_conf_ctx_t")?.offset("main_conf")?,
            module_index: module + layout.offset("ctx_index")?,
        }))
    }

    /// Where it lies; `None` where the configuration has no `http` block.
    ///
    /// # Errors
    /// A [`Fault`] if it cannot be read.
    pub fn read(&self, memory: &dyn Memory) -> Result<Option<Addr>, Fault> {
        let cycle = memory.read_pointer(self.cycle)?;
        let contexts = memory.read_pointer(cycle + self.conf_ctx)?;
        let http = memory.read_pointer(contexts + memory.read_u64(self.http_index)?.wrapping_mul(8))?;
        if http.is_null() {
            return Ok(None);
        }
        let configurations = memory.read_pointer(http + self.main_conf)?;
        let found = memory.read_pointer(configurations + memory.read_u64(self.module_index)?.wrapping_mul(8))?;
        Ok((!found.is_null()).then_some(found))
    }
}
