//! Locations: the name of what an HTTP request is for.

use super::fields::{Bits, Fields, Text, is_set, pointer};
use super::found::Label;
use super::owner::NginxModule;
use super::scene::Scene;
use crate::addr::Addr;
use crate::target::memory::Memory;

/// How to get from a request's `loc_conf` to the name (`ngx_http_core_loc_conf_t`).
pub struct LocationLayout {
    /// `ngx_http_core_module.ctx_index`, in the running process.
    index: Option<Addr>,
    name: Option<Text>,
    regex: Option<u64>,
    exact_match: Option<Bits>,
    no_regex: Option<Bits>,
}

impl LocationLayout {
    /// Takes what there is.
    pub fn of(nginx: NginxModule<'_>) -> LocationLayout {
        let context = Fields::of(nginx, "ngx_module_s").offset("ctx_index");
        let fields = Fields::of(nginx, "ngx_http_core_loc_conf_s");
        let module = nginx.variable("ngx_http_core_module");
        LocationLayout {
            index: module.zip(context).map(|(module, context)| module + context),
            name: fields.text("name"),
            regex: fields.offset("regex"),
            exact_match: fields.bits("exact_match"),
            no_regex: fields.bits("noregex"),
        }
    }

    /// One that knows nothing.
    #[cfg(test)]
    pub fn unknown() -> LocationLayout {
        LocationLayout { index: None, name: None, regex: None, exact_match: None, no_regex: None }
    }

    /// The place of the module's configuration among those of all; read once.
    pub fn index(&self, memory: &dyn Memory) -> Option<u64> {
        memory.read_u64(self.index?).ok()
    }

    /// The name of the location that the configurations at `loc_conf` are of, `index` being the place of the one that has it.
    /// There are few, and many requests are for each.
    pub fn name(&self, scene: &Scene<'_>, loc_conf: Addr, index: u64) -> Option<Label> {
        let configuration = pointer(scene.memory, loc_conf, index.checked_mul(8))?;
        scene.locations.get(configuration, || self.read(scene, configuration))
    }

    /// The location as it is configured, without the braces: `location = /x`, `location ~ \.php$`, `location @named`.
    /// Whether a regular expression heeds case is not kept by nginx. `None` outside any location.
    fn read(&self, scene: &Scene<'_>, configuration: Addr) -> Option<Label> {
        let memory = scene.memory;
        let text = scene.text(self.name?.read(memory, configuration)?)?;
        let before = if pointer(memory, configuration, self.regex).is_some() {
            "location ~ "
        } else if is_set(memory, configuration, self.exact_match) {
            "location = "
        } else if is_set(memory, configuration, self.no_regex) {
            "location ^~ "
        } else {
            "location "
        };
        Some(Label { before, text })
    }
}
