//! One row for each pool or chunk.

use crate::samples;
use poolscope::malloc::chunk::ChunkState;
use poolscope::report::rows::{
    self, ChunkFilter, ChunkLine, ChunkSort, ClientRow, Machine, PoolFilter, PoolKey, PoolSort, Row, SizeRange, chunks,
    pools, write, write_chunk_table, write_pool_table,
};
use poolscope::report::style::Style;
use poolscope::report::text::width;
use poolscope::snapshot::chunks::ArenaName;
use poolscope::snapshot::model::Snapshot;
use poolscope::snapshot::pool::{PoolRow, Trust};
use serde_json::Value;
use std::sync::Arc;

fn written<R: Row>(rows: impl Iterator<Item = R>, format: Machine) -> String {
    let mut out = Vec::new();
    write(rows, format, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn by(key: PoolKey) -> PoolSort {
    PoolSort { key, reverse: false }
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn each_line_of_ndjson_is_a_row_with_the_published_fields() {
    let snapshot = samples::with_chunks();
    let text = written(snapshot.pools.iter(), Machine::Ndjson);
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), snapshot.pools.len());
    let mut fields = PoolRow::FIELDS.to_vec();
    fields.sort_unstable();
    assert_eq!(keys(&rows[0]), fields);
    assert_eq!(rows[0]["address"], "0x55d0c8b4f2b0");
    assert_eq!(rows[3]["references"], Value::Null);

    let text = written(chunks(&snapshot, &ChunkFilter::default(), ChunkSort::Heap), Machine::Ndjson);
    insta::assert_snapshot!(text);
    let mut fields = ChunkLine::FIELDS.to_vec();
    fields.sort_unstable();
    assert_eq!(keys(&serde_json::from_str(text.lines().next().unwrap()).unwrap()), fields);
}

#[test]
fn one_array_is_the_same_rows() {
    let snapshot = samples::with_chunks();
    let array: Vec<Value> = serde_json::from_str(&written(snapshot.pools.iter(), Machine::Json)).unwrap();
    let lines = written(snapshot.pools.iter(), Machine::Ndjson);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(array, lines);
    let none: Vec<Value> = serde_json::from_str(&written(std::iter::empty::<&PoolRow>(), Machine::Json)).unwrap();
    assert!(none.is_empty());
}

#[test]
fn csv_has_a_heading_and_as_many_fields_in_each_record() {
    let mut snapshot = samples::with_chunks();
    Arc::make_mut(&mut snapshot.pools[1].owner).name = Some("a, \"b\"".into());
    insta::assert_snapshot!(written(snapshot.pools.iter(), Machine::Csv));
    insta::assert_snapshot!(written(chunks(&snapshot, &ChunkFilter::default(), ChunkSort::Heap), Machine::Csv));
}

#[test]
fn csv_and_json_agree() {
    let snapshot = samples::with_chunks();
    let csv = written(chunks(&snapshot, &ChunkFilter::default(), ChunkSort::Heap), Machine::Csv);
    let json = written(chunks(&snapshot, &ChunkFilter::default(), ChunkSort::Heap), Machine::Ndjson);
    for (record, line) in csv.lines().skip(1).zip(json.lines()) {
        let value: Value = serde_json::from_str(line).unwrap();
        let fields = ChunkLine::FIELDS.iter().map(|name| match &value[*name] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        });
        assert_eq!(record.split(',').collect::<Vec<_>>(), fields.collect::<Vec<_>>());
    }
}

#[test]
fn chunks_are_chosen_by_owner_size_state_and_arena() {
    let snapshot = samples::with_chunks();
    let count = |filter: ChunkFilter| chunks(&snapshot, &filter, ChunkSort::Heap).count();
    assert_eq!(count(ChunkFilter::default()), 6);
    let owner = |text: &str| ChunkFilter { owner: Some(text.into()), ..ChunkFilter::default() };
    assert_eq!(count(owner("DYUPS")), 2);
    assert_eq!(count(owner("still referenced")), 2);
    assert_eq!(count(owner("svc")), 2);
    assert_eq!(count(owner("outside")), 2);
    assert_eq!(count(owner("nobody")), 0);
    let size: SizeRange = "256K..512K".parse().unwrap();
    assert_eq!(count(ChunkFilter { size: Some(size), ..ChunkFilter::default() }), 1);
    assert_eq!(count(ChunkFilter { state: Some(ChunkState::InUse), ..ChunkFilter::default() }), 4);
    assert_eq!(count(ChunkFilter { arena: Some(ArenaName::Main), ..ChunkFilter::default() }), 4);
    assert_eq!(count(ChunkFilter { arena: Some(ArenaName::Other(0x7f5a_2c00_0030)), ..owner("outside") }), 1);
}

#[test]
fn pools_are_chosen_and_sorted() {
    let mut snapshot = samples::leak();
    snapshot.pools[2].references = Some(9);
    let list = |filter: PoolFilter, sort, top| -> Vec<u64> {
        pools(&snapshot, &filter, sort, top).rows.iter().map(|pool| pool.address.0).collect()
    };
    let all = list(PoolFilter::default(), by(PoolKey::Address), None);
    assert!(all.is_sorted() && all.len() == 4);
    assert_eq!(list(PoolFilter::default(), by(PoolKey::References), Some(1)), [snapshot.pools[2].address.0]);
    let owner = |text: &str| PoolFilter { owner: Some(text.into()), ..PoolFilter::default() };
    assert_eq!(list(owner("SVC"), by(PoolKey::Bytes), None).len(), 3);
    assert_eq!(list(owner("unknown"), by(PoolKey::Bytes), None).len(), 1);
    let state = PoolFilter { state: Some("Deleting".into()), ..PoolFilter::default() };
    assert_eq!(list(state, by(PoolKey::Bytes), None).len(), 3);
    let size = PoolFilter { size: "1M..".parse().ok(), ..PoolFilter::default() };
    assert_eq!(list(size, by(PoolKey::Bytes), None).len(), 3);
}

fn pool_table(snapshot: &Snapshot, limit: Option<usize>, top: Option<usize>) -> String {
    let mut out = Vec::new();
    let list = pools(snapshot, &PoolFilter::default(), by(PoolKey::Bytes), top);
    write_pool_table(&list, Style::PLAIN, limit, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn tables_of_rows_fit_a_terminal_and_are_whole_in_a_pipe() {
    let mut snapshot = samples::with_chunks();
    Arc::make_mut(&mut snapshot.pools[1].owner).name = Some("\u{1b}[2Jx".into());
    Arc::make_mut(&mut snapshot.pools[2].owner).name = Some("a-service-with-a-long-name.example".into());
    for limit in [20, 40, 72, 77, 80, 100, 200] {
        let table = pool_table(&snapshot, Some(limit), None);
        assert!(table.lines().all(|line| width(line) <= limit) && !table.contains('\x1b'), "{limit}:\n{table}");
    }
    assert!(pool_table(&snapshot, None, None).contains(&snapshot.pools[0].path()));
    insta::assert_snapshot!(pool_table(&snapshot, Some(100), None));
    insta::assert_snapshot!("pool_table_72", pool_table(&snapshot, Some(72), None));

    let mut out = Vec::new();
    write_chunk_table(chunks(&snapshot, &ChunkFilter::default(), ChunkSort::Heap), &mut out).unwrap();
    insta::assert_snapshot!(String::from_utf8(out).unwrap());
}

#[test]
fn the_largest_rows_say_of_how_many_they_are() {
    let snapshot = samples::leak();
    assert!(pool_table(&snapshot, None, Some(2)).ends_with("\n2 of 4 pools, 2.05 MiB of 3.08 MiB\n"));
    assert!(pool_table(&snapshot, None, Some(9)).ends_with("\n4 pools, 3.08 MiB\n"));
}

#[test]
fn chunks_outside_pools_are_chosen_and_sorted_by_group() {
    let snapshot = samples::grouped_chunks();
    let sizes = |filter: &ChunkFilter, sort| chunks(&snapshot, filter, sort).map(|row| row.size).collect::<Vec<_>>();
    let name = |text: &str| ChunkFilter { name: Some(text.into()), ..ChunkFilter::default() };
    assert_eq!(sizes(&name("ssl_session"), ChunkSort::Heap), [528]);
    assert_eq!(sizes(&name("openssl"), ChunkSort::Heap), [] as [u64; 0]);
    assert_eq!(sizes(&name("location"), ChunkSort::Heap), [4_112]);
    let owner = ChunkFilter { owner: Some("openssl".into()), ..ChunkFilter::default() };
    assert_eq!(sizes(&owner, ChunkSort::Heap), [528]);
    let outside = ChunkFilter { owner: Some(rows::OUTSIDE.into()), ..ChunkFilter::default() };
    assert_eq!(sizes(&outside, ChunkSort::Heap), [528, 112, 64], "whatever owns them");
    let all = ChunkFilter::default();
    assert_eq!(sizes(&all, ChunkSort::Heap), [4_112, 528, 112, 64]);
    assert_eq!(sizes(&all, ChunkSort::Size), [4_112, 528, 112, 64]);
    let addresses: Vec<u64> = chunks(&snapshot, &all, ChunkSort::Address).map(|row| row.address.0).collect();
    assert!(addresses.is_sorted());
    let owners: Vec<_> = chunks(&snapshot, &all, ChunkSort::Owner).map(|row| row.owner.unwrap()).collect();
    assert_eq!(owners, ["request", "openssl", "unreferenced", "outside_pools"]);
    let rows: Vec<ChunkLine<'_>> = chunks(&snapshot, &all, ChunkSort::Heap).collect();
    assert_eq!((rows[1].group, rows[1].path), (Some("SSL_SESSION"), Some("ssl_ctx->sessions")));
    assert_eq!((rows[3].group, rows[3].path), (None, None));
    let mut out = Vec::new();
    write_chunk_table(chunks(&snapshot, &all, ChunkSort::Heap), &mut out).unwrap();
    insta::assert_snapshot!("chunk_table_groups", String::from_utf8(out).unwrap());
}

#[test]
fn pools_are_chosen_by_name_trust_and_age_and_sorted_both_ways() {
    let snapshot = samples::loaded();
    let count = |filter: PoolFilter| pools(&snapshot, &filter, PoolSort::default(), None).rows.len();
    let name = |text: &str| PoolFilter { name: Some(text.into()), ..PoolFilter::default() };
    assert_eq!((count(name("/WS")), count(name("request")), count(name("443"))), (1119, 0, 1362));
    let trust = |trust| PoolFilter { trust: Some(trust), ..PoolFilter::default() };
    assert_eq!((count(trust(Trust::InferredPath)), count(trust(Trust::Signature))), (12, 8));
    let old = |min_age_ms| PoolFilter { min_age_ms: Some(min_age_ms), ..PoolFilter::default() };
    assert_eq!((count(old(3_600_000)), count(old(u64::MAX))), (1119 + 1162, 0));
    let state = PoolFilter { state: Some("Idle".into()), ..PoolFilter::default() };
    assert_eq!(count(state), 200);
    assert_eq!(rows::states(&snapshot), ["cached", "idle", "reading body", "upgraded", "writing"]);

    let listed = |key, reverse| pools(&snapshot, &PoolFilter::default(), PoolSort { key, reverse }, None).rows;
    let ages: Vec<Option<u64>> = listed(PoolKey::Age, false).iter().map(|pool| pool.age_ms).collect();
    assert_eq!(ages.last(), Some(&None), "what is not known comes last");
    assert!(ages.iter().flatten().is_sorted_by(|one, next| one >= next));
    let ages: Vec<Option<u64>> = listed(PoolKey::Age, true).iter().map(|pool| pool.age_ms).collect();
    assert_eq!(ages.last(), Some(&None), "the other way round as well");
    assert!(ages.iter().flatten().is_sorted());
    assert!(listed(PoolKey::Unused, false).is_sorted_by(|one, next| one.unused >= next.unused));
    assert!(listed(PoolKey::Large, true).is_sorted_by_key(|pool| pool.large));
    assert!(listed(PoolKey::Address, true).is_sorted_by(|one, next| one.address >= next.address));
}

#[test]
fn clients_have_columns_only_where_they_are_known() {
    let few = |mut snapshot: Snapshot| {
        snapshot.pools.retain(|pool| pool.address.0 % 0x8_0000 == 0x10 && pool.owner.kind != "cycle");
        snapshot.pools.truncate(4);
        snapshot
    };
    let (without, with) = (few(samples::loaded()), few(samples::with_clients()));
    let table = pool_table(&without, None, None);
    assert!(!table.contains("client") && !table.contains("uri"), "{table}");
    insta::assert_snapshot!("pool_table_clients", pool_table(&with, Some(150), None));
    for limit in [20, 72, 80, 100, 120, 200] {
        let table = pool_table(&with, Some(limit), None);
        assert!(table.lines().all(|line| width(line) <= limit) && !table.contains('\x1b'), "{limit}:\n{table}");
    }
    let csv = written(with.pools.iter().map(ClientRow), Machine::Csv);
    assert!(csv.lines().next().unwrap().ends_with(",cleanups,client,uri"), "{csv}");
    assert!(csv.lines().nth(2).unwrap().contains(",198.51.100."), "{csv}");
    let plain = written(without.pools.iter(), Machine::Ndjson);
    assert!(!plain.contains("client") && !plain.contains("uri"), "{plain}");
    let lines = written(with.pools.iter().map(ClientRow), Machine::Ndjson);
    let line: Value = serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
    let mut fields = ClientRow::FIELDS.to_vec();
    fields.sort_unstable();
    assert_eq!(keys(&line), fields);

    let mut hidden = with;
    hidden.hide_clients();
    assert_eq!(written(hidden.pools.iter(), Machine::Ndjson), plain);
}
