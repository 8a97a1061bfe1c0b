//! What owns the pools of a real nginx, client by client: each test knows what its clients are doing.

use poolscope::analysis::{Options, Silent, take};
use poolscope::debug::SearchOptions;
use poolscope::snapshot::finding::Finding;
use poolscope::snapshot::model::Snapshot;
use poolscope::snapshot::pool::PoolRow;
use poolscope_fixtures::{Leak, LeakPlan, Nginx};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

fn snapshot_with(nginx: &Nginx, show_clients: bool) -> Snapshot {
    let options = Options { debug: SearchOptions::from_environment(), show_clients, ..Options::default() };
    take(nginx.worker_pid().unwrap() as i32, &options, &Silent).unwrap()
}

/// Takes snapshots until one is as wanted: what a client has sent reaches nginx a little later.
fn snapshot_when(nginx: &Nginx, what: &str, is_wanted: impl Fn(&Snapshot) -> bool) -> Snapshot {
    let start = Instant::now();
    loop {
        let snapshot = snapshot_with(nginx, false);
        if is_wanted(&snapshot) {
            assert!(snapshot.pool_check.only_by_name.is_empty(), "{:?}", snapshot.pool_check.only_by_name);
            assert_eq!(snapshot.pool_check.only_by_signature, [], "every pool of this worker has an owner");
            assert_eq!(snapshot.pool_check.problems, Vec::<String>::new());
            return snapshot;
        }
        let rows: Vec<String> = snapshot.pools.iter().map(shown).collect();
        assert!(start.elapsed() < Duration::from_secs(90), "no snapshot with {what}:\n{}", rows.join("\n"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn shown(pool: &PoolRow) -> String {
    let owner = &pool.owner;
    format!(
        "{} {:?} {:?} {:?} {:?} {}",
        owner.kind,
        owner.name,
        owner.state,
        owner.protocol,
        owner.handler,
        pool.path()
    )
}

fn pools<'a>(snapshot: &'a Snapshot, kind: &str, state: &str) -> Vec<&'a PoolRow> {
    let is_wanted = |pool: &&PoolRow| pool.owner.kind == kind && pool.owner.state.as_deref() == Some(state);
    snapshot.pools.iter().filter(is_wanted).collect()
}

fn count(snapshot: &Snapshot, kind: &str, state: &str) -> usize {
    pools(snapshot, kind, state).len()
}

fn client(port: u16, request: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(90))).unwrap();
    stream.write_all(request).unwrap();
    stream
}

/// A client that has had one whole answer, whose body ends with `end`.
fn answered(port: u16, path: &str, end: &str) -> TcpStream {
    let mut stream = client(port, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.ends_with(end.as_bytes()) {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the answer ended early: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..count]);
    }
    stream
}

#[test]
fn clients_are_told_by_what_they_are_doing() {
    let nginx = Nginx::builder().start().unwrap();
    let port = nginx.ports().http;
    let idle: Vec<TcpStream> = (0..3).map(|_| answered(port, "/small", "small body\n")).collect();
    let new: Vec<TcpStream> = (0..2).map(|_| client(port, b"")).collect();
    let in_line: Vec<TcpStream> = (0..4).map(|_| client(port, b"GET /sma")).collect();
    let in_headers: Vec<TcpStream> = (0..5).map(|_| client(port, b"GET /small HTTP/1.1\r\nHost: local")).collect();
    let upload = b"POST /kept/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\npart of it";
    let uploads: Vec<TcpStream> = (0..6).map(|_| client(port, upload)).collect();
    let in_handshake = client(nginx.ports().https, &[0x16]);
    let snapshot = snapshot_when(&nginx, "all clients", |snapshot| {
        let states =
            ["new", "idle keepalive", "reading request line", "reading request headers", "reading request body"];
        states.map(|state| count(snapshot, "connection", state)) == [2, 3, 4, 5, 6]
            && count(snapshot, "connection", "tls handshake") == 1
    });
    for (kind, state, clients) in [
        ("request", "reading request line", in_line.len()),
        ("request", "reading request headers", in_headers.len()),
        ("request", "reading request body", uploads.len()),
    ] {
        assert_eq!(count(&snapshot, kind, state), clients, "{kind} {state}");
    }
    let address = format!("127.0.0.1:{port}");
    for pool in pools(&snapshot, "connection", "idle keepalive") {
        assert_eq!(pool.owner.name.as_deref(), Some(address.as_str()));
        assert_eq!(pool.owner.protocol.as_deref(), Some("http/1.x"));
        assert_eq!(pool.owner.handler.as_deref(), Some("ngx_http_keepalive_handler"));
        assert!(pool.age_ms.is_some_and(|age| age < 600_000), "{:?}", pool.age_ms);
    }
    for pool in pools(&snapshot, "request", "reading request body") {
        assert_eq!(pool.owner.name.as_deref(), Some("location /kept/"));
        assert_eq!(pool.owner.protocol.as_deref(), Some("http/1.1"));
        assert_eq!(pool.owner.handler.as_deref(), Some("ngx_http_read_client_request_body_handler"));
        assert!(pool.age_ms.is_some_and(|age| age < 600_000), "{:?}", pool.age_ms);
    }
    drop((idle, new, in_line, in_headers, uploads, in_handshake));
}

#[test]
fn upstream_connections_are_told_by_the_upstream_and_how_far_they_are() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let nginx = Nginx::builder().start().unwrap();
    let port = nginx.ports().http;
    nginx.post_upstream("quiet", &format!("server 127.0.0.1:{};", silent.local_addr().unwrap().port())).unwrap();
    let cached = answered(port, "/kept/", "backend\n");
    let waiting: Vec<TcpStream> =
        (0..3).map(|_| client(port, b"GET /up/quiet HTTP/1.1\r\nHost: localhost\r\n\r\n")).collect();
    let leak = Leak::run(&nginx, &LeakPlan::new(4, 3), |_| ()).unwrap();
    let snapshot = snapshot_when(&nginx, "all upstream connections", |snapshot| {
        let active = ["reading header", "upgraded"].map(|state| count(snapshot, "upstream_connection", state));
        active == [3, 4] && count(snapshot, "upstream_keepalive", "idle") == 1
    });
    let names = |kind: &str, state: &str| -> Vec<Option<String>> {
        pools(&snapshot, kind, state).iter().map(|pool| pool.owner.name.clone()).collect()
    };
    assert_eq!(names("upstream_keepalive", "idle"), [Some("kept".to_owned())]);
    assert_eq!(names("upstream_connection", "reading header"), vec![Some("quiet".to_owned()); 3]);
    assert_eq!(names("upstream_connection", "upgraded"), vec![Some("svc".to_owned()); 4]);
    let location = Some("location ~ ^/up/(?<dyups_name>[^/]+)".to_owned());
    assert_eq!(names("request", "waiting for upstream"), vec![location.clone(); 3]);
    assert_eq!(names("request", "upgraded"), vec![location; 4]);
    assert_eq!(count(&snapshot, "connection", "upgraded"), leak.pinned());
    drop((cached, waiting));
}

#[test]
fn a_stream_session_has_the_pool_of_its_client_and_shares_it_with_the_server() {
    let nginx = Nginx::builder().start().unwrap();
    let sessions: Vec<TcpStream> = (0..3).map(|_| client(nginx.ports().stream, b"GET /")).collect();
    let snapshot =
        snapshot_when(&nginx, "three sessions", |snapshot| count(snapshot, "connection", "proxying") == sessions.len());
    for pool in pools(&snapshot, "connection", "proxying") {
        assert_eq!(pool.owner.protocol.as_deref(), Some("stream"));
        assert_eq!(pool.owner.name, Some(format!("127.0.0.1:{}", nginx.ports().stream)));
    }
}

#[test]
fn clients_are_shown_only_when_asked_for() {
    let nginx = Nginx::builder().start().unwrap();
    let secret = b"POST /kept/?token=secret HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n";
    let _client = client(nginx.ports().http, secret);
    let quiet = snapshot_when(&nginx, "a request", |snapshot| count(snapshot, "request", "reading request body") == 1);
    assert!(quiet.pools.iter().all(|pool| pool.client.is_none() && pool.uri.is_none()));
    let open = snapshot_with(&nginx, true);
    let request = pools(&open, "request", "reading request body")[0];
    assert_eq!((request.client.as_deref(), request.uri.as_deref()), (Some("127.0.0.1"), Some("/kept/?token=secret")));
    let connection = pools(&open, "connection", "reading request body")[0];
    assert_eq!((connection.client.as_deref(), connection.uri.as_deref()), (Some("127.0.0.1"), None));
}

/// HTTP/2 in clear text, and a location that never answers, whose server is at `silent`.
fn http2_configuration(silent: u16) -> String {
    format!(
        r#"
{{user}}
worker_processes {{workers}};
worker_rlimit_nofile {{open_files}};
daemon off;
pid nginx.pid;
error_log error.log info;
events {{ worker_connections {{connections}}; }}
http {{
    access_log off;
    server {{
        listen 127.0.0.1:{{api}};
        location / {{ dyups_interface; }}
    }}
    server {{
        listen 127.0.0.1:{{http}};
        http2 on;
        location = /small {{ return 200 "small body\n"; }}
        location ^~ /quiet/ {{ proxy_pass http://127.0.0.1:{silent}; }}
    }}
}}
"#
    )
}

/// One frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block for that path, from the static table and literals (RFC 7541); and whether it ends the headers.
fn headers(stream: u32, method: u8, path: &str, flags: u8) -> Vec<u8> {
    let mut block = vec![method, 0x86, 0x04, path.len() as u8];
    block.extend_from_slice(path.as_bytes());
    block.extend_from_slice(b"\x01\x09localhost");
    frame(1, flags, stream, &block)
}

/// A client that has said that it speaks HTTP/2, and has sent these frames.
fn http2_client(port: u16, frames: &[Vec<u8>]) -> TcpStream {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // Settings, and the acknowledgement of nginx's own, without which it takes no bodies.
    bytes.extend(frame(4, 0, 0, &[]));
    bytes.extend(frame(4, 1, 0, &[]));
    bytes.extend(frames.concat());
    client(port, &bytes)
}

#[test]
fn http2_streams_are_found_through_their_connection() {
    const GET: u8 = 0x82;
    const POST: u8 = 0x83;
    const END_STREAM: u8 = 1;
    const END_HEADERS: u8 = 4;
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let nginx = Nginx::builder().config(http2_configuration(silent.local_addr().unwrap().port())).start().unwrap();
    let port = nginx.ports().http;
    // More streams than there are lists for them, so that some lie behind others.
    let waiting: Vec<Vec<u8>> =
        (0..100).map(|nth| headers(nth * 2 + 1, GET, "/quiet/", END_STREAM | END_HEADERS)).collect();
    let busy = http2_client(port, &waiting);
    let uploading = http2_client(port, &[headers(1, POST, "/quiet/upload", END_HEADERS)]);
    let in_header = http2_client(port, &[headers(1, GET, "/small", END_STREAM)]);
    let mut idle = http2_client(port, &[headers(1, GET, "/small", END_STREAM | END_HEADERS)]);
    let mut answer = Vec::new();
    while !answer.ends_with(b"small body\n") {
        let mut byte = [0];
        idle.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    let snapshot = snapshot_when(&nginx, "all streams", |snapshot| {
        count(snapshot, "request", "waiting for upstream") == 100
            && count(snapshot, "request", "reading request body") == 1
            && count(snapshot, "connection", "idle keepalive") == 1
            && count(snapshot, "http2_header", "reading request headers") <= 1
            && snapshot.pools.iter().filter(|pool| pool.owner.kind == "request").count() == 102
    });
    let of = |kind: &'static str| snapshot.pools.iter().filter(move |pool| pool.owner.kind == kind);
    assert_eq!(of("http2_connection").count(), 3, "the idle one has none");
    assert_eq!(of("http2_header").count(), 102);
    assert!(of("http2_header").all(|pool| pool.block_size == 1024));
    assert_eq!(count(&snapshot, "connection", "streams open"), 3);
    for pool in of("request").chain(of("http2_header")).chain(of("http2_connection")) {
        assert_eq!(pool.owner.protocol.as_deref(), Some("http/2"), "{}", shown(pool));
    }
    let mut numbers: Vec<_> = pools(&snapshot, "request", "waiting for upstream").iter().map(|p| p.identity).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 100, "each stream has its own number");
    for pool in pools(&snapshot, "request", "waiting for upstream") {
        assert_eq!(pool.owner.name.as_deref(), Some("location ^~ /quiet/"));
    }
    drop((busy, uploading, in_header, idle));
}

#[test]
fn idle_connections_to_a_deleted_upstream_are_named_as_what_keeps_it() {
    let nginx = Nginx::builder().start().unwrap();
    let servers = format!("{}keepalive 4;", nginx.server_lines(1));
    nginx.post_upstream("svc", &servers).unwrap();
    let client = answered(nginx.ports().http, "/up/svc", "backend\n");
    nginx.delete_upstream("svc").unwrap();
    drop(client);
    let snapshot = snapshot_when(&nginx, "an idle connection and no client", |snapshot| {
        count(snapshot, "upstream_keepalive", "idle") == 1 && count(snapshot, "connection", "idle keepalive") == 0
    });
    let holders = snapshot.findings.iter().find_map(|finding| match finding {
        Finding::DeletedButReferenced { holders, references: 1, unexplained: 0, .. } => Some(holders),
        _ => None,
    });
    let [holder] = holders.unwrap().as_slice() else { panic!("{:?}", snapshot.findings) };
    assert_eq!((holder.owner.as_str(), holder.state.as_deref()), ("upstream_keepalive", Some("idle")));
    assert_eq!((holder.references, holder.pools), (1, 1));
}
