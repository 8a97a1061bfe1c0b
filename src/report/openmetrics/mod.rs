//! Gauges for the textfile collector of Prometheus' node_exporter (docs/fleet.md).
//!
//! The text is valid twice: as OpenMetrics 1.0, and in Prometheus' older text format, which is what the collector reads and
//! to which `# UNIT` and `# EOF` are comments. So all metrics are gauges (the older format knows no `info`), and no sample has
//! a timestamp, which the collector refuses: when a snapshot was taken is a metric of its own.
//!
//! Labels are few and from closed sets: a pid, a kind of owner, a size. Names of upstreams are no labels: a gateway with
//! dynamic upstreams makes new ones all day, and each would be series that Prometheus keeps for good. They are in the
//! snapshot itself and in [`super::parquet`].

mod families;
mod text;

use crate::snapshot::model::Snapshot;
use families::{FAMILIES, Samples};
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::io::{self, Write};
use thiserror::Error;

/// Snapshots that cannot be in one exposition.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExpositionError {
    /// Prometheus gives all samples of a file the name of the machine that it was scraped from.
    #[error(
        "snapshots of two machines, {first} and {second}, cannot share one OpenMetrics file, whose samples do not say which \
         machine they are of: write one file for each (or Parquet, which has the machine in each row)"
    )]
    SeveralHosts {
        /// The machine of the snapshots added before.
        first: String,
        /// The machine of the one that was not added.
        second: String,
    },
}

/// The gauges of some processes of one machine: of each process those of its latest snapshot.
#[derive(Debug, Default)]
pub struct Exposition {
    host: Option<String>,
    processes: BTreeMap<i32, Process>,
}

#[derive(Debug)]
struct Process {
    taken_at: f64,
    samples: Samples,
}

impl Exposition {
    /// Adds the gauges of a snapshot, of which nothing else is kept. Of several snapshots with the same pid the one that
    /// was taken last counts, because a series has one value at a time.
    ///
    /// # Errors
    /// [`ExpositionError::SeveralHosts`] if it is of another machine than those before. One that does not say its machine (a
    /// core) is taken for one of the same.
    pub fn add(&mut self, snapshot: &Snapshot) -> Result<(), ExpositionError> {
        if let Some(host) = &snapshot.process.host {
            let first = self.host.get_or_insert_with(|| host.clone());
            if first != host {
                return Err(ExpositionError::SeveralHosts { first: first.clone(), second: host.clone() });
            }
        }
        let taken_at = snapshot.taken_at;
        let known = self.processes.get(&snapshot.process.pid);
        if known.is_none_or(|known| known.taken_at <= taken_at) {
            let process = Process { taken_at, samples: families::samples(snapshot) };
            self.processes.insert(snapshot.process.pid, process);
        }
        Ok(())
    }

    /// Writes all families that have a sample, and the end mark.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for family in FAMILIES {
            let mut processes = self.processes.values().filter_map(|process| process.samples.of(family)).peekable();
            if processes.peek().is_none() {
                continue;
            }
            text::head(family, out)?;
            for samples in processes {
                samples.iter().try_for_each(|(labels, value)| text::sample(family, labels, *value, out))?;
            }
        }
        out.write_all(b"# EOF\n")
    }
}

/// Writes the gauges of snapshots of one machine: of each process those of its latest snapshot. A family's samples must be
/// together, so all snapshots of an output come in one call.
///
/// # Errors
/// Those of `out`; [`io::ErrorKind::InvalidInput`] with [`ExpositionError`] in it if the snapshots cannot be in one file, in
/// which case nothing is written.
pub fn write<S: Borrow<Snapshot>>(snapshots: impl IntoIterator<Item = S>, out: &mut dyn Write) -> io::Result<()> {
    let mut exposition = Exposition::default();
    for snapshot in snapshots {
        exposition.add(snapshot.borrow()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    }
    exposition.write(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::model::ProcessInfo;

    fn snapshot(host: Option<&str>, pid: i32, taken_at: f64) -> Snapshot {
        let process = ProcessInfo { host: host.map(str::to_owned), pid, ..ProcessInfo::default() };
        Snapshot { process, taken_at, ..Snapshot::default() }
    }

    fn written(snapshots: &[Snapshot]) -> String {
        let mut out = Vec::new();
        write(snapshots, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_latest_snapshot_of_a_pid_counts_in_whatever_order_they_come() {
        let [old, new] = [10.0, 20.5].map(|taken_at| snapshot(Some("a"), 7, taken_at));
        for order in [[old.clone(), new.clone()], [new, old]] {
            let text = written(&order);
            let times: Vec<&str> =
                text.lines().filter(|line| line.starts_with("poolscope_snapshot_timestamp_seconds{")).collect();
            assert_eq!(times, ["poolscope_snapshot_timestamp_seconds{pid=\"7\"} 20.5"]);
        }
    }

    #[test]
    fn two_machines_are_refused_and_nothing_is_written() {
        let mut out = Vec::new();
        let error = write([snapshot(Some("a"), 1, 0.0), snapshot(Some("b"), 2, 0.0)], &mut out).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("a and b"), "{error}");
        assert!(out.is_empty());
    }

    #[test]
    fn a_core_does_not_say_its_machine() {
        let text = written(&[snapshot(Some("a"), 1, 0.0), snapshot(None, 2, 0.0)]);
        assert!(text.contains("pid=\"1\"") && text.contains("pid=\"2\""), "{text}");
    }

    #[test]
    fn no_snapshot_is_an_empty_exposition() {
        assert_eq!(written(&[]), "# EOF\n");
    }
}
