//! What holds of every report.

use crate::samples;
use poolscope::report::style::Style;
use poolscope::report::table::{Page, write};
use poolscope::report::text::width;
use poolscope::snapshot::human::{human_bytes, human_count};
use poolscope::snapshot::model::Snapshot;
use proptest::prelude::*;

fn all() -> [Snapshot; 8] {
    let odd = [samples::not_nginx(), samples::not_glibc(), samples::incomplete(), samples::stripped()];
    let [not_nginx, not_glibc, incomplete, stripped] = odd;
    let (loaded, built_in) = (samples::loaded(), samples::built_in());
    [samples::leak(), samples::busy(), loaded, built_in, not_nginx, not_glibc, incomplete, stripped]
}

fn report(snapshot: &Snapshot, style: Style) -> String {
    let mut out = Vec::new();
    write(snapshot, &Page { style, top: 10 }, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn no_line_is_wider_than_asked() {
    for snapshot in all() {
        for columns in [72, 80, 100, 120] {
            for unicode in [true, false] {
                let text = report(&snapshot, Style { width: columns, color: false, unicode });
                for line in text.lines() {
                    assert!(width(line) <= columns, "{} > {columns}: {line:?}\n{text}", width(line));
                    assert_eq!(line, line.trim_end(), "blanks at the end of a line");
                }
            }
        }
    }
}

#[test]
fn without_colour_there_is_no_escape_sequence_and_with_it_the_text_is_the_same() {
    for snapshot in all() {
        let plain = report(&snapshot, Style::PLAIN);
        let mut colored = report(&snapshot, Style { color: true, ..Style::PLAIN });
        assert!(!plain.contains('\x1b'));
        for sequence in ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[36m", "\x1b[1;31m", "\x1b[1;33m"] {
            colored = colored.replace(sequence, "");
        }
        assert_eq!(colored, plain);
    }
}

#[test]
fn ascii_is_ascii() {
    for snapshot in all() {
        assert!(report(&snapshot, Style { unicode: false, ..Style::PLAIN }).is_ascii());
    }
}

#[test]
fn owners_and_buckets_add_up_to_what_is_in_use() {
    for snapshot in all().iter().filter(|snapshot| !snapshot.owners.is_empty()) {
        let text = report(snapshot, Style::PLAIN);
        let total = text.lines().find(|line| line.contains("all in use")).unwrap();
        assert!(total.contains(&human_bytes(snapshot.in_use_bytes())), "{total}");
        assert!(total.contains(&human_count(snapshot.in_use_chunks())), "{total}");
        let in_buckets: u64 = text.lines().filter_map(bucket_chunks).sum();
        assert_eq!(in_buckets, snapshot.in_use_chunks());
    }
}

/// The chunks of a line like `  256K–512K  2,240  649 MiB …`.
fn bucket_chunks(line: &str) -> Option<u64> {
    let mut words = line.split_whitespace();
    let (from, to) = words.next()?.split_once('–')?;
    let is_size = |text: &str| text.starts_with(|first: char| first.is_ascii_digit());
    if !(is_size(from) && is_size(to)) {
        return None;
    }
    words.next()?.replace(',', "").parse().ok()
}

#[test]
fn the_bar_of_the_leaking_bucket_is_the_longest() {
    let text = report(&samples::leak(), Style::PLAIN);
    let longest = text.lines().max_by_key(|line| line.matches('█').count()).unwrap();
    assert!(longest.trim_start().starts_with("256K–512K"), "{longest}");
}

#[test]
fn a_path_or_build_id_that_a_line_can_hold_is_never_broken() {
    let snapshot = samples::stripped();
    for width in [72, 80, 100] {
        let text = report(&snapshot, Style { width, ..Style::PLAIN });
        for place in snapshot.layouts.nginx.tried.iter().map(|place| place.split(' ').next().unwrap()) {
            assert!(text.contains(place) || place.len() > width, "{place} is broken:\n{text}");
        }
        assert!(text.contains("5d3fd8fb2f3b3e8dbb8d5f0bbf6e0d8f4b0a5f60"), "{text}");
    }
}

#[test]
fn the_largest_pools_show_whose_they_are_at_any_width() {
    for width in 72..=120 {
        let text = report(&samples::leak(), Style { width, ..Style::PLAIN });
        let rows = text.lines().skip_while(|line| !line.starts_with("Largest pools"));
        assert_eq!(rows.filter(|line| line.ends_with(" \"svc\"")).count(), 3, "{text}");
    }
}

proptest! {
    #[test]
    fn any_name_fits_and_any_owner_is_summed(
        name in "\\PC{0,60}",
        title in "[\\x00-\\x7f]{0,200}",
        classes in proptest::collection::vec((1u64..50, 24u64..1 << 22), 1..12),
        columns in 72usize..=120,
    ) {
        let mut snapshot = samples::leak();
        snapshot.process.title = title;
        snapshot.owners = classes.iter().enumerate().map(|(index, (count, size))| {
            let mut owner = samples::owner(&format!("kind_{index}"), &name, index as u64 % 3, &[(*count, *size)]);
            owner.names = vec![(name.clone(), 1); index];
            owner
        }).collect();
        std::sync::Arc::make_mut(&mut snapshot.pools[0].owner).name = Some(name.clone());
        let text = report(&snapshot, Style { width: columns, ..Style::PLAIN });
        for line in text.lines() {
            prop_assert!(width(line) <= columns, "{} > {columns}: {line:?}", width(line));
        }
        let chunks: u64 = text.lines().filter_map(bucket_chunks).sum();
        // A name may look like a bucket; then there is nothing to compare.
        prop_assume!(bucket_chunks(&name).is_none());
        prop_assert_eq!(chunks, snapshot.in_use_chunks());
    }
}
