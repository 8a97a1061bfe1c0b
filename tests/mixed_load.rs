//! Clients of every kind at once, on a real nginx: each pool has an owner, and there are as many of each kind as the load
//! knows that it holds.

use poolscope::analysis::{Options, Silent, take};
use poolscope::debug::SearchOptions;
use poolscope::snapshot::model::Snapshot;
use poolscope::snapshot::pool::{PoolRow, Trust};
use poolscope_fixtures::{MIXED, MixedLoad, MixedPlan, Nginx};
use std::time::{Duration, Instant};

fn snapshot_of(nginx: &Nginx) -> Snapshot {
    let options = Options { debug: SearchOptions::from_environment(), ..Options::default() };
    take(nginx.worker_pid().unwrap() as i32, &options, &Silent).unwrap()
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

fn of<'a>(snapshot: &'a Snapshot, kind: &'a str) -> impl Iterator<Item = &'a PoolRow> {
    snapshot.pools.iter().filter(move |pool| pool.owner.kind == kind)
}

/// How many of that kind are in one of these states; an empty list stands for any.
fn count(snapshot: &Snapshot, kind: &str, states: &[&str]) -> usize {
    let is_in = |pool: &&PoolRow| states.is_empty() || states.contains(&pool.owner.state.as_deref().unwrap_or("none"));
    of(snapshot, kind).filter(is_in).count()
}

/// What the load holds, by kind and states, with how many there must be.
fn expected(plan: &MixedPlan) -> Vec<(&'static str, Vec<&'static str>, usize)> {
    let mail = plan.mail_authenticating;
    vec![
        ("cycle", vec![], 1),
        ("request", vec![], plan.main_requests()),
        ("request", vec!["reading request line", "reading request headers"], plan.slow_headers),
        ("request", vec!["reading request body"], plan.slow_uploads),
        ("request", vec!["waiting for upstream"], plan.waiting + plan.streams()),
        ("request", vec!["sending response"], plan.partial_responses),
        ("request", vec!["upgraded"], plan.websockets),
        ("request", vec!["resolving upstream"], plan.resolving),
        ("request", vec!["lingering close"], plan.lingering),
        ("request", vec!["waiting for subrequest"], plan.guarded + plan.included),
        ("connection", vec![], plan.client_connections()),
        ("connection", vec!["idle keepalive"], plan.idle_keepalive + plan.tls_idle + plan.h2_idle),
        ("connection", vec!["new"], plan.silent),
        ("connection", vec!["tls handshake"], plan.tls_handshakes),
        ("connection", vec!["proxying"], plan.stream_sessions),
        ("connection", vec!["reading commands"], plan.mail_greeted),
        ("connection", vec!["waiting for authentication"], mail),
        ("mail_auth", vec![], mail),
        ("http2_connection", vec![], plan.h2_connections),
        ("http2_header", vec![], plan.streams()),
        ("upstream_keepalive", vec!["idle"], plan.cached_upstreams),
        ("upstream_connection", vec![], plan.upstream_requests()),
        ("upstream_connection", vec!["upgraded"], plan.websockets),
        ("upstream_connection", vec!["reading body"], plan.partial_responses),
        ("connection_other", vec![], 0),
        ("unknown_pool", vec![], 0),
    ]
}

/// The names of the requests in a location, which the load counts.
fn in_location(snapshot: &Snapshot, location: &str) -> usize {
    of(snapshot, "request").filter(|pool| pool.owner.name.as_deref() == Some(location)).count()
}

/// Takes snapshots until the numbers are those of the load: the stub_status request that the load asked last may still be
/// on its way out.
fn check(nginx: &Nginx, plan: &MixedPlan) -> Snapshot {
    let start = Instant::now();
    loop {
        let snapshot = snapshot_of(nginx);
        let wrong: Vec<String> = expected(plan)
            .into_iter()
            .map(|(kind, states, wanted)| (kind, count(&snapshot, kind, &states), wanted, states))
            .filter(|(_, found, wanted, _)| found != wanted)
            .map(|(kind, found, wanted, states)| format!("{found} and not {wanted} of {kind} {states:?}"))
            .collect();
        if wrong.is_empty() {
            return snapshot;
        }
        let rows: Vec<String> = snapshot.pools.iter().map(shown).collect();
        let message = format!("{}\n{}", wrong.join("\n"), rows.join("\n"));
        assert!(start.elapsed() < Duration::from_secs(90), "{message}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn every_pool_of_a_mixed_load_has_the_owner_that_the_load_knows() {
    let nginx = Nginx::builder().config(MIXED).start().unwrap();
    let load = MixedLoad::start(&nginx, &MixedPlan::default()).unwrap();
    let plan = load.expected();
    let snapshot = check(&nginx, &plan);
    assert_eq!(snapshot.pool_check.problems, Vec::<String>::new());
    assert_eq!(snapshot.pool_check.only_by_name, []);
    assert_eq!(snapshot.pool_check.only_by_signature, []);
    for (location, requests) in [
        ("location /hang/", plan.waiting + plan.streams()),
        ("location /part/", plan.partial_responses),
        ("location /upload/", plan.slow_uploads),
        ("location /ws/", plan.websockets),
        ("location /guarded/", plan.guarded),
        ("location /mirrored/", plan.mirrored),
        ("location /included/", plan.included),
        ("location ~ ^/name/(?<host_name>[^/]+)", plan.resolving),
        ("location = /linger", plan.lingering),
    ] {
        assert_eq!(in_location(&snapshot, location), requests, "{location}");
    }
    assert!(of(&snapshot, "upstream_keepalive").all(|pool| pool.owner.name.as_deref() == Some("cached")));
    for pool in of(&snapshot, "connection").chain(of(&snapshot, "request")) {
        assert!(pool.age_ms.is_some_and(|age| age < 600_000), "{}", shown(pool));
        assert!(
            pool.owner.protocol.is_some() || pool.owner.state.as_deref() == Some("tls handshake"),
            "{}",
            shown(pool)
        );
    }
}

#[test]
fn a_load_that_is_gone_leaves_nothing_behind() {
    let nginx = Nginx::builder().config(MIXED).start().unwrap();
    let load = MixedLoad::start(&nginx, &MixedPlan::default()).unwrap();
    let plan = load.expected();
    drop(load);
    nginx.hang_up().unwrap();
    let start = Instant::now();
    let snapshot = loop {
        let snapshot = snapshot_of(&nginx);
        let left: usize = ["request", "connection"].map(|kind| count(&snapshot, kind, &[])).iter().sum();
        let rows: Vec<String> = snapshot.pools.iter().map(shown).collect();
        assert!(start.elapsed() < Duration::from_secs(90), "{}", rows.join("\n"));
        if left == 0 {
            break snapshot;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(snapshot.pool_check.only_by_name, [], "stale pointers of free connections are not believed");
    assert_eq!(snapshot.pool_check.only_by_signature, []);
    assert_eq!(count(&snapshot, "upstream_keepalive", &[]), plan.cached_upstreams);
}

/// Some thousand clients: nearly every pool is named by a typed path, and nearly every byte has an owner.
#[test]
fn a_busy_worker_has_an_owner_for_nearly_all_that_it_holds() {
    let nginx = Nginx::builder().config(MIXED).start().unwrap();
    let load = MixedLoad::start(&nginx, &MixedPlan::busy()).unwrap();
    let snapshot = check(&nginx, &load.expected());
    let is_typed = |pool: &&PoolRow| matches!(pool.owner.trust, Trust::TypedPath | Trust::InferredPath);
    let (typed, all) = (snapshot.pools.iter().filter(is_typed).count(), snapshot.pools.len());
    let others: Vec<String> = snapshot.pools.iter().filter(|pool| !is_typed(pool)).map(shown).collect();
    assert!(all > 3000, "{all} pools");
    assert!(typed * 1000 >= all * 999, "{typed} of {all}\n{}", others.join("\n"));
    let (owned, in_use) = (snapshot.owned_bytes(), snapshot.in_use_bytes());
    assert!(owned * 100 >= in_use * 99, "{owned} of {in_use} bytes: {:#?}", snapshot.owners);
    assert_eq!(count(&snapshot, "unreachable_pool", &[]), 0);
}
