//! All rounds of one tool.

use std::time::Duration;

use crate::common::run::Finished;
use crate::common::spread::Spread;
use crate::figures::Figures;
use crate::heartbeat::Beats;
use crate::tools::{Prints, Tool};

/// What one tool's rounds came to.
pub(crate) struct Series {
    pub(crate) tool: Tool,
    pub(crate) rounds: Vec<Round>,
    /// Figures of the last round, of a tool that prints some.
    pub(crate) figures: Option<Figures>,
    /// Why there are fewer rounds than planned.
    pub(crate) trouble: Option<String>,
}

/// What one round cost.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    /// As the worker's clients saw it.
    pub(crate) pause: Duration,
    /// As the tool itself says, in seconds.
    pub(crate) own_pause: Option<f64>,
    pub(crate) wall: Duration,
    /// Bytes.
    pub(crate) peak: u64,
}

impl Series {
    pub(crate) fn new(tool: Tool) -> Series {
        let trouble = tool.recipe.missing.clone();
        Series { tool, rounds: Vec::new(), figures: None, trouble }
    }

    /// Whether to run it in the round of this number, from 0.
    pub(crate) fn wants_round(&self, round: usize) -> bool {
        round < self.tool.rounds && self.trouble.is_none()
    }

    /// Says why there are no more rounds.
    pub(crate) fn note(&mut self, reason: &str) {
        self.trouble = Some(reason.to_owned());
    }

    /// Adds what a round came to.
    pub(crate) fn take(&mut self, finished: Result<Finished, String>, beats: Beats) {
        match finished {
            Err(reason) => self.trouble = Some(reason),
            Ok(finished) => {
                if self.tool.prints == Prints::Figures {
                    self.figures = Figures::of_script(&finished.stdout);
                }
                let own_pause = (self.tool.prints == Prints::Report).then(|| frozen(&finished.stdout)).flatten();
                let Finished { wall, peak, .. } = finished;
                self.rounds.push(Round { pause: beats.pause(), own_pause, wall, peak });
            }
        }
    }

    /// The pause as clients saw it, in seconds.
    pub(crate) fn pause(&self) -> Option<Spread> {
        self.spread(|round| round.pause.as_secs_f64())
    }

    /// The pause as the tool itself says, in seconds.
    pub(crate) fn own_pause(&self) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(|round| round.own_pause).collect())
    }

    /// From start to end, in seconds.
    pub(crate) fn wall(&self) -> Option<Spread> {
        self.spread(|round| round.wall.as_secs_f64())
    }

    /// Peak memory in bytes.
    pub(crate) fn peak(&self) -> Option<Spread> {
        self.spread(|round| round.peak as f64)
    }

    fn spread(&self, value: impl Fn(&Round) -> f64) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(value).collect())
    }
}

/// Seconds, from `… frozen 97 ms (in system call) …`, as the first lines of a report have it.
fn frozen(report: &str) -> Option<f64> {
    let (_, after) = report.split_once("frozen ")?;
    let (time, _) = after.split_once(" (")?;
    let mut words = time.split(' ').rev();
    let (unit, number) = (words.next()?, words.next()?);
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * scale)
}
