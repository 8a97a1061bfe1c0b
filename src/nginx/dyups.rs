//! Upstreams that are made and deleted at run time (Tengine's dyups module and those that keep its structures).
//!
//! Each change of an upstream makes a new generation with a pool of its own, and marks the one before as deleting. That one
//! is destroyed by the first look-up of any upstream at which nobody references it any more. Each request and each peer
//! connection holds a reference until its own pool dies: one long-lived connection keeps a whole generation, whose size
//! follows from the number of servers.

use super::fields::checked_size;
use super::found::{Found, FoundPool, Label, Path};
use super::http_conf::MainConfiguration;
use super::owner::{NginxModule, OwnerError, OwnerFinder, OwnerKind, Stopped};
use super::text::Texts;
use crate::addr::Addr;
use crate::debug::Layout;
use crate::target::memory::{Memory, word_at};

const LIVE: OwnerKind = OwnerKind { key: "dyups.live", label: "dyups upstream, live", unit: Some("dyups") };
/// An upstream that was deleted and is kept by references.
pub const DELETING: OwnerKind =
    OwnerKind { key: "dyups.deleting", label: "dyups upstream, deleted but still referenced", unit: Some("dyups") };
/// An upstream that was deleted and waits for the module's next look-up.
pub const UNREFERENCED: OwnerKind = OwnerKind {
    key: "dyups.unreferenced",
    label: "dyups upstream, deleted, waits for the next API call",
    unit: Some("dyups"),
};

/// `NGX_DYUPS_DELETING` and `NGX_DYUPS_DELETED` of the module. They are macros, so that no debug info tells them.
const STATE_DELETING: u64 = 1;
const STATE_DELETED: u64 = 2;

/// More upstreams than this are not believed.
const MAX_UPSTREAMS: u64 = 16 << 20;

struct DyupsFinder {
    main: MainConfiguration,
    /// `dy_upstreams` in the main configuration, with the two fields of the array that count.
    elements: u64,
    count: u64,
    upstream: UpstreamLayout,
}

/// Offsets in `ngx_http_dyups_srv_conf_t`, and on to the upstream's name.
struct UpstreamLayout {
    size: u64,
    references: u64,
    deleted: u64,
    pool: u64,
    upstream: u64,
    host_length: u64,
    host_data: u64,
}

/// Looks for the pools of dynamic upstreams.
pub fn finder(nginx: NginxModule<'_>) -> Result<Option<Box<dyn OwnerFinder>>, OwnerError> {
    let Some(configuration) = MainConfiguration::of(nginx, "ngx_http_dyups_module")? else { return Ok(None) };
    let layout = |name| nginx.layout(name);
    let main = layout("ngx_http_dyups_main_conf_t")?;
    let host = layout("ngx_http_upstream_srv_conf_s")?;
    let server: &Layout = &*layout("ngx_http_dyups_srv_conf_t")?;
    let size = checked_size("ngx_http_dyups_srv_conf_t", server.size)?;
    Ok(Some(Box::new(DyupsFinder {
        main: configuration,
        elements: main.offset("dy_upstreams.elts")?,
        count: main.offset("dy_upstreams.nelts")?,
        upstream: UpstreamLayout {
            size,
            references: server.offset("ref")?,
            deleted: server.offset("deleted")?,
            pool: server.offset("pool")?,
            upstream: server.offset("upstream")?,
            host_length: host.offset("host.len")?,
            host_data: host.offset("host.data")?,
        },
    })))
}

impl OwnerFinder for DyupsFinder {
    fn what(&self) -> &'static str {
        "dyups upstreams"
    }

    fn find(&self, target: &Stopped<'_>, found: &mut Found) -> Result<(), OwnerError> {
        let memory = target.chase;
        let Some(main) = self.main.read(memory)? else { return Ok(()) };
        let elements = memory.read_pointer(main + self.elements)?;
        let count = memory.read_u64(main + self.count)?;
        if count > MAX_UPSTREAMS {
            return Err(OwnerError::Implausible(format!("dy_upstreams holds {count} upstreams")));
        }
        let mut bytes = vec![0; self.upstream.size as usize];
        for slot in 0..count {
            memory.read(elements + slot * self.upstream.size, &mut bytes)?;
            found.pools.extend(self.upstream.named_pool(memory, &bytes, slot, &found.texts));
        }
        Ok(())
    }
}

/// The path to the array; a slot's number in brackets follows.
pub const PATH: &str = "ngx_cycle->conf_ctx[ngx_http_module].main_conf[ngx_http_dyups_module]->dy_upstreams";
/// The same with the bracket.
const THROUGH: &str = "ngx_cycle->conf_ctx[ngx_http_module].main_conf[ngx_http_dyups_module]->dy_upstreams[";

impl UpstreamLayout {
    fn named_pool(&self, memory: &dyn Memory, bytes: &[u8], slot: u64, texts: &Texts) -> Option<FoundPool> {
        let pool = Addr(word_at(bytes, self.pool));
        let deleted = word_at(bytes, self.deleted);
        if pool.is_null() || deleted == STATE_DELETED {
            return None;
        }
        let counter = Addr(word_at(bytes, self.references));
        let references = memory.read_u64(counter).ok();
        let (kind, state) = match (deleted, references) {
            (STATE_DELETING, Some(0)) => (&UNREFERENCED, "deleting"),
            (STATE_DELETING, _) => (&DELETING, "deleting"),
            _ => (&LIVE, "live"),
        };
        Some(FoundPool {
            name: self.name(memory, Addr(word_at(bytes, self.upstream)), texts),
            state: Some(state),
            references,
            reference_counter: references.map(|_| counter),
            slot: Some(slot),
            ..FoundPool::plain(pool, kind, Path::through(THROUGH, slot, "].pool"))
        })
    }

    fn name(&self, memory: &dyn Memory, upstream: Addr, texts: &Texts) -> Option<Label> {
        let length = memory.read_u64(upstream + self.host_length).ok()?;
        let data = memory.read_pointer(upstream + self.host_data).ok()?;
        texts.read(memory, (length, data)).map(Label::plain)
    }
}
