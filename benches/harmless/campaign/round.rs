//! One end of poolscope after the other.

use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use super::end::{End, is_for_want_of_time};
use super::subject::{Subject, is_traced};
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
    pub(crate) fn options(self) -> &'static [&'static str] {
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

/// What came of one end, or of one signal to the target.
#[derive(Debug)]
pub(crate) struct Round {
    /// Whether the target was held when it happened.
    pub(crate) held: bool,
    /// Whether poolscope ended without a report because of it.
    pub(crate) cut_short: bool,
    /// How long a new client then waited for an answer.
    pub(crate) waited: Duration,
}

/// How one run of poolscope went.
#[derive(Debug)]
pub(crate) struct Run {
    /// Whether its target was held at the moment at which something happened.
    pub(crate) held: bool,
    pub(crate) status: ExitStatus,
    /// What it wrote to standard error.
    pub(crate) errors: String,
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
        /// A busy machine may leave no time to stop the worker in, or to read it.
        const TRIES: u32 = 20;
        let mut tries = 0;
        loop {
            tries += 1;
            let begin = Instant::now();
            let child = child::start(&self.binary, self.subject.worker(), stops.options())?;
            let (status, errors) = child::end_of(child)?;
            match status {
                _ if is_whole(status) => return Ok(begin.elapsed()),
                _ if is_for_want_of_time(status, &errors) && tries < TRIES => {}
                _ => return Err(format!("poolscope failed of itself: {status}: {errors}").into()),
            }
        }
    }

    /// Starts one poolscope, ends it, and looks at the worker.
    pub(crate) fn round(&mut self, end: End, stops: Stops, aim: Aim) -> Result<Round, Failure> {
        let Run { held, status, errors } = self.run(self.subject.worker(), stops, aim, |child| end.befall(child))?;
        // First of all: nothing that follows must give the worker time to recover.
        let waited = self.subject.check().map_err(|fault| format!("after {} ({status}): {fault}", end.name()))?;
        self.subject.check_files().map_err(|fault| format!("after {} ({status}): {fault}", end.name()))?;
        match end.fault(status, &errors) {
            Some(fault) => Err(fault.into()),
            None => Ok(Round { held, cut_short: !is_whole(status), waited }),
        }
    }

    /// Starts poolscope on `pid`, lets something `happen` at a moment, and waits for poolscope's end.
    pub(crate) fn run(
        &mut self,
        pid: u32,
        stops: Stops,
        aim: Aim,
        happen: impl FnOnce(&mut Child),
    ) -> Result<Run, Failure> {
        let mut child = child::start(&self.binary, pid, stops.options())?;
        match aim {
            Aim::Anywhere => std::thread::sleep(self.some_of_a_run(stops)),
            Aim::InStop => {
                while !is_traced(pid) && matches!(child.try_wait(), Ok(None)) {
                    std::thread::sleep(Duration::from_micros(20));
                }
                let later = Duration::from_micros(self.sequence.below(STOP.as_micros() as u64));
                std::thread::sleep(later);
            }
        }
        let held = is_traced(pid);
        happen(&mut child);
        let (status, errors) = child::end_of(child)?;
        Ok(Run { held, status, errors })
    }

    /// A part of what a run usually takes; now and then a little more than all of it.
    pub(crate) fn some_of_a_run(&mut self, stops: Stops) -> Duration {
        let whole = self.usual(stops).as_micros() as u64 * 11 / 10;
        Duration::from_micros(self.sequence.below(whole))
    }

    /// What is started.
    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }
}

/// True for a run that came to its own end with a report.
pub(crate) fn is_whole(status: ExitStatus) -> bool {
    // 3 is a report that is not complete: a worker under load was read in the middle of its own code.
    matches!(status.code(), Some(0 | 3))
}
