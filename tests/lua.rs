//! Debian's nginx with its Lua module, both stripped: every pool that Lua code makes is named, and each kind is counted
//! exactly against what the Lua code knows of itself.

use poolscope::analysis::{Options, Silent, read_core, take};
use poolscope::debug::SearchOptions;
use poolscope::snapshot::finding::Finding;
use poolscope::snapshot::model::{ChunkGroup, Snapshot};
use poolscope::snapshot::pool::Trust;
use poolscope_fixtures::{DebianNginx, LUA, LuaCounts, gcore};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn options() -> Options {
    Options { debug: SearchOptions::from_environment(), ..Options::default() }
}

fn worker(nginx: &DebianNginx) -> Snapshot {
    take(nginx.worker_pid().unwrap() as i32, &options(), &Silent).unwrap()
}

/// How many pools there are of each kind and state.
fn kinds(snapshot: &Snapshot) -> BTreeMap<(&str, &str), usize> {
    let mut kinds = BTreeMap::new();
    for pool in &snapshot.pools {
        let state = pool.owner.state.as_deref().unwrap_or_default();
        *kinds.entry((pool.owner.kind.as_str(), state)).or_default() += 1;
    }
    kinds
}

fn count(snapshot: &Snapshot, kind: &str) -> usize {
    snapshot.pools.iter().filter(|pool| pool.owner.kind == kind).count()
}

fn cosockets(snapshot: &Snapshot, state: &str) -> usize {
    kinds(snapshot).get(&("lua.cosocket", state)).copied().unwrap_or(0)
}

fn assert_counts(snapshot: &Snapshot, counts: LuaCounts) {
    let seen = LuaCounts {
        timers: count(snapshot, "lua.timer"),
        running: count(snapshot, "lua.timer_running"),
        cosockets: cosockets(snapshot, "idle"),
        held: cosockets(snapshot, "in use"),
        regexes: count(snapshot, "lua.regex"),
        ..LuaCounts { kept: counts.kept, lost: counts.lost, ..LuaCounts::default() }
    };
    assert_eq!(seen, counts, "{:?}", kinds(snapshot));
    assert_eq!(count(snapshot, "lua.cosocket"), counts.cosockets + counts.held);
    assert_eq!(count(snapshot, "lua.fake_connection") + count(snapshot, "lua.other"), 0);
}

#[test]
fn timers_cosockets_and_regexes_are_named_and_counted_live_and_in_a_core() {
    let mut nginx = DebianNginx::start(LUA).unwrap();
    nginx.add_timers(300).unwrap();
    nginx.run_timers(20).unwrap();
    nginx.pool_cosockets(15).unwrap();
    nginx.hold_cosockets(6).unwrap();
    nginx.keep_clients(4).unwrap();
    nginx.compile_regexes(100).unwrap();
    let counts = nginx.counts().unwrap();
    assert!(counts.timers == 300 && counts.running == 20 && counts.regexes == 100, "{counts:?}");

    let live = worker(&nginx);
    assert_eq!(live.layouts.nginx.kind, "built_in");
    assert_eq!(live.layouts.nginx.verified_by.as_deref(), Some("memory"));
    assert_counts(&live, counts);
    assert_eq!(count(&live, "unknown_pool"), 0, "{:?}", kinds(&live));
    assert_eq!(live.pool_check.only_by_name, []);
    assert_eq!(live.pool_check.problems, Vec::<String>::new());
    for pool in &live.pools {
        let expected = if pool.owner.kind == "lua.regex" { Trust::Signature } else { Trust::BuiltInPath };
        assert_eq!(pool.owner.trust, expected, "{}", pool.owner.kind);
    }

    let folder = std::env::temp_dir().join(format!("poolscope-lua-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let core = gcore(nginx.worker_pid().unwrap(), &folder).unwrap();
    let dead = read_core(&core, &options(), &Silent).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(kinds(&dead), kinds(&live));
}

/// lua-nginx-module destroys the pool of `init_worker_by_lua` and keeps its connection's slot: what reuses the memory must
/// not pass for what that slot runs.
#[test]
fn the_slot_that_init_worker_by_lua_leaves_behind_owns_nothing() {
    let at_start = "init_worker_by_lua_block { ngx.timer.every(86400, function() end) }\n    lua_max_pending_timers";
    let mut nginx = DebianNginx::start(&LUA.replacen("lua_max_pending_timers", at_start, 1)).unwrap();
    nginx.add_timers(9).unwrap();
    nginx.run_timers(3).unwrap();
    let counts = nginx.counts().unwrap();
    assert_eq!((counts.timers, counts.running), (10, 3));
    nginx.compile_regexes(50).unwrap();
    nginx.keep_clients(20).unwrap();
    let snapshot = worker(&nginx);
    assert_counts(&snapshot, LuaCounts { regexes: 50, ..counts });
    assert_eq!(count(&snapshot, "connection_other"), 0, "{:?}", kinds(&snapshot));
    assert_eq!(count(&snapshot, "unknown_pool"), 0, "{:?}", kinds(&snapshot));
}

fn group<'a>(snapshot: &'a Snapshot, owner: &str, name: &str) -> &'a ChunkGroup {
    let found = snapshot.groups.iter().find(|group| group.owner == owner && group.name == name);
    found.unwrap_or_else(|| panic!("no {owner} {name}: {:#?}", snapshot.groups))
}

/// Sizes of Debian's nginx 1.22.1 with 8192 connections: 240 bytes each, 96 for each event, and 512 events of epoll.
#[test]
fn arrays_of_connections_and_events_are_named_and_so_are_timers() {
    let nginx = DebianNginx::start(LUA).unwrap();
    nginx.add_timers(30).unwrap();
    let snapshot = worker(&nginx);
    for (name, bytes, trust) in [
        ("connections", 8192 * 240, Trust::BuiltInPath),
        ("read_events", 8192 * 96, Trust::BuiltInPath),
        ("write_events", 8192 * 96, Trust::BuiltInPath),
        ("epoll event list", 512 * 12, Trust::Signature),
    ] {
        let group = group(&snapshot, "nginx", name);
        assert_eq!((group.chunks, group.trust), (1, trust), "{group:?}");
        assert!((bytes..bytes + 8192).contains(&group.bytes), "{group:?}");
    }
    assert!(group(&snapshot, "nginx", "environment").chunks > 0);
    let timers = group(&snapshot, "lua.timer", "events with their contexts");
    assert_eq!((timers.chunks, timers.trust), (30, Trust::BuiltInPath), "{timers:?}");
    let pending: Vec<_> = snapshot.pools.iter().filter(|pool| pool.owner.kind == "lua.timer").collect();
    let mut paths: Vec<&str> = pending.iter().map(|pool| pool.owner.path.as_str()).collect();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!((pending.len(), paths.len()), (30, 30), "{paths:?}");
    assert!(paths.iter().all(|path| path.starts_with("ngx_event_timer_rbtree: ")), "{paths:?}");
}

/// A client that sends `text` and then waits.
fn client(nginx: &DebianNginx, text: &str) -> TcpStream {
    let mut client = TcpStream::connect(("127.0.0.1", nginx.port())).unwrap();
    client.write_all(text.as_bytes()).unwrap();
    client
}

#[test]
fn requests_and_connections_tell_what_they_are_at_how_old_they_are_and_what_was_asked_for() {
    let mut nginx = DebianNginx::start(LUA).unwrap();
    let start = Instant::now();
    nginx.hold_cosockets(2).unwrap();
    nginx.keep_clients(3).unwrap();
    let _clients = [
        client(&nginx, "GET /pla"),
        client(&nginx, "GET /plain?token=secret HTTP/1.1\r\nHost: a\r\nX-Some"),
        client(&nginx, ""),
    ];
    std::thread::sleep(Duration::from_secs(2));
    let seen = worker(&nginx);
    let expected = [
        (("connection", "idle keepalive"), 3),
        (("connection", "new"), 1),
        (("connection", "processing"), 2),
        (("connection", "reading request headers"), 1),
        (("connection", "reading request line"), 1),
        (("request", "processing"), 2),
        (("request", "reading request headers"), 1),
        (("request", "reading request line"), 1),
    ];
    let mut seen_kinds = kinds(&seen);
    seen_kinds.retain(|(kind, _), _| ["connection", "request"].contains(kind));
    assert_eq!(seen_kinds.into_iter().collect::<Vec<_>>(), expected);
    let of_requests = || seen.pools.iter().filter(|pool| pool.owner.kind == "request");
    for pool in of_requests().filter(|pool| pool.owner.state.as_deref() == Some("processing")) {
        let age = Duration::from_millis(pool.age_ms.unwrap());
        // Up to the snapshot; nginx notes the start by a clock that it sets once for each round of events.
        let oldest = start.elapsed() + Duration::from_secs(1);
        assert!(age >= Duration::from_secs(2) && age <= oldest, "{age:?} of {oldest:?}");
        assert_eq!(pool.owner.protocol.as_deref(), Some("http/1.1"));
        assert_eq!(pool.owner.trust, Trust::BuiltInPath);
    }
    assert!(seen.pools.iter().all(|pool| pool.uri.is_none() && pool.client.is_none()));

    let all = take(nginx.worker_pid().unwrap() as i32, &Options { show_clients: true, ..options() }, &Silent).unwrap();
    let mut uris: Vec<&str> = all.pools.iter().filter_map(|pool| pool.uri.as_deref()).collect();
    uris.sort_unstable();
    assert_eq!(uris, ["/held", "/held", "/plain?token=secret"]);
}

#[test]
fn a_master_has_a_cycle_and_its_regexes_are_not_guessed() {
    let nginx = DebianNginx::start(LUA).unwrap();
    let master = take(nginx.master_pid() as i32, &options(), &Silent).unwrap();
    assert_eq!(count(&master, "cycle"), 1);
    assert_eq!(master.layouts.nginx.verified_by.as_deref(), Some("memory"));
    assert_counts(&master, LuaCounts::default());
}

/// malloc through the FFI is no memory of LuaJIT's: what a Lua table still has the addresses of is held by LuaJIT, and what
/// no word of the process leads to is lost.
#[test]
fn blocks_that_lua_code_has_lost_are_told_from_those_that_it_keeps() {
    const KEPT: u64 = 500;
    const LOST: u64 = 800;
    let nginx = DebianNginx::start(LUA).unwrap();
    let by_luajit = |snapshot: &Snapshot| -> (u64, u64) {
        let groups = snapshot.groups.iter().filter(|group| group.owner == "luajit");
        groups.fold((0, 0), |(chunks, bytes), group| (chunks + group.chunks, bytes + group.bytes))
    };
    let before = by_luajit(&worker(&nginx));
    nginx.keep_blocks(KEPT as usize, 3000).unwrap();
    nginx.lose_blocks(LOST as usize, 5000).unwrap();
    let counts = nginx.counts().unwrap();
    assert_eq!((counts.kept as u64, counts.lost as u64), (KEPT, LOST));
    let snapshot = worker(&nginx);
    let group = |owner: &str, name: &str| -> Option<&ChunkGroup> {
        snapshot.groups.iter().find(|group| group.owner == owner && group.name.contains(name))
    };
    let lost = group("unreferenced", "chunk of 5008 bytes").map(|group| (group.chunks, group.bytes));
    assert_eq!(lost, Some((LOST, LOST * 5008)), "{:#?}", snapshot.groups);
    assert_eq!(group("unreferenced", "chunk of 3008 bytes").map(|group| group.chunks), None);
    let found = snapshot.findings.iter().find_map(|finding| match finding {
        Finding::Unreferenced { name, chunks, size, .. } if name == "chunk of 5008 bytes" => Some((*chunks, *size)),
        _ => None,
    });
    assert_eq!(found, Some((LOST, Some(5008))), "{:#?}", snapshot.findings);
    let after = by_luajit(&snapshot);
    let (chunks, bytes) = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
    // Besides, Lua has freed and made little of its own.
    assert!((KEPT..KEPT + 20).contains(&chunks), "{chunks} chunks more are held by LuaJIT: {:#?}", snapshot.groups);
    assert!(bytes >= KEPT * 3008, "{bytes} bytes more are held by LuaJIT: {:#?}", snapshot.groups);
}
