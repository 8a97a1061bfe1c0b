//! What an owner is doing, by the function whose turn it is.
//!
//! nginx keeps the state of a connection as the function that the next event calls. Most of these are local to their source
//! file; a binary that was stripped of local symbols just tells fewer states.

use super::owner::NginxModule;
use crate::addr::Addr;
use rustc_hash::FxHashMap;

/// What a handler tells of its connection, session or request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    /// What is spoken, if that follows.
    pub protocol: Option<&'static str>,
    /// What is being done, if that follows.
    pub state: Option<&'static str>,
    /// It does nothing: the other handler of the pair is the one to name.
    pub is_idle: bool,
}

/// Known handlers, by their addresses in the running process.
pub struct Handlers {
    roles: FxHashMap<Addr, Role>,
    mail_authenticating: Option<Addr>,
}

/// Read handlers of connections, with protocol and state. An empty word says that it does not tell.
const OF_CONNECTIONS: &[(&str, &str, &str)] = &[
    ("ngx_http_wait_request_handler", "http", "new"),
    ("ngx_http_ssl_handshake", "http", "tls handshake"),
    ("ngx_ssl_handshake_handler", "", "tls handshake"),
    ("ngx_ssl_shutdown_handler", "", "tls shutdown"),
    ("ngx_http_process_request_line", "http", READING_LINE),
    ("ngx_http_process_request_headers", "http", READING_HEADERS),
    ("ngx_http_request_handler", "http", ""),
    ("ngx_http_keepalive_handler", "http/1.x", "idle keepalive"),
    ("ngx_http_lingering_close_handler", "http/1.x", "lingering close"),
    ("ngx_http_v2_read_handler", "http/2", ""),
    ("ngx_http_v2_handle_connection_handler", "http/2", ""),
    ("ngx_http_v2_idle_handler", "http/2", "idle keepalive"),
    ("ngx_http_v2_lingering_close_handler", "http/2", "lingering close"),
    ("ngx_http_v3_wait_request_handler", "http/3", "new"),
    ("ngx_http_v3_process_request", "http/3", READING_HEADERS),
    ("ngx_http_v3_uni_read_handler", "http/3", "unidirectional stream"),
    ("ngx_stream_session_handler", "stream", "processing"),
    ("ngx_stream_proxy_protocol_handler", "stream", "reading proxy protocol"),
    ("ngx_stream_proxy_downstream_handler", "stream", ""),
    ("ngx_mail_init_session_handler", "mail", "new"),
    ("ngx_mail_proxy_protocol_handler", "mail", "reading proxy protocol"),
    ("ngx_mail_smtp_resolve_name", "mail", "resolving client name"),
    ("ngx_mail_smtp_block_reading", "mail", "resolving client name"),
    ("ngx_mail_pop3_init_protocol", "mail", "reading commands"),
    ("ngx_mail_imap_init_protocol", "mail", "reading commands"),
    ("ngx_mail_smtp_init_protocol", "mail", "reading commands"),
    ("ngx_mail_smtp_invalid_pipelining", "mail", "reading commands"),
    ("ngx_mail_pop3_auth_state", "mail", "reading commands"),
    ("ngx_mail_imap_auth_state", "mail", "reading commands"),
    ("ngx_mail_smtp_auth_state", "mail", "reading commands"),
    ("ngx_mail_starttls_handler", "mail", "tls handshake"),
    (MAIL_AUTHENTICATING, "mail", "waiting for authentication"),
    ("ngx_mail_auth_sleep_handler", "mail", "delayed after authentication"),
    ("ngx_mail_proxy_block_read", "mail", "logging in to upstream"),
    ("ngx_mail_proxy_handler", "mail", "proxying"),
];

/// Read and write handlers of requests, with the state.
const OF_REQUESTS: &[(&str, &str)] = &[
    ("ngx_http_writer", "sending response"),
    ("ngx_http_upstream_process_downstream", "sending response"),
    ("ngx_http_upstream_process_non_buffered_downstream", "sending response"),
    ("ngx_http_upstream_upgraded_write_downstream", UPGRADED),
    ("ngx_http_upstream_upgraded_read_downstream", UPGRADED),
    ("ngx_http_core_run_phases", "processing"),
    ("ngx_http_handler", "processing"),
    ("ngx_http_core_auth_delay_handler", "delayed"),
    ("ngx_http_limit_req_delay", "delayed"),
    ("ngx_http_request_finalizer", "finalizing"),
    ("ngx_http_terminate_handler", "finalizing"),
    ("ngx_http_read_client_request_body_handler", READING_BODY),
    ("ngx_http_v2_read_client_request_body_handler", READING_BODY),
    ("ngx_http_v3_read_client_request_body_handler", READING_BODY),
    ("ngx_http_upstream_read_request_handler", "sending request to upstream"),
    ("ngx_http_discarded_request_body_handler", "discarding request body"),
];

/// Handlers that wait or refuse, and tell nothing.
const IDLE: &[&str] = &[
    "ngx_http_empty_handler",
    "ngx_http_request_empty_handler",
    "ngx_http_block_reading",
    "ngx_http_test_reading",
    "ngx_http_upstream_dummy_handler",
    "ngx_http_upstream_rd_check_broken_connection",
    "ngx_http_upstream_wr_check_broken_connection",
    "ngx_http_upstream_keepalive_dummy_handler",
];

/// The state of a request that was upgraded, as websockets are: it lives as long as both ends want.
pub const UPGRADED: &str = "upgraded";
/// The state of a request whose first line is on its way.
pub const READING_LINE: &str = "reading request line";
/// The state of a request whose headers are on their way.
pub const READING_HEADERS: &str = "reading request headers";
/// The state of a request whose body is on its way.
pub const READING_BODY: &str = "reading request body";
/// The read handler of a mail session while an HTTP server is asked about its client.
const MAIL_AUTHENTICATING: &str = "ngx_mail_auth_http_block_read";

impl Handlers {
    /// Looks up the known handlers.
    pub fn of(nginx: NginxModule<'_>) -> Handlers {
        let word = |word: &'static str| (!word.is_empty()).then_some(word);
        let role = |protocol, state, is_idle| Role { protocol: word(protocol), state: word(state), is_idle };
        let connections = OF_CONNECTIONS.iter().map(|(name, protocol, state)| (*name, role(protocol, state, false)));
        let requests = OF_REQUESTS.iter().map(|(name, state)| (*name, role("", state, false)));
        let idle = IDLE.iter().map(|name| (*name, role("", "", true)));
        let all = connections.chain(requests).chain(idle);
        Handlers {
            roles: all.filter_map(|(name, role)| Some((nginx.variable(name)?, role))).collect(),
            mail_authenticating: nginx.variable(MAIL_AUTHENTICATING),
        }
    }

    /// None at all.
    #[cfg(test)]
    pub fn none() -> Handlers {
        Handlers { roles: FxHashMap::default(), mail_authenticating: None }
    }

    /// Those of a test.
    #[cfg(test)]
    pub fn with(handlers: &[(Addr, Option<&'static str>, Option<&'static str>)]) -> Handlers {
        let role =
            |(at, protocol, state): &(Addr, _, _)| (*at, Role { protocol: *protocol, state: *state, is_idle: false });
        Handlers { roles: handlers.iter().map(role).collect(), mail_authenticating: None }
    }

    /// What the function at an address tells.
    pub fn role(&self, handler: Option<Addr>) -> Option<Role> {
        self.roles.get(&handler?).copied()
    }

    /// The read handler of a mail session while an HTTP server is asked about its client.
    pub fn mail_authenticating(&self) -> Option<Addr> {
        self.mail_authenticating
    }

    /// What is done, by the handler for writing, or else that for reading.
    pub fn state(&self, write: Option<Addr>, read: Option<Addr>) -> Option<&'static str> {
        let state = |handler| self.role(handler)?.state;
        state(write).or_else(|| state(read))
    }

    /// Of two handlers the one whose turn it is: the first, unless it does nothing and the second does.
    pub fn in_force(&self, first: Option<Addr>, second: Option<Addr>) -> Option<Addr> {
        let busy = |handler: &Addr| !self.role(Some(*handler)).is_some_and(|role| role.is_idle);
        first.filter(busy).or(second.filter(busy)).or(first).or(second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handler_that_does_something_is_the_one_to_name() {
        let idle = Role { protocol: None, state: None, is_idle: true };
        let handlers = Handlers { roles: [(Addr(1), idle)].into_iter().collect(), mail_authenticating: None };
        let (quiet, other) = (Some(Addr(1)), Some(Addr(2)));
        assert_eq!(handlers.in_force(quiet, other), other);
        assert_eq!(handlers.in_force(other, quiet), other);
        assert_eq!(handlers.in_force(quiet, quiet), quiet);
        assert_eq!(handlers.in_force(quiet, None), quiet);
        assert_eq!(handlers.in_force(None, None), None);
    }

    #[test]
    fn no_handler_is_listed_twice() {
        let names = OF_CONNECTIONS.iter().map(|(name, _, _)| *name);
        let names = names.chain(OF_REQUESTS.iter().map(|(name, _)| *name)).chain(IDLE.iter().copied());
        let mut names: Vec<&str> = names.collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
