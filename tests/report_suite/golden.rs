//! Whole reports, as they are read. `INSTA_UPDATE=always cargo test --test report_suite` writes them anew.

use crate::samples;
use poolscope::report::style::Style;
use poolscope::report::table::{Page, write};
use poolscope::snapshot::finding::Finding;
use poolscope::snapshot::holder::Holder;
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
fn many_findings_leave_room_on_the_first_screen() {
    let mut snapshot = samples::busy();
    let finding = |number: u64| Finding::DeletedButReferenced {
        upstream: format!("service-{number}.with-a-name-that-takes-some-room.example.internal"),
        pools: 2,
        references: 3,
        bytes: 1 << 20,
        path: format!("ngx_http_dyups_upstreams.dy_upstreams[{number}..{}].ref", number + 1),
        holders: vec![Holder {
            label: "HTTP request".into(),
            name: Some("location ~ ^/up/(?<dyups_name>[^/]+)/(?<another_name>[^/]+)/socket".into()),
            state: Some("waiting for a connection to the upstream".into()),
            references: 2,
            pools: 2,
            ..Holder::default()
        }],
        unexplained: 1,
        created_at: Some("ngx_http_dyups_module.c:1607 (ngx_dyups_init_upstream)".into()),
    };
    snapshot.findings = (0..40).map(finding).collect();
    let text = report(&snapshot, Style::PLAIN, 0);
    let sections: Vec<&str> = text.split("\n\n").collect();
    assert!(sections[1].starts_with("What stands out\n") && sections[2].starts_with("Where the memory is"), "{text}");
    assert_eq!(sections[1].lines().count(), 1 + 5 * 5 + 1, "{text}");
    assert!(sections[1].ends_with("and 35 more findings (below the tables)"), "{text}");
    let whole = sections.iter().find(|section| section.starts_with("What stands out, in full\n")).unwrap();
    assert_eq!(whole.matches("created at ngx_http").count(), 10, "{whole}");
    assert!(whole.trim_end().ends_with("and 30 more findings (--format json has all)"), "{whole}");
}

#[test]
fn long_lists_of_problems_are_capped() {
    let mut snapshot = samples::leak();
    snapshot.pool_check.problems = (0..25).map(|number| format!("the pool at {number:#x}: is odd")).collect();
    snapshot.notes = (0..14).map(|number| format!("note {number}")).collect();
    let text = report(&snapshot, Style::PLAIN, 0);
    assert_eq!(text.matches(": is odd").count(), 10, "{text}");
    assert!(text.contains("and 15 more (--format json has all)"), "{text}");
    assert!(text.contains("and 4 more (--format json has all)") && !text.contains("note 10"), "{text}");
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
