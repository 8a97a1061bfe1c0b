//! One end of poolscope after the other.

use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use super::end::End;
use super::subject::Subject;
use super::{Failure, Sequence, child};

/// How poolscope is told to stop the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stops {
    /// One stop of any length.
    Single,
    /// Several short ones.
    Several,
}

impl Stops {
    fn options(self) -> &'static [&'static str] {
        match self {
            Stops::Single => &["--single-stop"],
            Stops::Several => &["--max-pause", "5ms"],
        }
    }
}

/// At which moment poolscope is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aim {
    /// At any moment of its life.
    Anywhere,
    /// While it holds the worker, or shortly after.
    InStop,
}

/// What came of one end.
#[derive(Debug)]
pub(crate) struct Round {
    /// Whether the worker was held when it happened.
    pub(crate) held: bool,
    /// Whether it ended poolscope, or came to nothing.
    pub(crate) cut_short: bool,
    /// How long a new client then waited for an answer.
    pub(crate) waited: Duration,
}

/// Ends one poolscope after the other on the same worker.
pub(crate) struct Campaign {
    binary: PathBuf,
    subject: Subject,
    sequence: Sequence,
    /// What a run usually takes: in one stop, in several.
    usual: [Duration; 2],
}

/// Longer than most stops of a worker of this size.
const STOP: Duration = Duration::from_millis(6);

impl Campaign {
    /// Prepares everything, and measures how long a run usually takes.
    pub(crate) fn start(binary: &Path, seed: u64) -> Result<Campaign, Failure> {
        let mut campaign = Campaign {
            binary: binary.to_owned(),
            subject: Subject::start()?,
            sequence: Sequence::new(seed),
            usual: [Duration::ZERO; 2],
        };
        for stops in [Stops::Single, Stops::Several] {
            // The first run finds nothing in the page cache.
            campaign.whole_run(stops)?;
            let mut times = (0..5).map(|_| campaign.whole_run(stops)).collect::<Result<Vec<_>, _>>()?;
            times.sort_unstable();
            campaign.usual[stops as usize] = times[2];
        }
        Ok(campaign)
    }

    /// The worker.
    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// What a run usually takes that nobody ends.
    pub(crate) fn usual(&self, stops: Stops) -> Duration {
        self.usual[stops as usize]
    }

    /// Lets the load end, which must not have seen a failure.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        self.subject.finish()
    }

    fn whole_run(&self, stops: Stops) -> Result<Duration, Failure> {
        let begin = Instant::now();
        let child = child::start(&self.binary, self.subject.worker(), stops.options())?;
        let (status, errors) = child::end_of(child)?;
        match status.code() {
            Some(0 | 3) => Ok(begin.elapsed()),
            _ => Err(format!("poolscope failed of itself: {status}: {errors}").into()),
        }
    }

    /// Starts one poolscope, ends it, and looks at the worker.
    pub(crate) fn round(&mut self, end: End, stops: Stops, aim: Aim) -> Result<Round, Failure> {
        let mut child = child::start(&self.binary, self.subject.worker(), stops.options())?;
        let held = self.end_at_moment(&mut child, end, stops, aim);
        let (status, errors) = child::end_of(child)?;
        // First of all: nothing that follows must give the worker time to recover.
        let waited = self.subject.check().map_err(|fault| format!("after {} ({status}): {fault}", end.name()))?;
        self.subject.check_files().map_err(|fault| format!("after {} ({status}): {fault}", end.name()))?;
        match end.fault(status, &errors) {
            Some(fault) => Err(fault.into()),
            None => Ok(Round { held, cut_short: !is_whole(status), waited }),
        }
    }

    /// True if the worker was held at that moment.
    fn end_at_moment(&mut self, child: &mut Child, end: End, stops: Stops, aim: Aim) -> bool {
        match aim {
            Aim::Anywhere => {
                // Some come after the end of a run that is faster than usual, and most before.
                let whole = self.usual(stops).as_micros() as u64 * 11 / 10;
                std::thread::sleep(Duration::from_micros(self.sequence.below(whole)));
            }
            Aim::InStop => {
                while !self.subject.is_traced() && matches!(child.try_wait(), Ok(None)) {
                    std::thread::sleep(Duration::from_micros(20));
                }
                let later = Duration::from_micros(self.sequence.below(STOP.as_micros() as u64));
                std::thread::sleep(later);
            }
        }
        let held = self.subject.is_traced();
        end.befall(child);
        held
    }
}

fn is_whole(status: ExitStatus) -> bool {
    matches!(status.code(), Some(0 | 3))
}
