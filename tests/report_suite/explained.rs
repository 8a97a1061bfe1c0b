//! What is said of single addresses, as it is read. `INSTA_UPDATE=always cargo test --test report_suite` writes it anew.

use poolscope::malloc::chunk::ChunkState;
use poolscope::report::explain::write;
use poolscope::report::style::Style;
use poolscope::snapshot::chunks::ArenaName;
use poolscope::snapshot::explanation::{ChunkInfo, Explanation, MappingInfo, Referrer, Referrers};
use poolscope::snapshot::finding::Finding;
use poolscope::snapshot::holder::Holder;
use poolscope::snapshot::model::{ChunkGroup, HexAddr};
use poolscope::snapshot::pool::{PoolOwner, PoolRow, Trust};
use serde_json::Value;

const DOCUMENT: &str = include_str!("../../docs/snapshot-schema.md");

fn report(explanation: &Explanation) -> String {
    let mut out = Vec::new();
    write(explanation, Style::PLAIN, 10, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn group() -> ChunkGroup {
    ChunkGroup {
        owner: "openssl".into(),
        name: "SSL_SESSION".into(),
        trust: Trust::Signature,
        path: "pointed to by the chunk at 0x55d0c8a00010".into(),
        example: HexAddr(0x55d0_c8a0_0100),
        chunks: 1200,
        bytes: 1200 * 400,
        ..ChunkGroup::default()
    }
}

fn chunk() -> ChunkInfo {
    ChunkInfo {
        address: HexAddr(0x55d0_c8a3_f2b0),
        size: 400,
        state: ChunkState::InUse,
        arena: ArenaName::Main,
        offset: 0x18,
        owner: Some("openssl".into()),
        label: Some("OpenSSL".into()),
        group: Some(group()),
        path: None,
        type_name: None,
        trust: None,
        holder: Some("pointed to by the chunk at 0x55d0c8a00010, which is pointed to by a variable".into()),
    }
}

fn referrer(at: Option<u64>, owner: &str, place: &str, path: Option<&str>) -> Referrer {
    Referrer {
        at: at.map(HexAddr),
        value: HexAddr(0x55d0_c8a3_f2b0),
        owner: owner.into(),
        name: None,
        state: None,
        place: place.into(),
        offset: 0x20,
        path: path.map(str::to_owned),
    }
}

fn in_chunk() -> Explanation {
    let list = vec![
        referrer(None, "register", "rsi of the main thread", None),
        referrer(Some(0x7f60_1d7f_6ac0), "nginx", "ngx_cycle->connections", Some("ngx_cycle->connections[17].data")),
        referrer(Some(0x7f60_1d80_0020), "variables", "main_arena", Some("main_arena.bins[4]")),
        referrer(Some(0x7ffd_0000_1000), "stack", "the stack of the main thread, below its stack pointer", None),
    ];
    let by_owner = list.iter().map(|referrer| (referrer.owner.clone(), 1)).collect();
    Explanation {
        address: HexAddr(0x55d0_c8a3_f2c8),
        what: "in a chunk in use that is in no pool".into(),
        mapping: Some(MappingInfo {
            start: HexAddr(0x55d0_c8a0_0000),
            end: HexAddr(0x55d0_c8b0_0000),
            rights: "rw-".into(),
            what: "brk heap".into(),
            file_offset: None,
        }),
        chunk: Some(chunk()),
        referrers: Some(Referrers { count: 4, searched: 12 << 20, threads: 3, exact: false, by_owner, list }),
        ..Explanation::default()
    }
}

#[test]
fn a_chunk_without_a_typed_path_has_who_holds_it() {
    insta::assert_snapshot!(report(&in_chunk()));
}

#[test]
fn a_chunk_with_a_typed_path_has_its_own() {
    let mut explanation = in_chunk();
    explanation.word = Some("c->ssl->session->references".into());
    explanation.chunk = Some(ChunkInfo {
        path: Some("ngx_cycle->connections[17].ssl->session".into()),
        type_name: Some("ssl_session_st".into()),
        trust: Some(Trust::TypedPath),
        holder: None,
        ..chunk()
    });
    explanation.referrers = None;
    insta::assert_snapshot!(report(&explanation));
}

#[test]
fn nothing_needs_no_more_than_a_sentence() {
    let what = "nothing is mapped at 0x10".to_owned();
    insta::assert_snapshot!(report(&Explanation { address: HexAddr(0x10), what, ..Explanation::default() }));
}

#[test]
fn every_field_of_an_explanation_is_documented() {
    let (_, section) = DOCUMENT.split_once("## Explanations").unwrap();
    let value = serde_json::to_value(in_chunk()).unwrap();
    let objects = [&value, &value["chunk"], &value["referrers"], &value["referrers"]["list"][0], &value["mapping"]];
    for field in objects.into_iter().filter_map(Value::as_object).flat_map(|object| object.keys()) {
        assert!(section.contains(&format!("`{field}`")), "{field} is not documented");
    }
}

/// A pool of an upstream that is being deleted, with those that keep it.
fn kept() -> Explanation {
    let owner = PoolOwner {
        kind: "dyups.deleting".into(),
        label: "dyups upstream, deleted but still referenced".into(),
        name: Some("svc".into()),
        state: Some("deleting".into()),
        trust: Trust::TypedPath,
        path: "ngx_cycle->conf_ctx[ngx_http_module].main_conf[ngx_http_dyups_module]->dy_upstreams[*].pool".into(),
        ..PoolOwner::default()
    };
    let holder = Holder {
        owner: "request".into(),
        label: "HTTP request".into(),
        name: Some("location /ws".into()),
        state: Some("upgraded".into()),
        references: 1,
        pools: 1,
        oldest_ms: Some(3 * 3_600_000),
        example: Some(HexAddr(0x55d0_c8c0_0010)),
    };
    let finding = Finding::DeletedButReferenced {
        upstream: "svc".into(),
        pools: 119,
        references: 119,
        bytes: 118 << 20,
        path: "dy_upstreams[0..118].ref".into(),
        holders: vec![Holder { references: 119, pools: 119, ..holder.clone() }],
        unexplained: 0,
        created_at: None,
    };
    Explanation {
        address: HexAddr(0x55d0_c8a3_f2b0),
        what: "in the ngx_pool_t with which a pool begins".into(),
        pool: Some(PoolRow {
            address: HexAddr(0x55d0_c8a3_f2b0),
            owner: owner.into(),
            slot: Some(17),
            references: Some(2),
            blocks: 295,
            large: 11,
            block_bytes: 1 << 20,
            used: 1000 << 10,
            ..PoolRow::default()
        }),
        place_in_pool: Some("header"),
        kept_by: vec![holder],
        findings: vec![finding],
        ..Explanation::default()
    }
}

#[test]
fn a_pool_that_is_kept_has_those_who_keep_it() {
    insta::assert_snapshot!(report(&kept()));
}

#[test]
fn counts_of_owners_are_of_all_that_was_looked_at() {
    let mut explanation = in_chunk();
    let referrers = explanation.referrers.as_mut().unwrap();
    (referrers.count, referrers.by_owner) = (3000, vec![("nginx".into(), 2999), ("stack".into(), 1)]);
    let text = report(&explanation);
    assert!(text.contains("3,000 places point") && text.contains("  2,999 in nginx, 1 in stack"), "{text}");
    explanation.referrers.as_mut().unwrap().count = 90_000;
    assert!(report(&explanation).contains("  of the first 3,000: 2,999 in nginx"), "{}", report(&explanation));
}
