//! Questions to OCSP servers about certificates (nginx `src/event/ngx_event_openssl_stapling.c`).

use super::fields::{Fields, pointer};
use super::owner::{NginxModule, OwnerKind};
use crate::addr::Addr;
use crate::target::memory::Memory;

/// The pool of one question.
pub const OCSP: OwnerKind = OwnerKind { key: "ocsp", label: "OCSP request", unit: None };

/// Offsets in `ngx_ssl_ocsp_ctx_t`, which is the `data` of the connection to the server.
pub struct OcspLayout {
    peer_connection: u64,
    pool: u64,
}

impl OcspLayout {
    /// `None` in a build without TLS, and if it is not described.
    pub fn of(nginx: NginxModule<'_>) -> Option<OcspLayout> {
        let context = Fields::of(nginx, "ngx_ssl_ocsp_ctx_s");
        Some(OcspLayout { peer_connection: context.offset("peer.connection")?, pool: context.offset("pool")? })
    }

    /// True if `data` is a question that is asked on the connection at `connection`, which has its pool.
    pub fn is_of(&self, memory: &dyn Memory, data: Addr, connection: Addr, pool: Addr) -> bool {
        pointer(memory, data, Some(self.peer_connection)) == Some(connection)
            && pointer(memory, data, Some(self.pool)) == Some(pool)
    }
}
