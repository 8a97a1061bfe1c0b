//! What would free the pools of an owner.

/// When nginx destroys a pool of that kind of owner ([`OwnerSummary::owner`](super::model::OwnerSummary::owner)), for people:
/// "the request ends". `None` where that is the business of a module.
pub fn end_of(owner: &str) -> Option<&'static str> {
    Some(match owner {
        "cycle" => "this process ends: a worker does after a reload, once its last connection is closed",
        "old_cycle" => "no connection of the configuration before the reload is open any more",
        "request" => "the request ends",
        "connection" | "http2_connection" | "http3_stream" => "the client's connection is closed",
        "http2_header" => "the header has been read",
        "upstream_connection" | "upstream_keepalive" | "stream_upstream" | "mail_upstream" => {
            "the connection to the server is closed"
        }
        "connection_other" => "the connection is closed",
        "mail_auth" | "ocsp" => "the answer has come",
        "dyups.live" => "the upstream is deleted or replaced, and nothing references it any more",
        "lua.timer" | "lua.timer_running" => "the timer has run",
        "lua.cosocket" => "the cosocket is closed, or its time in the pool is over",
        "lua.regex" => "Lua collects the compiled regex",
        "unreachable_pool" => "the process ends",
        _ => return None,
    })
}
