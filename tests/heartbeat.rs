//! A target that looks at the clock all the time never saw itself stand still for longer than the report says.

use poolscope::analysis::{Options, Silent, SnapshotError, take};
use poolscope::debug::SearchOptions;
use poolscope::snapshot::model::Snapshot;
use poolscope::target::freeze::FreezeError;
use poolscope_fixtures::{Beating, Beats, Heartbeat, LargeHeap};
use std::time::{Duration, Instant};

const SNAPSHOTS: usize = 50;

/// Rounds in which the machine itself may keep the target, or the virtual machine that both are in, from running.
const STRAY: usize = 2;

/// What the target saw of a snapshot, and what the snapshot says of it.
struct Round {
    beats: Beats,
    printed: Duration,
    stops: u32,
}

impl Round {
    /// By how much the target stood still for longer than was said, waits for a processor left out.
    fn beyond(&self) -> Duration {
        self.beats.stood.saturating_sub(self.printed)
    }
}

/// A snapshot, and what the target saw of it. A busy machine may give a thread of the target no processor to stop on, try after
/// try.
fn taken(pid: u32, heartbeat: &Heartbeat, options: &Options) -> (Snapshot, Beats) {
    for _ in 0..5 {
        heartbeat.take().unwrap();
        match take(pid as i32, options, &Silent) {
            Err(SnapshotError::Freeze(FreezeError::DoesNotStop { .. })) => {}
            snapshot => return (snapshot.unwrap(), heartbeat.take().unwrap()),
        }
    }
    panic!("a thread did not stop in five snapshots");
}

/// Takes snapshots and rests for as long, in turns. The second value is the longest gap at rest.
fn rounds(max_pause: Option<Duration>) -> (Vec<Round>, Duration) {
    let heartbeat = Heartbeat::create().unwrap();
    let target = LargeHeap::start_with(100_000, 100, &heartbeat.environment(Beating::Itself)).unwrap();
    let options = Options { debug: SearchOptions::from_environment(), max_pause, ..Options::default() };
    let mut at_rest = Duration::ZERO;
    let one = |_| {
        let begin = Instant::now();
        let (snapshot, beats) = taken(target.pid(), &heartbeat, &options);
        let took = begin.elapsed();
        std::thread::sleep(took);
        at_rest = at_rest.max(heartbeat.take().unwrap().stood);
        let freeze = snapshot.freeze.unwrap();
        Round { beats, printed: Duration::from_micros(freeze.pause_microseconds), stops: freeze.stops }
    };
    let rounds = (0..SNAPSHOTS).map(one).collect();
    (rounds, at_rest)
}

fn median<T: Ord + Copy>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values[values.len() / 2]
}

fn told_is_not_less_than_seen(rounds: &[Round], at_rest: Duration) {
    let figures = || {
        let line = |round: &Round| format!("{:?} printed {:?}, {} stops", round.beats, round.printed, round.stops);
        format!("at rest {at_rest:?}\n{}", rounds.iter().map(line).collect::<Vec<_>>().join("\n"))
    };
    // The heartbeat sees the stop at all.
    let seen = rounds.iter().filter(|round| round.beats.longest >= round.printed / 2).count();
    assert!(seen + STRAY >= rounds.len(), "{}", figures());
    // A gap holds the part of a period before the stop, and the heartbeat's own look at the clock.
    let resolution = 2 * median(rounds.iter().map(|round| round.beats.period())) + Duration::from_micros(100);
    assert!(median(rounds.iter().map(Round::beyond)) <= resolution, "{}", figures());
    let longer = rounds.iter().filter(|round| round.beyond() > resolution.max(at_rest)).count();
    assert!(longer <= STRAY, "{longer} are longer\n{}", figures());
}

#[test]
fn one_stop_is_as_long_as_it_says() {
    let (rounds, at_rest) = rounds(None);
    assert!(rounds.iter().all(|round| round.stops == 1));
    told_is_not_less_than_seen(&rounds, at_rest);
}

#[test]
fn the_longest_of_several_stops_is_as_long_as_it_says() {
    let (rounds, at_rest) = rounds(Some(Duration::from_millis(3)));
    assert!(median(rounds.iter().map(|round| round.stops)) > 1);
    told_is_not_less_than_seen(&rounds, at_rest);
}
