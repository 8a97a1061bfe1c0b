use super::*;
use crate::report::rows::{Machine, write};
use crate::target::nginx_processes::{BinaryFile, NginxProcess};

fn listed(pid: i32, role: Role, resident: u64) -> Listed {
    let title = match role {
        Role::Master => "nginx: master process /usr/sbin/nginx -p /srv/gateway -c conf/nginx.conf",
        _ => "nginx: worker process",
    };
    let process = NginxProcess {
        pid,
        parent: if role == Role::Master { 1 } else { 10 },
        role,
        title: title.into(),
        resident: Some(resident),
        age_seconds: 531_000,
        user: 33,
        binary: Some(BinaryFile { path: "/usr/sbin/nginx".into(), state: FileState::Present }),
        container: None,
    };
    Listed { process, master: Some(10), server: Some("nginx/1.28.3".into()) }
}

fn some() -> Vec<Listed> {
    vec![listed(10, Role::Master, 8 << 20), listed(12, Role::Worker, 1 << 30), listed(11, Role::ShuttingDown, 1 << 28)]
}

fn table(listed: &[Listed], limit: Option<usize>) -> String {
    let mut out = Vec::new();
    write_table(listed, Style::PLAIN, limit, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_terminal_gets_whole_lines_and_a_hint() {
    let text = table(&some(), Some(80));
    let expected = "\
pid  parent  role                  rss      age  binary
 10       1  master           8.00 MiB  6 d 3 h  /usr/sbin/nginx -p /srv/gatewa…
 12      10    worker         1.00 GiB  6 d 3 h  /usr/sbin/nginx
 11      10    shutting down   256 MiB  6 d 3 h  /usr/sbin/nginx

largest: worker 12 (1.00 GiB); see whose it is: poolscope snapshot 12
";
    assert_eq!(text, expected);
}

#[test]
fn a_pipe_gets_everything_and_no_hint() {
    let text = table(&some(), None);
    assert!(text.contains("/usr/sbin/nginx -p /srv/gateway -c conf/nginx.conf\n"), "{text}");
    assert!(!text.contains("largest"), "{text}");
}

#[test]
fn long_paths_keep_their_end_and_their_mark_in_80_columns() {
    let mut some = some();
    for listed in &mut some {
        listed.process.pid += 4_000_000;
        listed.process.container = Some("4f1c9e0b7d2a4f1c9e0b7d2a".into());
        let path = "/opt/gateway/releases/2026-11-01/tengine/sbin/nginx".into();
        listed.process.binary = Some(BinaryFile { path, state: FileState::Replaced });
    }
    let text = table(&some, Some(80));
    assert!(text.lines().all(|line| width(line) <= 80), "{text}");
    assert!(text.contains("4f1c9e0b7d2a  "), "{text}");
    assert_eq!(text.lines().filter(|line| line.contains("nginx*")).count(), 3, "{text}");
    assert!(text.contains("\n* replaced by another file since it was started\n"), "{text}");
    let wide = table(&some, Some(120));
    assert_eq!(wide.lines().filter(|line| line.contains("/tengine/sbin/nginx*")).count(), 3, "{wide}");
}

#[test]
fn what_cannot_be_read_is_a_question_mark_or_null() {
    let mut unknown = listed(10, Role::Master, 1);
    unknown.process.binary = None;
    unknown.process.resident = None;
    unknown.server = None;
    assert!(table(std::slice::from_ref(&unknown), None).lines().nth(1).unwrap().ends_with('?'));
    let row = serde_json::to_value(ProcessRow::from(&unknown)).unwrap();
    assert!(row["executable"].is_null() && row["resident"].is_null());
    assert_eq!(row["role"], "master");
}

#[test]
fn rows_have_the_published_fields() {
    let some = some();
    let row = serde_json::to_value(ProcessRow::from(&some[2])).unwrap();
    assert_eq!(row["role"], "worker_shutting_down");
    assert_eq!(row["resident"], 1 << 28);
    let mut keys: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
    let mut fields = ProcessRow::FIELDS.to_vec();
    keys.sort_unstable();
    fields.sort_unstable();
    assert_eq!(keys, fields);
    let mut out = Vec::new();
    write(some.iter().map(ProcessRow::from), Machine::Csv, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().count(), 4);
    assert!(text.lines().all(|line| line.split(',').count() == ProcessRow::FIELDS.len()), "{text}");
}

#[test]
fn a_title_cannot_command_the_terminal() {
    let mut evil = listed(10, Role::Master, 1);
    evil.process.title = "nginx: master process nginx \x1b[2J".into();
    assert!(!table(&[evil], None).contains('\x1b'));
}
