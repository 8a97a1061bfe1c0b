//! Parquet tables, as DuckDB reads them.

use crate::consumers::{duckdb, folder};
use crate::samples::{self, owner, worker};
use poolscope::report::parquet;
use poolscope::snapshot::model::{ChunkGroup, ProcessInfo, Snapshot};
use poolscope::snapshot::pool::Trust;
use std::fs::File;
use std::path::Path;

fn write(folder: &Path, name: &str, snapshots: &[Snapshot]) {
    let create = |table: &str| File::create(folder.join(format!("{table}-{name}.parquet"))).unwrap();
    parquet::write_owners(snapshots, create("owners")).unwrap();
    parquet::write_pools(snapshots, create("pools")).unwrap();
    parquet::write_groups(snapshots, create("groups")).unwrap();
}

/// Two files: a worker with pools, and a core of which no more than its pid is known.
fn two_files(name: &str) -> std::path::PathBuf {
    let folder = folder(name);
    let mut known = worker("gateway-1", 7, 0.0, vec![owner("request", 1, &[(2, 528), (1, 4_112)])]);
    known.pools = vec![samples::pool(4, "svc", 10_000), samples::unknown_pool(8_224)];
    known.groups = vec![ChunkGroup {
        owner: "openssl".into(),
        name: "SSL_SESSION".into(),
        trust: Trust::Referenced,
        chunks: 3,
        bytes: 1_584,
        ..ChunkGroup::default()
    }];
    let mut core = worker("", 8, 1.0, vec![owner("request", 1, &[(1, 528)])]);
    core.process = ProcessInfo { pid: 8, role: "worker".into(), ..ProcessInfo::default() };
    core.source.kind = "core".into();
    core.pools = vec![samples::unknown_pool(u64::MAX)];
    write(&folder, "one", &[known]);
    write(&folder, "two", &[core]);
    folder
}

const PROCESS: [&str; 9] = [
    "host | VARCHAR",
    "boot_id | VARCHAR",
    "pid | INTEGER",
    "start_ticks | BIGINT",
    "parent | INTEGER",
    "role | VARCHAR",
    "server | VARCHAR",
    "source | VARCHAR",
    "taken_at | TIMESTAMP WITH TIME ZONE",
];

fn types(table: &str, folder: &Path) -> Vec<String> {
    let from = format!("(DESCRIBE SELECT * FROM read_parquet('{table}-*.parquet'))");
    duckdb(&format!("SELECT column_name, column_type FROM {from}"), folder)
}

#[test]
fn groups_have_a_row_each_and_null_for_what_is_not_known() {
    let folder = two_files("groups");
    let query = "SELECT pid, owner, label, name, trust, path, chunks, bytes, smallest, example \
                 FROM read_parquet('groups-*.parquet')";
    assert_eq!(
        duckdb(query, &folder),
        ["7 | openssl | None | SSL_SESSION | referenced | None | 3 | 1584 | None | None"]
    );
}

#[test]
fn columns_have_the_types_that_queries_need() {
    let folder = two_files("types");
    let owners = [
        "owner | VARCHAR",
        "label | VARCHAR",
        "bucket_from | BIGINT",
        "bucket_to | BIGINT",
        "chunks | BIGINT",
        "bytes | BIGINT",
    ];
    assert_eq!(types("owners", &folder), [&PROCESS[..], &owners].concat());
    let texts = ["address", "owner", "label", "name", "path", "trust", "state", "protocol", "handler", "identity"];
    let clients = ["client", "uri"];
    let sizes = [
        "block_size",
        "blocks",
        "large",
        "large_freed",
        "bytes",
        "block_bytes",
        "large_bytes",
        "used",
        "unused",
        "lost",
    ];
    let mut pools: Vec<String> = PROCESS.map(str::to_owned).to_vec();
    pools.extend(texts.map(|name| format!("{name} | VARCHAR")));
    pools.extend(["reference_count", "age_ms"].map(|name| format!("{name} | BIGINT")));
    pools.extend(clients.map(|name| format!("{name} | VARCHAR")));
    pools.extend(sizes.map(|name| format!("{name} | BIGINT")));
    pools.extend(["second_block", "cleanups"].map(|name| format!("{name} | VARCHAR")));
    assert_eq!(types("pools", &folder), pools);
    let groups = [
        "owner | VARCHAR",
        "label | VARCHAR",
        "name | VARCHAR",
        "trust | VARCHAR",
        "path | VARCHAR",
        "chunks | BIGINT",
        "bytes | BIGINT",
        "smallest | BIGINT",
        "largest | BIGINT",
        "example | VARCHAR",
    ];
    assert_eq!(types("groups", &folder), [&PROCESS[..], &groups].concat());
}

#[test]
fn rows_of_several_files_are_read_together() {
    let folder = two_files("rows");
    let rows = duckdb(
        "SELECT host, boot_id, pid, start_ticks, parent, role, server, source, epoch_ms(taken_at), owner, label, bucket_from, \
         bucket_to, chunks, bytes FROM read_parquet('owners-*.parquet') ORDER BY pid, bucket_from",
        &folder,
    );
    let head = "gateway-1 | boot-of-gateway-1 | 7 | 81234 | 1000 | worker | Tengine/3.1.0 | process | 1772332500250";
    assert_eq!(
        rows,
        [
            format!("{head} | request | label of request | 512 | 1024 | 2 | 1056"),
            format!("{head} | request | label of request | 4096 | 8192 | 1 | 4112"),
            "None | None | 8 | None | 0 | worker | None | core | 1772336100250 | request | label of request | 512 | 1024 | 1 \
             | 528"
                .to_owned(),
        ]
    );
}

#[test]
fn a_pool_is_what_json_says_of_it_and_no_column_needs_quotes() {
    let folder = two_files("pools");
    let rows = duckdb(
        "SELECT pid, address, owner, label, name, path, trust, state, identity, reference_count, block_size, blocks, large, \
         large_freed, bytes, block_bytes, large_bytes, used, unused, lost, second_block, cleanups \
         FROM read_parquet('pools-*.parquet') ORDER BY pid, name",
        &folder,
    );
    assert_eq!(
        rows,
        [
            "7 | 0x55d0c8a432b0 | dyups.deleting | dyups upstream, deleted but still referenced | svc | dy_upstreams[4].pool \
             | typed_path | deleting | 17.2 | 3 | 512 | 2 | 1 | 4 | 10000 | 1056 | 8944 | 900 | 100 | 16 | 0x6010 \
             | ngx_pool_cleanup_file=2",
            "7 | 0xffffffffffffffff |  |  | None | None | signature | None | None | None | 0 | 0 | 0 | 0 | 8224 | 8224 | 0 | 0 \
             | 0 | 0 | None | None",
            "8 | 0xffffffffffffffff |  |  | None | None | signature | None | None | None | 0 | 0 | 0 | 0 \
             | 9223372036854775807 | 9223372036854775807 | 0 | 0 | 0 | 0 | None | None",
        ]
    );
}

#[test]
fn files_say_what_wrote_them_and_are_compressed() {
    let folder = two_files("about");
    let file = |query: &str| duckdb(&format!("SELECT {query}('pools-one.parquet')"), &folder);
    assert_eq!(file("created_by FROM parquet_file_metadata"), ["poolscope version 0.1.0"]);
    assert_eq!(
        file("decode(key), decode(value) FROM parquet_kv_metadata"),
        ["poolscope.table | pools", "poolscope.schema_version | 3"]
    );
    assert_eq!(file("DISTINCT compression FROM parquet_metadata"), ["ZSTD"]);
    let encoded = file("path_in_schema FROM parquet_metadata");
    assert!(encoded.contains(&"owner".to_owned()), "{encoded:?}");
}

#[test]
fn no_row_is_a_table_all_the_same() {
    let folder = folder("empty");
    write(&folder, "none", &[]);
    write(&folder, "other", &[worker("a", 1, 0.0, Vec::new())]);
    for table in ["owners", "pools"] {
        assert_eq!(duckdb(&format!("SELECT count(*) FROM read_parquet('{table}-*.parquet')"), &folder), ["0"]);
    }
}

#[test]
fn many_pools_are_in_several_row_groups_and_none_is_lost() {
    let folder = folder("many");
    let mut snapshot = worker("a", 1, 0.0, Vec::new());
    snapshot.pools = (0..150_000).map(|slot| samples::pool(slot, "svc", 2_000 + u64::from(slot))).collect();
    let mut second = snapshot.clone();
    second.process.pid = 2;
    parquet::write_pools([&snapshot, &second], File::create(folder.join("pools.parquet")).unwrap()).unwrap();
    let read = "SELECT count(*), count(DISTINCT address), sum(bytes) FROM 'pools.parquet'";
    let bytes = 2 * (0..150_000).map(|slot| 2_000 + slot).sum::<u64>();
    assert_eq!(duckdb(read, &folder), [format!("300000 | 150000 | {bytes}")]);
    let groups = "SELECT max(row_group_num_rows), sum(row_group_num_rows) FROM \
                  (SELECT DISTINCT row_group_id, row_group_num_rows FROM parquet_metadata('pools.parquet'))";
    assert_eq!(duckdb(groups, &folder), ["131072 | 300000"]);
}
