//! HTTP requests: what a connection's `data` points to while one is handled.
//!
//! `data` is a union by stage and protocol: a request, an idle client's `ngx_http_connection_t`, an HTTP/2 connection, a
//! stream session. A request is told by its signature, and believed only if it points back.

use super::owner::{NginxModule, OwnerError};
use crate::addr::Addr;
use crate::target::memory::{Memory, word_at};

/// `NGX_HTTP_MODULE`, with which every request begins: "HTTP" (nginx `src/http/ngx_http_config.h`).
const SIGNATURE: u32 = 0x5054_5448;

/// Offsets in `ngx_http_request_t`, and on to the peer's connection.
pub struct RequestLayout {
    /// How many bytes from a request's start hold all fields below: a small part of it.
    wanted: u64,
    signature: u64,
    connection: u64,
    pool: u64,
    upstream: u64,
    peer_connection: u64,
}

/// What a connection is to the request that its `data` points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestOwner {
    /// The client's: the request has this pool.
    Client {
        /// The request's pool.
        pool: Addr,
    },
    /// That to the upstream's server.
    Upstream,
}

impl RequestLayout {
    /// `None` in a build without http.
    ///
    /// # Errors
    /// [`OwnerError`] if the debug info describes something else than nginx's requests.
    pub fn from_debug(nginx: NginxModule<'_>) -> Result<Option<RequestLayout>, OwnerError> {
        if nginx.variable("ngx_http_module").is_none() {
            return Ok(None);
        }
        let request = nginx.layout("ngx_http_request_s")?;
        let upstream = nginx.layout("ngx_http_upstream_s")?;
        let (signature, connection) = (request.offset("signature")?, request.offset("connection")?);
        let (pool, to_upstream) = (request.offset("pool")?, request.offset("upstream")?);
        Ok(Some(RequestLayout {
            wanted: signature.max(connection).max(pool).max(to_upstream) + 8,
            signature,
            connection,
            pool,
            upstream: to_upstream,
            peer_connection: upstream.offset("peer.connection")?,
        }))
    }

    /// What the connection at `connection` is to the request at `data`; `None` if there is no request.
    pub fn owner_of(&self, memory: &dyn Memory, connection: Addr, data: Addr) -> Option<RequestOwner> {
        if data.is_null() {
            return None;
        }
        let mut bytes = vec![0; self.wanted as usize];
        memory.read(data, &mut bytes).ok()?;
        if word_at(&bytes, self.signature) as u32 != SIGNATURE {
            return None;
        }
        if word_at(&bytes, self.connection) == connection.0 {
            return Some(RequestOwner::Client { pool: Addr(word_at(&bytes, self.pool)) });
        }
        let upstream = Addr(word_at(&bytes, self.upstream));
        let peer = memory.read_pointer(upstream + self.peer_connection).ok()?;
        (peer == connection).then_some(RequestOwner::Upstream)
    }
}
