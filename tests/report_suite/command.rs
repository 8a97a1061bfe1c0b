//! The command as it is typed. None of these touches a process.

use assert_cmd::Command;

fn poolscope() -> Command {
    let mut command = Command::cargo_bin("poolscope").unwrap();
    command.env_remove("NO_COLOR").env("COLUMNS", "80").env("LC_ALL", "C.UTF-8");
    command
}

fn refused(words: &[&str]) -> String {
    let output = poolscope().args(words).assert().code(2).get_output().clone();
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

fn help(words: &[&str]) -> String {
    let output = poolscope().args(words).assert().success().get_output().clone();
    assert!(output.stderr.is_empty());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn help_says_how_to_begin() {
    insta::assert_snapshot!(help(&["--help"]));
}

#[test]
fn each_command_has_help_with_examples() {
    for command in ["ps", "doctor", "snapshot", "report", "diff", "pools", "chunks", "explain"] {
        let text = help(&[command, "--help"]);
        assert!(text.contains("Examples:") && text.contains("--debug-dir"), "{text}");
        insta::assert_snapshot!(format!("help_{command}"), text);
    }
}

#[test]
fn a_command_is_needed() {
    assert!(refused(&[]).contains("Usage: poolscope"));
}

#[test]
fn wrong_usage_names_what_is_wrong_and_the_way_out() {
    assert!(refused(&["snapshot"]).contains("<PID>..."));
    assert!(refused(&["report"]).contains("<FILE>..."));
    assert!(refused(&["diff", "1"]).contains("2 values required"));
    assert!(refused(&["diff", "1", "2", "--fail-on-growth", "much"]).contains("is not a size"));
    assert!(refused(&["explain", "1"]).contains("an address is missing"));
    assert!(refused(&["snapshot", "worker"]).contains("\"worker\" is not a pid"));
    assert!(refused(&["snapshot", "0"]).contains("\"0\" is not a pid"));
    assert!(refused(&["snapshot", "1", "--chunks"]).contains("--format json"));
    assert!(refused(&["chunks", "1", "--size", "big"]).contains("256K..512K"));
    assert!(refused(&["chunks", "1", "--size", "512K..256K"]).contains("smaller end first"));
    assert!(refused(&["chunks", "1", "--size", "529"]).contains("multiples of 16"));
    assert!(refused(&["chunks", "1", "--arena", "second"]).contains("mmapped"));
    assert!(refused(&["chunks", "1", "--state", "used"]).contains("in_use"));
    assert!(refused(&["chunks", "1", "--sort", "age"]).contains("address"));
    assert!(refused(&["pools", "1", "--sort", "colour"]).contains("references"));
    assert!(refused(&["pools", "1", "--trust", "blind"]).contains("inferred_path"));
    assert!(refused(&["pools", "1", "--min-age", "3"]).contains("\"3\" is not an age"));
    assert!(refused(&["pools", "1", "--debug-dir", "/dev/null"]).contains("not a directory"));
}

#[test]
fn what_is_refused_is_shown_with_the_usage_of_its_command() {
    insta::assert_snapshot!(
        [
            refused(&["snapshot", "1", "--chunks"]),
            refused(&["pools", "1", "--debug-dir", "/dev/null"]),
            refused(&["chunks", "worker"]),
            refused(&["chunks", "1", "--size", "529"]),
            refused(&["1234"]),
        ]
        .join("-----\n")
    );
}

#[test]
fn the_size_of_pools_need_not_be_that_of_a_chunk() {
    // What is typed is right; only the process is not there.
    poolscope().args(["pools", "2147483647", "--size", "529", "--state", "deleted"]).assert().code(1);
}

#[test]
fn a_pid_that_nobody_has_is_one_sentence_and_status_1() {
    // Linux never gives pids above 2^22.
    for words in [vec!["snapshot", "2147483647"], vec!["pools", "2147483647"], vec!["chunks", "2147483647"]] {
        let output = poolscope().args(&words).assert().code(1).get_output().clone();
        assert!(output.stdout.is_empty());
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.starts_with("poolscope: there is no process 2147483647"), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(!message.contains('\x1b'));
    }
}

#[test]
fn each_of_several_failures_is_told() {
    let output = poolscope().args(["snapshot", "2147483647", "2147483646"]).assert().code(1).get_output().clone();
    assert_eq!(String::from_utf8(output.stderr).unwrap().lines().count(), 2);
}
