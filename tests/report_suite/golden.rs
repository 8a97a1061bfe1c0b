//! Whole reports, as they are read. `INSTA_UPDATE=always cargo test --test report_suite` writes them anew.

use crate::samples;
use poolscope::report::style::Style;
use poolscope::report::table::{Page, write};
use poolscope::snapshot::model::Snapshot;

fn report(snapshot: &Snapshot, style: Style, top: usize) -> String {
    let mut out = Vec::new();
    write(snapshot, &Page { style, top }, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn the_leak_is_seen_on_the_first_screen() {
    insta::assert_snapshot!(report(&samples::leak(), Style::PLAIN, 0));
}

#[test]
fn single_pools_on_request() {
    insta::assert_snapshot!(report(&samples::leak(), Style::PLAIN, 4));
}

#[test]
fn a_wide_terminal() {
    insta::assert_snapshot!(report(&samples::leak(), Style { width: 120, ..Style::PLAIN }, 2));
}

#[test]
fn only_ascii() {
    insta::assert_snapshot!(report(&samples::leak(), Style { unicode: false, ..Style::PLAIN }, 2));
}

#[test]
fn in_colour() {
    let report = report(&samples::leak(), Style { color: true, ..Style::PLAIN }, 1);
    insta::assert_snapshot!(report.replace('\x1b', "ESC"));
}

#[test]
fn a_worker_with_much_to_say() {
    insta::assert_snapshot!(report(&samples::busy(), Style::PLAIN, 2));
}

#[test]
fn the_narrowest_terminal_keeps_names() {
    insta::assert_snapshot!(report(&samples::leak(), Style { width: 72, ..Style::PLAIN }, 4));
}

#[test]
fn pools_without_debug_info() {
    insta::assert_snapshot!(report(&samples::stripped(), Style::PLAIN, 1));
}

#[test]
fn without_debug_info_findings_are_not_all() {
    let mut snapshot = samples::stripped();
    snapshot.findings = samples::busy().findings.split_off(3);
    let text = report(&snapshot, Style::PLAIN, 0);
    assert!(text.contains("\n  Owners of pools, such as deleted upstreams, were not looked for"), "{text}");
    assert!(!text.contains("Nothing that poolscope looks for"), "{text}");
}

#[test]
fn a_heap_without_pools() {
    insta::assert_snapshot!(report(&samples::not_nginx(), Style::PLAIN, 3));
}

#[test]
fn another_allocator() {
    insta::assert_snapshot!(report(&samples::not_glibc(), Style::PLAIN, 0));
}

#[test]
fn books_that_do_not_reconcile() {
    insta::assert_snapshot!(report(&samples::incomplete(), Style::PLAIN, 0));
}

#[test]
fn a_worker_of_which_much_is_known() {
    insta::assert_snapshot!(report(&samples::loaded(), Style::PLAIN, 0));
}

#[test]
fn a_worker_of_which_much_is_known_with_single_pools_and_groups() {
    insta::assert_snapshot!(report(&samples::loaded(), Style { unicode: false, ..Style::PLAIN }, 3));
}

#[test]
fn owners_by_built_in_layouts_are_marked() {
    insta::assert_snapshot!(report(&samples::built_in(), Style::PLAIN, 0));
}

#[test]
fn little_outside_pools_has_no_table_of_its_own_unless_asked_for() {
    let little = samples::little_outside();
    assert!(!report(&little, Style::PLAIN, 0).contains("Outside pools"));
    assert!(report(&little, Style::PLAIN, 2).contains("Outside pools"));
    assert!(!report(&samples::leak(), Style::PLAIN, 2).contains("Outside pools"), "nothing is known of it");
}

#[test]
fn clients_are_in_no_report() {
    let text = report(&samples::with_clients(), Style::PLAIN, 20);
    assert!(!text.contains("198.51.100") && !text.contains("room"), "{text}");
}
