use super::*;
use clap::Parser;

fn plan(words: &[&str]) -> Result<Plan, clap::Error> {
    Plan::new(Args::try_parse_from(words).unwrap(), &Environment::default())
}

#[test]
fn only_what_needs_chunks_keeps_them() {
    assert!(!plan(&["poolscope", "snapshot", "1"]).unwrap().options.with_chunks);
    assert!(!plan(&["poolscope", "pools", "1"]).unwrap().options.with_chunks);
    assert!(plan(&["poolscope", "chunks", "1"]).unwrap().options.with_chunks);
    assert!(plan(&["poolscope", "snapshot", "1", "--format", "json", "--chunks"]).unwrap().options.with_chunks);
}

#[test]
fn options_that_would_do_nothing_are_refused() {
    assert_eq!(plan(&["poolscope", "snapshot", "1", "--chunks"]).unwrap_err().exit_code(), 2);
    assert_eq!(plan(&["poolscope", "snapshot", "1", "--top", "3", "--format", "json"]).unwrap_err().exit_code(), 2);
    assert_eq!(plan(&["poolscope", "pools", "1", "--debug-dir", "/dev/null"]).unwrap_err().exit_code(), 2);
}

#[test]
fn a_deleted_owner_is_one_that_is_deleting() {
    for word in ["deleting", "deleted"] {
        let plan = plan(&["poolscope", "pools", "1", "--state", word]).unwrap();
        assert!(
            matches!(plan.task, Task::Pools { filter: PoolFilter { state: Some(state), .. }, .. } if state == "deleting")
        );
    }
}

#[test]
fn progress_is_for_those_who_see_it() {
    let progress = |shows_progress, words: &[&str]| {
        let environment = Environment { shows_progress, ..Environment::default() };
        Plan::new(Args::try_parse_from(words).unwrap(), &environment).unwrap().progress
    };
    assert!(progress(true, &["poolscope", "pools", "1"]));
    assert!(!progress(true, &["poolscope", "pools", "1", "--quiet"]));
    assert!(!progress(false, &["poolscope", "pools", "1"]));
}

#[test]
fn rows_are_cut_only_on_a_terminal() {
    let args = Args::try_parse_from(["poolscope", "pools", "1"]).unwrap();
    let terminal = Environment { terminal: Some(132), ..Environment::default() };
    let plan = Plan::new(args, &terminal).unwrap();
    assert!(matches!(plan.task, Task::Pools { format: ListFormat::Table { limit: Some(132) }, .. }));
}

#[test]
fn a_word_that_is_neither_a_pid_nor_a_file_is_refused() {
    for words in [["poolscope", "pools", "worker"], ["poolscope", "snapshot", "worker"]] {
        let message = plan(&words).unwrap_err().to_string();
        assert!(message.contains("\"worker\" is not a pid, and there is no such file"), "{message}");
    }
}

#[test]
fn what_goes_with_a_core_is_refused_beside_a_pid() {
    assert_eq!(plan(&["poolscope", "pools", "1", "--exe", "/bin/sh"]).unwrap_err().exit_code(), 2);
    assert_eq!(plan(&["poolscope", "snapshot", "1", "--sysroot", "/"]).unwrap_err().exit_code(), 2);
    assert!(plan(&["poolscope", "snapshot", "--core", "/bin/sh", "--sysroot", "/"]).is_ok());
    assert!(
        plan(&["poolscope", "snapshot", "--core", "/no/such/core"]).unwrap_err().to_string().contains("no such file")
    );
}

#[test]
fn several_snapshots_need_a_directory() {
    let directory = std::env::temp_dir().display().to_string();
    let saved = |words: &[&str]| match plan(words).unwrap().task {
        Task::Show { save, .. } => save,
        _ => None,
    };
    assert_eq!(saved(&["poolscope", "snapshot", "1", "-o", "x.snap"]), Some(Save::File("x.snap".into())));
    let in_directory = Some(Save::Directory(directory.clone().into()));
    assert_eq!(saved(&["poolscope", "snapshot", "1", "2", "-o", &directory]), in_directory);
    assert_eq!(saved(&["poolscope", "snapshot", "1", "-o", &directory]), in_directory);
    assert_eq!(plan(&["poolscope", "snapshot", "1", "2", "-o", "x.snap"]).unwrap_err().exit_code(), 2);
}

#[test]
fn what_cannot_be_saved_is_refused_before_anything_stands_still() {
    let message = plan(&["poolscope", "snapshot", "1", "-o", "/no/such/x.snap"]).unwrap_err().to_string();
    assert!(message.contains("there is no directory /no/such; make it first"), "{message}");
    let message = plan(&["poolscope", "snapshot", "1", "-o", "/dev/null"]).unwrap_err().to_string();
    assert!(message.contains("/dev/null is a device, which a snapshot does not replace"), "{message}");
    // Root may write wherever a file system lets anybody.
    if !nix::unistd::geteuid().is_root() {
        let message = plan(&["poolscope", "snapshot", "1", "-o", "/"]).unwrap_err().to_string();
        assert!(message.contains("cannot create a file in /: "), "{message}");
    }
}

#[test]
fn who_is_named_twice_is_looked_at_once() {
    let task = plan(&["poolscope", "snapshot", "2", "1", "2"]).unwrap().task;
    let Task::Show { of: Whose::Targets(targets), .. } = task else { panic!("not shown") };
    assert_eq!(targets, [Target::Pid(2), Target::Pid(1)]);
}

#[test]
fn parquet_needs_a_directory_and_nothing_else_takes_one() {
    let refused = |words: &[&str]| plan(words).unwrap_err().exit_code();
    let directory = std::env::temp_dir().display().to_string();
    assert_eq!(refused(&["poolscope", "report", "/bin/sh", "--format", "parquet"]), 2);
    assert_eq!(refused(&["poolscope", "report", "/bin/sh", "-o", &directory]), 2);
    assert!(plan(&["poolscope", "report", "/bin/sh", "--format", "parquet", "-o", &directory]).is_ok());
}

#[test]
fn what_is_to_be_compared_may_be_running() {
    let plan = plan(&["poolscope", "diff", "/bin/sh", "42", "--fail-on-growth", "50M"]).unwrap();
    let expected = [Target::File("/bin/sh".into()), Target::Pid(42)];
    assert!(matches!(plan.task, Task::Diff { targets, allowed: Some(0x320_0000), .. } if targets == expected));
}
