//! What snapshot files and differences cost: one million pools, and ten million chunks, each step in a process of its own, so
//! that its peak memory can be told. `docs/benchmarks.md` says how to read what this prints.
//!
//! It is a report, not a test: it ends with status 0 whatever the figures, and with 1 only if a step failed.

#[path = "../common/mod.rs"]
mod common;
mod model;
mod steps;

use std::process::{Command, ExitCode};
use std::time::Duration;

use poolscope::snapshot::human::human_bytes;

use common::spread::Spread;
use common::table::Table;
use common::{Failure, machine, run, scratch, verdict};
use steps::{Answer, Limits, STEPS, Step};

/// Of each step.
const ROUNDS: usize = 3;

/// One step takes no longer than this.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let outcome = match &arguments[..] {
        [_, argument, step, folder] if argument == "--step" => steps::run(step, folder.as_ref()),
        _ if arguments.iter().any(|argument| argument == "--bench") => measure(),
        _ => {
            // `cargo test --all-targets` runs benchmarks, too, but without this argument.
            println!("snapshots measures for a minute or two: run it with `cargo bench --bench snapshots`");
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("snapshots: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// What the rounds of one step came to.
struct Measured {
    seconds: Spread,
    /// Bytes.
    peak: Spread,
    /// Seconds of the whole process, with what the step needs made before.
    process: Spread,
    answer: Answer,
}

fn measure() -> Result<(), Failure> {
    scratch::clear_on_signals()?;
    let scratch = scratch::Scratch::create()?;
    let machine = machine::Machine::look();
    println!("Machine: {machine}; load average {} before the start", machine.load);
    let mut table =
        Table::new(&["medians of three", "time", "most", "whole process", "peak memory", "file", "outcome"]);
    let mut verdicts = Vec::new();
    for step in STEPS {
        let measured = rounds(step, &scratch)?;
        table.row(vec![
            step.label.to_owned(),
            format!("{:.2} s", measured.seconds.median),
            format!("{:.2} s", measured.seconds.most),
            format!("{:.2} s", measured.process.median),
            human_bytes(measured.peak.median as u64),
            measured.answer.file_size.map_or("-".to_owned(), human_bytes),
            measured.answer.outcome.clone(),
        ]);
        verdicts.push((step, measured));
    }
    println!("\n{table}");
    println!(
        "time: of the step alone. whole process: with what it needs (the snapshot that is saved, files that are compared).\n"
    );
    for (step, measured) in &verdicts {
        judge(step, measured);
    }
    Ok(())
}

fn rounds(step: &Step, scratch: &scratch::Scratch) -> Result<Measured, Failure> {
    let program = std::env::current_exe().map_err(|cause| format!("this benchmark's own path: {cause}"))?;
    let mut finished = Vec::new();
    for round in 1..=ROUNDS {
        eprintln!("round {round}: {}", step.label);
        let mut command = Command::new(&program);
        command.arg("--step").arg(step.name).arg(&scratch.disk);
        let run = run::run(command, PATIENCE, scratch)?;
        let answer: Answer = serde_json::from_str(&run.stdout)?;
        finished.push((run.wall, run.peak, answer));
    }
    let spread = |values: Vec<f64>| Spread::of(values).ok_or("no round was run");
    Ok(Measured {
        seconds: spread(finished.iter().map(|(_, _, answer)| answer.seconds).collect())?,
        peak: spread(finished.iter().map(|(_, peak, _)| *peak as f64).collect())?,
        process: spread(finished.iter().map(|(wall, ..)| wall.as_secs_f64()).collect())?,
        answer: finished.pop().map(|(_, _, answer)| answer).ok_or("no round was run")?,
    })
}

fn judge(step: &Step, measured: &Measured) {
    let Limits { seconds, memory, file } = step.limits;
    if let Some(limit) = seconds {
        let got = format!("{:.2} s, at most {:.2} s", measured.seconds.median, measured.seconds.most);
        verdict(&format!("{} below {limit} s", step.label), &got, measured.seconds.median < limit);
    }
    if let Some(limit) = memory {
        let got = human_bytes(measured.peak.most as u64);
        verdict(&format!("{} below {} MB", step.label, limit / 1_000_000), &got, measured.peak.most < limit as f64);
    }
    if let (Some(limit), Some(size)) = (file, measured.answer.file_size) {
        verdict(&format!("{}: a file below {} MB", step.label, limit / 1_000_000), &human_bytes(size), size < limit);
    }
}
