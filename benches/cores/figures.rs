//! What tools found in the core, so that one sees whether they did the same job.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::common::Failure;
use crate::common::run;
use crate::common::scratch::Scratch;
use crate::subject::Subject;

/// A number of chunks with their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) chunks: u64,
    pub(crate) bytes: u64,
}

impl Tally {
    pub(crate) fn plus(self, other: Tally) -> Tally {
        Tally { chunks: self.chunks + other.chunks, bytes: self.bytes + other.bytes }
    }
}

/// What one tool found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) found: Tally,
    pub(crate) prints: Prints,
    /// Seconds that the walk itself took, where the tool says.
    pub(crate) walked_for: Option<f64>,
    /// False if the walk ended before the heap did.
    pub(crate) is_whole: bool,
}

/// In what form a tool says what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prints {
    /// One line of JSON, as benches/core_walk.py writes it: chunks of arenas in use, in tcaches and in fastbins.
    Walk,
    /// chap's last line: chunks in use and in tcaches, also with mappings of their own; bytes that the program may use.
    Chap,
}

impl Prints {
    pub(crate) fn parse(self, output: &str) -> Option<Figures> {
        match self {
            Prints::Walk => walk(output),
            Prints::Chap => chap(output),
        }
    }
}

fn walk(output: &str) -> Option<Figures> {
    let line = output.lines().find(|line| line.starts_with('{'))?;
    let value: Value = serde_json::from_str(line).ok()?;
    let number = |name: &str| value.get(name)?.as_u64();
    Some(Figures {
        found: Tally { chunks: number("chunks")?, bytes: number("bytes")? },
        prints: Prints::Walk,
        walked_for: value.get("seconds")?.as_f64(),
        is_whole: value.get("whole")?.as_bool()?,
    })
}

/// `9498713 allocations use 0x9e73e2b8 (2,658,394,808) bytes.`
fn chap(output: &str) -> Option<Figures> {
    let line = output.lines().rev().find(|line| line.contains(" allocations use "))?;
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>().parse().ok();
    let (count, rest) = line.split_once(" allocations use ")?;
    let (_, bytes) = rest.split_once('(')?;
    let count = count.split_whitespace().next_back()?;
    let found = Tally { chunks: digits(count)?, bytes: digits(bytes)? };
    Some(Figures { found, prints: Prints::Chap, walked_for: None, is_whole: true })
}

/// What poolscope found, apart by what glibc thinks of the chunks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Expected {
    /// In arenas.
    pub(crate) in_use: Tally,
    pub(crate) tcache: Tally,
    pub(crate) fastbin: Tally,
    /// With mappings of their own, with the bytes of these.
    pub(crate) mmapped: Tally,
    /// The part of malloc's memory that was accounted for.
    pub(crate) coverage: f64,
}

impl Expected {
    /// By `poolscope snapshot --format json`.
    pub(crate) fn of_poolscope(subject: &Subject, scratch: &Scratch) -> Result<Expected, Failure> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_poolscope"));
        command.args(["snapshot", "--format", "json", "--core"]).arg(&subject.core);
        let finished = run::run(command, Duration::from_secs(120), scratch)?;
        let snapshot: Value = serde_json::from_str(&finished.stdout)?;
        let number = |value: &Value, name: &str| value.get(name).and_then(Value::as_u64).unwrap_or(0);
        let tally = |value: &Value| Tally { chunks: number(value, "chunks"), bytes: number(value, "bytes") };
        let books = snapshot.get("books").ok_or("the snapshot has no books")?;
        let arenas = books.get("arenas").and_then(Value::as_array).ok_or("the snapshot has no arenas")?;
        let sum = |kind: &str| {
            let of_kind = arenas.iter().filter_map(|arena| arena.get(kind));
            of_kind.fold(Tally::default(), |sum, value| sum.plus(tally(value)))
        };
        Ok(Expected {
            in_use: sum("in_use"),
            tcache: sum("tcache"),
            fastbin: sum("fastbin"),
            mmapped: books.get("mmapped").map(tally).unwrap_or_default(),
            coverage: snapshot.get("coverage").and_then(Value::as_f64).unwrap_or(0.0),
        })
    }

    /// What a tool should find that says so in that form.
    pub(crate) fn for_tool(&self, prints: Prints) -> Tally {
        match prints {
            Prints::Walk => self.in_use.plus(self.tcache).plus(self.fastbin),
            Prints::Chap => {
                let all = self.in_use.plus(self.tcache);
                // A chunk of an arena reaches into the next one's first word; one with a mapping of its own does not.
                let usable = all.bytes.saturating_sub(8 * all.chunks);
                let mapped = self.mmapped.bytes.saturating_sub(16 * self.mmapped.chunks);
                Tally { chunks: all.chunks + self.mmapped.chunks, bytes: usable + mapped }
            }
        }
    }
}
