//! Idle connections to upstreams, kept for later requests (nginx `src/http/modules/ngx_http_upstream_keepalive_module.c`).
//!
//! Such a connection's `data` is its place in the cache of one upstream, which points back.

use super::fields::{Fields, pointer};
use super::http_conf::MainConfiguration;
use super::owner::{NginxModule, OwnerError, OwnerKind};
use super::scene::Scene;
use super::text::TextRef;
use super::upstream::UpstreamLayout;
use crate::addr::Addr;
use crate::target::memory::Memory;

/// An idle connection's pool.
pub const KEEPALIVE: OwnerKind = OwnerKind { key: "upstream_keepalive", label: "idle upstream connection", unit: None };

/// More upstreams than this are not looked through for the name of one.
const MAX_UPSTREAMS: u64 = 1 << 20;

/// Offsets in `ngx_http_upstream_keepalive_cache_t`, and the way to the upstream's name.
pub struct KeepaliveLayout {
    connection: u64,
    configuration: Option<u64>,
    names: Option<Names>,
}

/// The way from all upstreams to their caches.
struct Names {
    main: MainConfiguration,
    elements: u64,
    count: u64,
    srv_conf: u64,
    /// `ngx_http_upstream_keepalive_module.ctx_index`.
    index: Addr,
}

impl KeepaliveLayout {
    /// `None` in a build without that module.
    pub fn of(nginx: NginxModule<'_>) -> Option<KeepaliveLayout> {
        let item = Fields::of(nginx, "ngx_http_upstream_keepalive_cache_t");
        Some(KeepaliveLayout {
            connection: item.offset("connection")?,
            configuration: item.offset("conf"),
            names: Names::of(nginx).ok().flatten(),
        })
    }

    /// That of a test.
    #[cfg(test)]
    pub fn of_test() -> KeepaliveLayout {
        KeepaliveLayout { connection: 16, configuration: None, names: None }
    }

    /// The place in a cache at `item`, if the connection at `connection` lies there.
    pub fn holds(&self, memory: &dyn Memory, item: Addr, connection: Addr) -> bool {
        pointer(memory, item, Some(self.connection)) == Some(connection)
    }

    /// The upstream whose cache it is.
    pub fn name(&self, scene: &Scene<'_>, upstreams: &UpstreamLayout, item: Addr) -> Option<TextRef> {
        let cache = pointer(scene.memory, item, self.configuration)?;
        let names = self.names.as_ref()?;
        let caches = scene.caches.get_or_init(|| names.caches(scene.memory).unwrap_or_default());
        let found = caches.binary_search_by_key(&cache, |(cache, _)| *cache).ok()?;
        let (_, configuration) = caches.get(found)?;
        upstreams.configured_name(scene, *configuration)
    }
}

impl Names {
    fn of(nginx: NginxModule<'_>) -> Result<Option<Names>, OwnerError> {
        let main = MainConfiguration::of(nginx, "ngx_http_upstream_module")?;
        let module = nginx.variable("ngx_http_upstream_keepalive_module");
        let Some((main, module)) = main.zip(module) else { return Ok(None) };
        let upstreams = nginx.layout("ngx_http_upstream_main_conf_t")?;
        Ok(Some(Names {
            main,
            elements: upstreams.offset("upstreams.elts")?,
            count: upstreams.offset("upstreams.nelts")?,
            srv_conf: nginx.layout("ngx_http_upstream_srv_conf_s")?.offset("srv_conf")?,
            index: module + nginx.layout("ngx_module_s")?.offset("ctx_index")?,
        }))
    }

    /// Configuration of each cache with that of its upstream, in address order.
    fn caches(&self, memory: &dyn Memory) -> Option<Vec<(Addr, Addr)>> {
        let main = self.main.read(memory).ok()??;
        let elements = memory.read_pointer(main + self.elements).ok()?;
        let count = memory.read_u64(main + self.count).ok()?.min(MAX_UPSTREAMS);
        let place = memory.read_u64(self.index).ok()?.checked_mul(8)?;
        let mut caches = Vec::new();
        for slot in 0..count {
            let upstream = memory.read_pointer(elements + slot * 8).ok()?;
            // An upstream that is written in place, as `proxy_pass http://127.0.0.1`, has no configurations.
            let cache = pointer(memory, upstream, Some(self.srv_conf));
            caches.extend(cache.and_then(|all| pointer(memory, all, Some(place))).map(|cache| (cache, upstream)));
        }
        caches.sort_unstable();
        Some(caches)
    }
}
