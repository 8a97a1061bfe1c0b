//! Small programs compiled in every way that matters to a reader of debug info, and what they say of themselves.

use poolscope::debug::{Binary, DebugInfo, SearchOptions};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of its own, removed at the end of the test.
pub struct Workshop {
    pub directory: PathBuf,
}

impl Workshop {
    pub fn new() -> Workshop {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("poolscope-debug-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        Workshop { directory }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Compiles shapes.c and hidden.c into the program `shapes`.
    pub fn shapes(&self, flags: &[&str]) -> PathBuf {
        self.compile("shapes", flags)
    }

    /// The same, as a program of another name.
    pub fn compile(&self, name: &str, flags: &[&str]) -> PathBuf {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/debug_support");
        let program = self.path(name);
        for file in ["shapes.c", "shapes.h", "hidden.c"] {
            fs::copy(sources.join(file), self.path(file)).unwrap();
        }
        for unit in ["shapes", "hidden"] {
            let (source, object) = (format!("{unit}.c"), format!("{unit}.o"));
            let mut arguments = vec!["-O2", "-c", &source, "-o", &object];
            arguments.extend(flags);
            self.run("gcc", &arguments);
        }
        let mut arguments = vec!["-O2", "-Wl,--build-id=sha1", "-o", program.to_str().unwrap(), "shapes.o", "hidden.o"];
        arguments.extend(flags);
        self.run("gcc", &arguments);
        program
    }

    /// Runs a tool in the directory and gives its output. The test fails if it fails.
    pub fn run(&self, tool: impl AsRef<OsStr>, arguments: &[&str]) -> String {
        let tool = tool.as_ref();
        let output = Command::new(tool).args(arguments).current_dir(&self.directory).output();
        let output = output.unwrap_or_else(|error| panic!("{tool:?} is needed for this test: {error}"));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{tool:?} {arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Moves the debug info of a program into `debug`, and strips the program.
    pub fn separate(&self, program: &Path, debug: &Path) {
        let (program, debug) = (program.to_str().unwrap(), debug.to_str().unwrap());
        self.run("objcopy", &["--only-keep-debug", program, debug]);
        self.run("strip", &[program]);
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // A directory that cannot be removed is left to the system's cleaning of temporary files.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Opens a program with the given options.
pub fn load(program: &Path, options: &SearchOptions) -> DebugInfo {
    DebugInfo::load(&Binary::open(program).unwrap(), options).unwrap()
}

/// What a program states about its own structures.
#[derive(Default)]
pub struct Statement {
    pub sizes: Vec<(String, u64)>,
    /// Type, dotted path, offset, size.
    pub fields: Vec<(String, String, u64, u64)>,
    /// By type.
    pub bytes: BTreeMap<String, Vec<u8>>,
    /// Type, field, value.
    pub values: Vec<(String, String, i64)>,
}

impl Statement {
    pub fn of(workshop: &Workshop, program: &Path) -> Statement {
        let mut statement = Statement::default();
        for line in workshop.run(program, &[]).lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["size", name, size] => statement.sizes.push((name.to_string(), size.parse().unwrap())),
                ["field", name, path, offset, size] => statement.fields.push((
                    name.to_string(),
                    path.to_string(),
                    offset.parse().unwrap(),
                    size.parse().unwrap(),
                )),
                ["bytes", name, hex] => {
                    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
                    statement.bytes.insert(name.to_string(), (0..hex.len()).step_by(2).map(byte).collect());
                }
                ["value", name, path, value] => {
                    statement.values.push((name.to_string(), path.to_string(), value.parse().unwrap()));
                }
                _ => assert_eq!(words[0], "total", "{line}"),
            }
        }
        assert!(statement.sizes.len() > 5 && statement.fields.len() > 15 && statement.values.len() > 10);
        statement
    }
}
