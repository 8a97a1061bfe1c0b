//! Structures of requests and upstreams (`src/http/ngx_http_request.h`, `ngx_http_upstream.h`,
//! `ngx_http_config.h`).

use super::{Member, bits, int, short, word, words};

/// Up to the state that a request says it is in; the bits after that differ much. Several headers of one name were arrays
/// until 1.23.0, and are lists since.
pub(super) const REQUEST: &[Member] = &[
    int("signature"),
    word("connection"),
    word("ctx"),
    word("main_conf"),
    word("srv_conf"),
    word("loc_conf"),
    word("read_event_handler"),
    word("write_event_handler"),
    word("cache"),
    word("upstream"),
    word("upstream_states"),
    word("pool"),
    word("header_in"),
    words("", 6),
    word("headers_in.headers.pool"),
    word("headers_in.count").since(1_029_008),
    // From `host` to `keep_alive`, with `te` in between.
    words("", 20),
    word("headers_in.te").since(1_013_010),
    word("headers_in.proxy_authorization").since(1_029_007),
    words("headers_in.x_forwarded_for", 5).until(1_023_000),
    word("headers_in.x_forwarded_for").since(1_023_000),
    // From `x_real_ip` to `date`.
    words("", 7),
    word("headers_in.cookie").since(1_023_000),
    words("headers_in.user", 2),
    words("headers_in.passwd", 2),
    words("headers_in.cookies", 5).until(1_023_000),
    words("headers_in.server", 2),
    word("headers_in.content_length_n"),
    word("headers_in.keep_alive_n"),
    // What kind of connection and browser it is.
    words("", 1),
    words("", 6),
    word("headers_out.headers.pool"),
    words("headers_out.trailers", 7).since(1_013_002),
    word("headers_out.status"),
    words("headers_out.status_line", 2),
    // From `server` to `www_authenticate`.
    words("", 10),
    word("headers_out.proxy_authenticate").since(1_029_007),
    words("", 2),
    word("headers_out.cache_control").since(1_023_000),
    word("headers_out.link").since(1_023_000),
    // From `override_charset` to `content_type_hash`.
    words("", 8),
    words("headers_out.cache_control", 5).until(1_023_000),
    words("headers_out.link", 5).since(1_013_009).until(1_023_000),
    words("", 4),
    word("request_body"),
    word("lingering_time"),
    word("start_sec"),
    word("start_msec"),
    word("method"),
    word("http_version"),
    word("request_line.len"),
    word("request_line.data"),
    words("uri", 2),
    words("args", 2),
    words("exten", 2),
    word("unparsed_uri.len"),
    word("unparsed_uri.data"),
    words("method_name", 2),
    words("http_protocol", 2),
    words("schema", 2).since(1_015_001),
    word("out"),
    word("main"),
    word("parent"),
    // From `postponed` to `posted_requests`.
    words("", 3),
    word("phase_handler"),
    // From `content_handler` to `err_status`, with what a build without PCRE lacks.
    words("", 11),
    word("http_connection"),
    word("stream"),
    word("v3_parse").since(1_025_000),
    word("log_handler"),
    word("cleanup"),
    short("port").since(1_029_003),
    bits("count", 16),
    bits("subrequests", 8),
    bits("blocked", 8),
    bits("aio", 1),
    bits("http_state", 4),
];

/// The start of an upstream: its two handlers, and the peer, which begins with its connection.
pub(super) const UPSTREAM: &[Member] =
    &[word("read_event_handler"), word("write_event_handler"), word("peer.connection")];

pub(super) const CONTEXT: &[Member] = &[word("main_conf"), word("srv_conf"), word("loc_conf")];
