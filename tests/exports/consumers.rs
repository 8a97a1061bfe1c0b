//! The programs that read exports, as `fixtures/consumers.sh` puts them into the target directory.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder for a test's files, empty at first.
pub fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("exports").join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn tool(name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let tool = target.join("tools").join(name);
    assert!(tool.exists(), "{} is missing: run fixtures/prerequisites.sh tests", tool.display());
    tool
}

fn run(command: &mut Command, input: &str) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// What promtool says, on both its outputs, and whether it was content.
pub fn promtool(arguments: &[&str], folder: &Path, input: &str) -> (bool, String) {
    let output = run(Command::new(tool("promtool")).args(arguments).current_dir(folder), input);
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

/// What a Python program prints when it is given `input`. It has duckdb and prometheus_client.
///
/// # Panics
/// If it fails.
pub fn python(program: &str, folder: &Path, input: &str) -> String {
    let output = run(Command::new(tool("python/bin/python")).args(["-c", program]).current_dir(folder), input);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The rows of the last of these statements that gives any, as DuckDB 2 gives them to Python, one on each line.
pub fn duckdb(sql: &str, folder: &Path) -> Vec<String> {
    let program = "import duckdb, sys\nduckdb.sql('SET TimeZone = \"UTC\"')\n\
                   rows = duckdb.execute(sys.stdin.read()).fetchall()\n\
                   for row in rows: print(*row, sep=' | ')";
    python(program, folder, sql).lines().map(str::to_owned).collect()
}
