//! Bytes that claim to be a snapshot: what is read of them, and all that is then shown of it.

use poolscope::analysis::explain_saved;
use poolscope::diff::Trend;
use poolscope::report::rows::{self, ChunkFilter, ChunkSort, ClientRow, Machine, PoolFilter, PoolKey, PoolSort};
use poolscope::report::style::Style;
use poolscope::report::table::{self, Page};
use poolscope::report::{diff, explain, json, openmetrics, parquet};
use poolscope::snapshot::file::{self, Wanted};
use poolscope::snapshot::model::Snapshot;
use std::io::Write;
use std::sync::LazyLock;

/// What everything is compared with.
static SOUND: LazyLock<Snapshot> = LazyLock::new(|| {
    let bytes: &[u8] = include_bytes!("../../saved/schema-3.zst");
    file::read(bytes, Wanted::ALL).expect("a sound snapshot")
});

const WIDE: Page = Page { style: Style { width: 120, color: true, unicode: true }, top: 5 };
const NARROW: Page = Page { style: Style { width: 72, color: false, unicode: false }, top: usize::MAX };

/// Reads the bytes, with all parts and without, and shows what comes out in every format.
pub fn run(data: &[u8]) {
    let _ = file::look(data);
    let few = file::read(data, Wanted::POOLS);
    match file::read(data, Wanted::ALL) {
        Ok(snapshot) => {
            // What is not asked for may be damaged; the other way round it cannot be.
            let few = few.unwrap_or_else(|error| panic!("readable with its chunks and not without: {error}"));
            assert_eq!(few.pools.len(), snapshot.pools.len());
            show(&snapshot);
            compare(&snapshot);
            write_again(&snapshot);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Nothing that is shown fails: the output takes everything.
fn shown(what: &str, result: std::io::Result<()>) {
    result.unwrap_or_else(|error| panic!("{what}: {error}"));
}

fn show(snapshot: &Snapshot) {
    let out = &mut std::io::sink();
    for page in [&WIDE, &NARROW] {
        shown("report", table::write(snapshot, page, out));
    }
    shown("json", json::write(snapshot, out));
    shown("openmetrics", openmetrics::write([snapshot], out));
    shown("parquet", parquet::write_owners([snapshot], std::io::sink()));
    shown("parquet", parquet::write_pools([snapshot], std::io::sink()));
    shown("parquet", parquet::write_groups([snapshot], std::io::sink()));
    show_rows(snapshot, out);
    let addresses = addresses_in(snapshot);
    for explanation in explain_saved(snapshot, &addresses) {
        shown("explanation", explain::write(&explanation, NARROW.style, 5, out));
        shown("explanation as JSON", json::write_line(&explanation, out));
    }
}

fn show_rows(snapshot: &Snapshot, out: &mut dyn Write) {
    for key in [PoolKey::Bytes, PoolKey::Age, PoolKey::Used, PoolKey::Blocks, PoolKey::References, PoolKey::Address] {
        let sort = PoolSort { key, reverse: key == PoolKey::Used };
        let list = rows::pools(snapshot, &PoolFilter::default(), sort, Some(100));
        shown("pools", rows::write_pool_table(&list, NARROW.style, Some(80), out));
        shown("pools as CSV", rows::write(list.rows.iter().copied(), Machine::Csv, out));
        shown("pools and clients as CSV", rows::write(list.rows.into_iter().map(ClientRow), Machine::Csv, out));
    }
    let filter = ChunkFilter { owner: Some("pool".to_owned()), ..ChunkFilter::default() };
    shown("chunks", rows::write_chunk_table(rows::chunks(snapshot, &filter, ChunkSort::Owner), out));
    let all = ChunkFilter::default();
    for format in [Machine::Ndjson, Machine::Csv, Machine::Json] {
        shown("chunks for programs", rows::write(rows::chunks(snapshot, &all, ChunkSort::Heap), format, out));
    }
}

/// Addresses at the ends of some pools and chunks, and where there can be nothing.
fn addresses_in(snapshot: &Snapshot) -> Vec<u64> {
    let pools = snapshot.pools.iter().take(4).map(|pool| pool.address.0);
    let chunks = snapshot.chunks.iter().flat_map(|table| table.iter().take(4));
    let chunks = chunks.flat_map(|chunk| [chunk.address, chunk.address.wrapping_add(chunk.size)]);
    pools.chain(chunks).chain([0, u64::MAX]).collect()
}

/// With itself, and with one that may show the same process, from either side.
fn compare(snapshot: &Snapshot) {
    let sound = &*SOUND;
    for pair in [[snapshot, snapshot, snapshot], [sound, snapshot, sound], [snapshot, sound, snapshot]] {
        let two = Trend::of(pair.into_iter().take(2)).expect("two are enough");
        let three = Trend::of(pair).expect("three are enough");
        for trend in [two, three] {
            let out = &mut std::io::sink();
            for page in [&WIDE, &NARROW] {
                shown("difference", diff::write_table(&trend, page, out));
            }
            shown("difference as JSON", diff::json::write(&trend, out));
            shown("changed pools", rows::write(diff::pool_rows(&trend.overall), Machine::Csv, out));
            shown("changed pools", rows::write(diff::pool_rows(&trend.overall), Machine::Ndjson, out));
        }
    }
}

/// What was read can be saved, and comes out the same.
fn write_again(snapshot: &Snapshot) {
    let mut file = Vec::new();
    shown("file", file::write(snapshot, &mut file));
    let mut again = file::read(file.as_slice(), Wanted::ALL).unwrap_or_else(|error| panic!("saved, and then: {error}"));
    again.poolscope_version.clone_from(&snapshot.poolscope_version);
    let text = |snapshot: &Snapshot| {
        let mut text = Vec::new();
        shown("json", json::write(snapshot, &mut text));
        text
    };
    assert!(text(&again) == text(snapshot), "what was saved is not what was read");
}
