//! All rounds of one tool on one program.

use std::time::Duration;

use poolscope_fixtures::Beats;
use serde_json::Value;

use crate::common::run::Finished;
use crate::common::spread::Spread;
use crate::tools::{Role, Tool};

/// What one tool's rounds came to.
pub(crate) struct Series {
    pub(crate) tool: Tool,
    pub(crate) rounds: Vec<Round>,
    /// Why there are fewer rounds than planned.
    pub(crate) trouble: Option<String>,
}

/// One round.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    /// What the program itself saw while the tool ran.
    pub(crate) beats: Beats,
    /// What it saw right after, without any tool.
    pub(crate) quiet: Beats,
    /// The tool's own word.
    pub(crate) told: Option<Told>,
    pub(crate) wall: Duration,
    /// Processor time that the hypervisor took meanwhile, of all processors.
    pub(crate) stolen: Duration,
    /// Bytes.
    pub(crate) peak: u64,
    /// It gave up because its time was up.
    pub(crate) cut: bool,
}

/// What a tool says of its stops.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    pub(crate) longest: Duration,
    pub(crate) stops: u64,
    pub(crate) sum: Duration,
}

impl Told {
    fn of(answer: &Value) -> Option<Told> {
        let number = |name: &str| answer.get("freeze")?.get(name)?.as_u64();
        let time = |name: &str| number(name).map(Duration::from_micros);
        Some(Told { longest: time("pause_microseconds")?, stops: number("stops")?, sum: time("sum_microseconds")? })
    }
}

/// The object of JSON that output ends with; gdb prints a line before it.
fn answer(stdout: &str) -> Option<Value> {
    let start = if stdout.starts_with('{') { 0 } else { stdout.find("\n{")? };
    serde_json::from_str(stdout.get(start..)?).ok()
}

impl Round {
    /// By how much the program stood still for longer than the tool says, in seconds; below 0 if not. `of` says what counts.
    pub(crate) fn beyond(&self, of: impl Fn(&Beats) -> Duration) -> Option<f64> {
        Some(of(&self.beats).as_secs_f64() - self.told?.longest.as_secs_f64())
    }

    /// The part of the processors' time that the hypervisor took.
    pub(crate) fn stolen_part(&self, processors: usize) -> f64 {
        self.stolen.as_secs_f64() / (self.wall.as_secs_f64() * processors.max(1) as f64).max(f64::MIN_POSITIVE)
    }
}

impl Series {
    pub(crate) fn new(tool: Tool) -> Series {
        let trouble = tool.recipe.missing.clone();
        Series { tool, rounds: Vec::new(), trouble }
    }

    /// Whether to run it in the round of this number, from 0.
    pub(crate) fn wants_round(&self, round: usize) -> bool {
        round < self.tool.rounds && self.trouble.is_none()
    }

    /// Adds what a round came to.
    pub(crate) fn take(&mut self, finished: Result<Finished, String>, stolen: Duration, beats: Beats, quiet: Beats) {
        let Finished { wall, peak, stdout, .. } = match finished {
            Ok(finished) => finished,
            Err(reason) => {
                self.trouble = Some(reason);
                return;
            }
        };
        let answer = answer(&stdout);
        let told = answer.as_ref().filter(|_| self.tool.role.tells()).and_then(Told::of);
        let cut = answer.as_ref().and_then(|answer| answer.get("whole")) == Some(&Value::Bool(false));
        // gcore alone has nothing to say.
        if answer.is_none() && self.tool.role != Role::Gcore || self.tool.role.tells() && told.is_none() {
            self.trouble = Some("its output is not what was expected".to_owned());
            return;
        }
        self.rounds.push(Round { beats, quiet, told, wall, stolen, peak, cut });
    }

    /// Of the rounds that have such a value.
    pub(crate) fn spread(&self, value: impl Fn(&Round) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(value).collect())
    }

    /// The longest that the program saw itself stand still, in seconds.
    pub(crate) fn seen(&self) -> Option<Spread> {
        self.spread(|round| Some(round.beats.longest.as_secs_f64()))
    }

    /// The same without its own waits for a processor.
    pub(crate) fn stood(&self) -> Option<Spread> {
        self.spread(|round| Some(round.beats.stood.as_secs_f64()))
    }

    /// As the tool itself says, in seconds.
    pub(crate) fn told(&self) -> Option<Spread> {
        self.spread(|round| round.told.map(|told| told.longest.as_secs_f64()))
    }

    /// Peak memory in bytes.
    pub(crate) fn peak(&self) -> Option<Spread> {
        self.spread(|round| Some(round.peak as f64))
    }

    /// Whether the tool gave up in a round.
    pub(crate) fn was_cut(&self) -> bool {
        self.rounds.iter().any(|round| round.cut)
    }
}
