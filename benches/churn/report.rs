//! What the snapshots of each mode came to.

use poolscope::malloc::books::Tally;
use poolscope::snapshot::human::human_bytes;
use poolscope::snapshot::model::{FreezeInfo, IN_CHANGE, SEVERAL_MOMENTS};

use crate::churn_support::{Comparison, Difference, Failure};
use crate::common::machine::Machine;
use crate::common::spread::Spread;
use crate::common::table::Table;
use crate::common::verdict;
use crate::modes::Mode;

/// The snapshots of one mode.
#[derive(Default)]
pub(crate) struct Results {
    exact: Vec<Comparison>,
    /// Those of them that are not.
    wrong: usize,
    other: Vec<Comparison>,
    /// Why there was no snapshot.
    failures: Vec<String>,
}

impl Results {
    pub(crate) fn tries(&self) -> usize {
        self.exact.len() + self.other.len() + self.failures.len()
    }

    pub(crate) fn add(&mut self, outcome: Result<Comparison, Failure>, tcaches: u64) {
        match outcome {
            Ok(found) if found.freeze.is_exact() => {
                if found.at_last_stop != Difference::default() || found.tcaches != tcaches {
                    self.wrong += 1;
                    eprintln!("called exact and is not: {found:?}");
                }
                self.exact.push(found);
            }
            Ok(found) => self.other.push(found),
            Err(failure) => {
                eprintln!("no snapshot: {failure}");
                self.failures.push(failure.to_string());
            }
        }
    }

    pub(crate) fn in_short(&self) -> String {
        let all = self.exact.iter().chain(&self.other);
        format!(
            "{} exact, of which {} are not; {} said to be otherwise; {} failed; in {} a thread waited for its log",
            self.exact.len(),
            self.wrong,
            self.other.len(),
            self.failures.len(),
            all.filter(|found| found.held_up > 0).count()
        )
    }
}

pub(crate) fn machine() -> String {
    let machine = Machine::look();
    format!(
        "Machine: {} processors, {} of memory, Linux {} {}; load average {} before the start",
        machine.processors,
        human_bytes(machine.memory),
        machine.kernel,
        std::env::consts::ARCH,
        machine.load
    )
}

/// A row for what is called exact and one for what is not, of each mode that has any.
pub(crate) fn table(all: &[(&Mode, Results)]) -> Table {
    let header =
        ["median / worst", "snapshots", "stops", "within", "in use", "changes", "off", "off", "wrong", "wrong"];
    let mut table = Table::new(&header);
    let units = ["", "", "", "ms", "chunks", "meanwhile", "chunks", "bytes", "chunks", "bytes"];
    table.row(units.map(str::to_owned).to_vec());
    for (mode, results) in all {
        for (said, snapshots) in [("exact", &results.exact), ("not exact", &results.other)] {
            if !snapshots.is_empty() {
                table.row(row(format!("{}: {said}", mode.label), snapshots));
            }
        }
    }
    table
}

fn row(label: String, snapshots: &[Comparison]) -> Vec<String> {
    let number = |value: fn(&Comparison) -> u64| spread(snapshots, value, |value| format!("{value:.0}"));
    let bytes = |value: fn(&Comparison) -> u64| spread(snapshots, value, |value| human_bytes(value as u64));
    vec![
        label,
        snapshots.len().to_string(),
        number(|found| found.freeze.stops.into()),
        number(|found| found.freeze.elapsed_microseconds / 1_000),
        number(|found| found.in_use.chunks),
        number(|found| found.changes),
        number(|found| off(found).chunks),
        bytes(|found| off(found).bytes),
        number(|found| found.at_no_stop.sum().chunks),
        bytes(|found| found.at_no_stop.sum().bytes),
    ]
}

fn off(found: &Comparison) -> Tally {
    found.at_last_stop.sum()
}

fn spread(snapshots: &[Comparison], value: fn(&Comparison) -> u64, show: impl Fn(f64) -> String) -> String {
    let spread = Spread::of(snapshots.iter().map(|found| value(found) as f64).collect());
    spread.map_or("-".to_owned(), |spread| format!("{} / {}", show(spread.median), show(spread.most)))
}

/// True if what is called exact is so.
pub(crate) fn judge(all: &[(&Mode, Results)]) -> bool {
    let exact: usize = all.iter().map(|(_, results)| results.exact.len()).sum();
    let wrong: usize = all.iter().map(|(_, results)| results.wrong).sum();
    let mut unexplained = 0;
    verdict("what is called exact is the truth", &format!("{wrong} of {exact} are not"), wrong == 0);
    for (mode, results) in all {
        let others = results.other.iter();
        let misread = others.clone().filter(|found| !says_why(&found.freeze)).count();
        let at_odds = others.filter(|found| !found.problems.is_empty()).count();
        let (other, tries) = (results.other.len(), results.tries());
        let got = format!(
            "{other} of {tries} are not exact, {misread} of these for another reason than several stops or a bad place, {at_odds} \
             contradict malloc's books"
        );
        verdict(&format!("{}: what is not exact says so", mode.label), &got, misread == 0);
        unexplained += misread;
        let failed = results.failures.len();
        verdict(&format!("{}: a snapshot each time", mode.label), &format!("{failed} of {tries} failed"), failed == 0);
    }
    wrong == 0 && unexplained == 0
}

/// True if it is said why it is not exact; a heap that was read in one stop at a good place has to be.
fn says_why(freeze: &FreezeInfo) -> bool {
    freeze.consistency == if freeze.stops > 1 { SEVERAL_MOMENTS } else { IN_CHANGE }
}
