//! Active health checks of upstreams (the upstream check module, which Tengine has too): each server has a pool for the
//! connection that it is checked by.

use super::fields::{Fields, Text, pointer};
use super::found::{Found, FoundPool, Label, Path};
use super::owner::{NginxModule, OwnerError, OwnerFinder, OwnerKind, Stopped};
use super::text::Texts;
use super::upstream::string;
use crate::addr::Addr;
use crate::target::memory::Memory;

const HEALTH_CHECK: OwnerKind =
    OwnerKind { key: "health_check", label: "health check of an upstream server", unit: Some("upstream_check") };

/// More servers than this are not believed.
const MAX_PEERS: u64 = 1 << 20;

struct HealthCheckFinder {
    /// The variable `check_peers_ctx`, a pointer.
    all: Addr,
    /// The array of servers, with the two fields of it that count.
    elements: u64,
    count: u64,
    /// Size of one, and what of it counts.
    size: u64,
    pool: u64,
    upstream_name: Option<u64>,
    text: Option<Text>,
}

/// Looks for the pools of health checks.
pub fn finder(nginx: NginxModule<'_>) -> Result<Option<Box<dyn OwnerFinder>>, OwnerError> {
    let Some(all) = nginx.variable("check_peers_ctx") else { return Ok(None) };
    let peers = Fields::of(nginx, "ngx_http_upstream_check_peers_t");
    let peer = Fields::of(nginx, "ngx_http_upstream_check_peer_s");
    let offsets = (peers.offset("peers.elts"), peers.offset("peers.nelts"), peer.size(), peer.offset("pool"));
    // Another module's variable can have that name.
    let (Some(elements), Some(count), Some(size), Some(pool)) = offsets else { return Ok(None) };
    Ok(Some(Box::new(HealthCheckFinder {
        all,
        elements,
        count,
        size,
        pool,
        upstream_name: peer.offset("upstream_name"),
        text: string(nginx),
    })))
}

impl OwnerFinder for HealthCheckFinder {
    fn what(&self) -> &'static str {
        "health checks"
    }

    fn find(&self, target: &Stopped<'_>, found: &mut Found) -> Result<(), OwnerError> {
        let memory = target.chase;
        let all = memory.read_pointer(self.all)?;
        if all.is_null() {
            return Ok(());
        }
        let elements = memory.read_pointer(all + self.elements)?;
        let count = memory.read_u64(all + self.count)?;
        if count > MAX_PEERS {
            return Err(OwnerError::Implausible(format!("check_peers_ctx->peers holds {count} servers")));
        }
        for slot in 0..count {
            let peer = elements + slot * self.size;
            // One that was not checked yet, or is checked by another worker, has no pool.
            let pool = memory.read_pointer(peer + self.pool)?;
            if !pool.is_null() {
                let path =
                    Path::through("((ngx_http_upstream_check_peer_t *) check_peers_ctx->peers.elts)[", slot, "].pool");
                let name = self.name(memory, peer, &found.texts);
                let plain = FoundPool::plain(pool, &HEALTH_CHECK, path);
                found.pools.push(FoundPool { name, slot: Some(slot), ..plain });
            }
        }
        Ok(())
    }
}

impl HealthCheckFinder {
    fn name(&self, memory: &dyn Memory, peer: Addr, texts: &Texts) -> Option<Label> {
        let name = pointer(memory, peer, self.upstream_name)?;
        texts.read(memory, self.text?.read(memory, name)?).map(Label::plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::image::Image;

    const VARIABLE: Addr = Addr(0x1000);

    fn found(count: u64) -> (Vec<(u64, Option<u64>)>, bool) {
        let mut image = Image::new();
        image.map(VARIABLE, vec![0; 0x400]);
        let mut put = |at: u64, value: u64| assert!(image.write_u64(Addr(at), value));
        put(0x1000, 0x1100);
        put(0x1110, 0x1200);
        put(0x1118, count);
        put(0x1208, 0x5000);
        put(0x1248, 0x6000);
        let finder = HealthCheckFinder {
            all: VARIABLE,
            elements: 0x10,
            count: 0x18,
            size: 0x20,
            pool: 8,
            upstream_name: None,
            text: None,
        };
        let mut found = Found::default();
        let answer = finder.find(&Stopped::new(&image, &image), &mut found);
        (found.pools.iter().map(|named| (named.pool.0, named.slot)).collect(), answer.is_ok())
    }

    #[test]
    fn servers_without_a_pool_are_passed_over() {
        assert_eq!(found(3), (vec![(0x5000, Some(0)), (0x6000, Some(2))], true));
        assert_eq!(found(0), (vec![], true));
    }

    #[test]
    fn what_cannot_be_is_an_error_and_what_was_found_stays() {
        assert_eq!(found(u64::MAX), (vec![], false));
        assert_eq!(found(1000), (vec![(0x5000, Some(0)), (0x6000, Some(2))], false));
    }
}
