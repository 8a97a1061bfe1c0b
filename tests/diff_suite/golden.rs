//! Whole reports, as they are read. `INSTA_UPDATE=always cargo test --test diff_suite` writes them anew.

use crate::samples::{self, MIB, Rest, as_core, gateway};
use poolscope::diff::Trend;
use poolscope::report::diff::write_table;
use poolscope::report::style::Style;
use poolscope::report::table::Page;
use poolscope::report::text::width;
use poolscope::snapshot::model::{OwnerSummary, Snapshot};
use std::sync::Arc;

pub fn table(snapshots: &[Snapshot], style: Style, top: usize) -> String {
    let mut out = Vec::new();
    write_table(&Trend::of(snapshots).unwrap(), &Page { style, top }, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    for line in text.lines().filter(|_| !style.color) {
        assert!(width(line) <= style.width, "{} > {}: {line:?}\n{text}", width(line), style.width);
        assert_eq!(line, line.trim_end(), "blanks at the end of a line");
    }
    text
}

fn plain(old: Snapshot, new: Snapshot) -> String {
    table(&[old, new], Style::PLAIN, 2)
}

#[test]
fn the_leak_is_seen_on_the_first_screen() {
    insta::assert_snapshot!(plain(samples::old(), samples::leaked()));
}

#[test]
fn a_wide_terminal() {
    insta::assert_snapshot!(table(&[samples::old(), samples::leaked()], Style { width: 120, ..Style::PLAIN }, 2));
}

#[test]
fn only_ascii() {
    let text = table(&[samples::old(), samples::leaked()], Style { unicode: false, ..Style::PLAIN }, 1);
    assert!(text.is_ascii(), "{text}");
    assert!(text.contains("-5.00 KiB") || text.contains("-8.03 KiB"), "{text}");
}

#[test]
fn nothing_changed() {
    insta::assert_snapshot!(plain(samples::old(), gateway(3.0, 10, 0..20, Rest::default())));
}

#[test]
fn a_little_growth_is_told_and_not_made_much_of() {
    let rest = Rest { outside: 2_012, ..Rest::default() };
    insta::assert_snapshot!(plain(samples::old(), gateway(0.001, 10, 0..20, rest)));
}

#[test]
fn free_memory_that_glibc_keeps() {
    let rest = Rest { free: 116 * MIB, ..Rest::default() };
    insta::assert_snapshot!(plain(samples::old(), gateway(3.0, 10, 0..20, rest)));
}

#[test]
fn generations_that_were_freed() {
    let rest = Rest { free: 100 * MIB, ..Rest::default() };
    let mut new = gateway(1.0, 10, 0..20, rest);
    new.taken_at += 3.0 * 3600.0;
    insta::assert_snapshot!(plain(samples::leaked(), new));
}

#[test]
fn growth_outside_malloc() {
    let rest = Rest { anonymous: 70 * MIB, ..Rest::default() };
    insta::assert_snapshot!(plain(samples::old(), gateway(3.0, 10, 0..20, rest)));
}

/// A worker that came with a reload.
fn after_reload() -> Snapshot {
    let mut new = gateway(3.0, 12, 0..4, Rest::default());
    new.process.pid = 5151;
    (new.process.start_ticks, new.process.age_seconds) = (Some(53_900_000), Some(600));
    new.pools.iter_mut().filter(|pool| pool.owner.kind == "cycle").for_each(|pool| pool.address.0 += 0x10_0000);
    new
}

#[test]
fn a_reload_in_between() {
    insta::assert_snapshot!(plain(samples::old(), after_reload()));
}

#[test]
fn a_restart_in_between() {
    let mut new = after_reload();
    (new.process.parent, new.process.parent_start_ticks) = (5150, Some(53_899_000));
    insta::assert_snapshot!(plain(samples::old(), new));
}

#[test]
fn a_sibling() {
    let mut new = samples::leaked();
    (new.process.pid, new.process.start_ticks) = (4243, Some(81_235));
    insta::assert_snapshot!(plain(samples::old(), new));
}

#[test]
fn a_core_after_a_live_snapshot() {
    insta::assert_snapshot!(plain(samples::old(), as_core(samples::leaked())));
}

fn five() -> Vec<Snapshot> {
    [(0.0, 10), (1.0, 30), (2.0, 52), (3.0, 71), (4.0, 91)]
        .map(|(hours, generations)| gateway(hours, generations, 0..20, Rest::default()))
        .to_vec()
}

#[test]
fn a_trend_of_five() {
    let mut snapshots = five();
    snapshots.swap(1, 3);
    insta::assert_snapshot!(table(&snapshots, Style::PLAIN, 0));
}

#[test]
fn a_trend_with_a_restart_in_it() {
    let mut snapshots = five();
    for snapshot in &mut snapshots[..2] {
        snapshot.process.start_ticks = Some(11);
    }
    insta::assert_snapshot!(table(&snapshots, Style::PLAIN, 0));
}

#[test]
fn names_cannot_smuggle_in_escape_sequences() {
    let mut new = samples::leaked();
    for pool in new.pools.iter_mut().filter(|pool| pool.owner.kind == "dyups.deleting") {
        Arc::make_mut(&mut pool.owner).name =
            Some("\u{1b}[2J\u{202e}evil\nrow, \"quoted\" and rather a long name for an upstream".into());
    }
    let text = table(&[samples::old(), new.clone()], Style::PLAIN, 1);
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
    insta::assert_snapshot!(text);
    for columns in [72, 80, 99, 100, 120] {
        table(&[samples::old(), new.clone()], Style { width: columns, ..Style::PLAIN }, 3);
    }
}

/// Four columns of owners once squeezed `16K–32K` into three lines.
#[test]
fn sizes_are_whole_however_narrow_it_is() {
    let mut new = samples::leaked();
    let deleted = new.owners.iter().find(|owner| owner.owner == "dyups.deleting").unwrap().clone();
    let others = (0..4).map(|n| format!("module.{n}.with_a_name"));
    new.owners.extend(others.map(|owner| OwnerSummary { owner, ..deleted.clone() }));
    let columns_of_sizes = |text: &str| {
        let rows = text.lines().skip_while(|line| !line.starts_with("Change of chunk sizes"));
        let rows = rows.skip(2).take_while(|line| !line.is_empty());
        rows.map(|row| row.split_whitespace().next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    for columns in 60..120 {
        let text = table(&[samples::old(), new.clone()], Style { width: columns, ..Style::PLAIN }, 1);
        let sizes = columns_of_sizes(&text);
        assert!(sizes.len() >= 3, "{text}");
        assert!(sizes.iter().all(|size| size.contains('–') && !size.ends_with('–')), "{text}");
    }
}

#[test]
fn owners_known_on_one_side_only() {
    let mut new = samples::leaked();
    new.layouts.nginx.kind = "built_in".into();
    let owner = poolscope::snapshot::pool::PoolOwner {
        kind: "unknown_pool".into(),
        label: "pool without a known owner".into(),
        ..Default::default()
    };
    let owner = Arc::new(owner);
    new.pools.iter_mut().for_each(|pool| {
        (pool.owner, pool.identity, pool.slot, pool.references) = (owner.clone(), None, None, None);
    });
    let (pools, outside): (Vec<_>, Vec<_>) = new.owners.drain(..).partition(|owner| owner.pools > 0);
    let mut all = outside;
    all.extend(pools.into_iter().map(|mut owner| {
        owner.owner = "unknown_pool".into();
        owner
    }));
    (new.owners, new.findings) = (all, Vec::new());
    insta::assert_snapshot!(plain(samples::old(), new));
}

#[test]
fn a_heap_that_was_not_walked() {
    let mut new = samples::leaked();
    (new.coverage, new.owners, new.pools, new.findings) = (None, Vec::new(), Vec::new(), Vec::new());
    new.memory.drain(..4);
    new.memory.insert(
        0,
        poolscope::snapshot::model::MemoryRow {
            kind: "brk_heap".into(),
            label: "[heap], not walked".into(),
            size: 140 * MIB,
            resident: Some(120 * MIB),
            ..Default::default()
        },
    );
    insta::assert_snapshot!(plain(samples::old(), new));
}

#[test]
fn a_group_outside_pools_that_grew_is_the_suspect() {
    let (old, new) = (gateway(0.0, 10, 0..20, Rest::default()), gateway(3.0, 10, 0..20, Rest::default()));
    let pair = [samples::with_sessions(old, 300), samples::with_sessions(new, 1_500)];
    let trend = Trend::of(&pair).unwrap();
    let suspect = &trend.overall.suspects[0];
    assert_eq!((suspect.owner, suspect.name, suspect.chunks.by()), ("openssl", Some("SSL_SESSION"), 1_200));
    assert_eq!(suspect.per_hour, Some(1_200.0 * 528.0 / 3.0));
    insta::assert_snapshot!(table(&pair, Style::PLAIN, 2));
}

#[test]
fn a_few_pools_that_nothing_points_to_are_told_beside_much_growth() {
    let leak = |hours, generations, lost: u64| {
        let mut snapshot = gateway(hours, generations, 0..20, Rest::default());
        let pools = snapshot.pools.drain(..).chain((0..lost).map(samples::unreachable)).collect();
        samples::worker(hours, pools, Rest::default())
    };
    let pair = [leak(0.0, 10, 1), leak(3.0, 129, 4)];
    let trend = Trend::of(&pair).unwrap();
    assert!(trend.overall.suspects.iter().any(|suspect| suspect.is_unreachable() && suspect.pools.by() == 3));
    insta::assert_snapshot!(table(&pair, Style::PLAIN, 2));
}
