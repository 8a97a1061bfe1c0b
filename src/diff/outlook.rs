//! When the memory limit is reached if the growth goes on as it did.

use super::change::Interval;
use crate::snapshot::model::Limits;
use serde::Serialize;

/// When the limit is reached at this rate, or why that is not said.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outlook {
    /// The limit is reached.
    Reaches(Forecast),
    /// Nothing grew.
    NotGrowing,
    /// The snapshots show different processes.
    OtherProcess,
    /// Too little time passed between the snapshots, or their times are not known.
    TooShort,
    /// Neither a control group's limit nor the machine's free memory is known.
    LimitUnknown,
}

/// When which limit is reached.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Forecast {
    /// The control group that sets the limit; `None` if the machine's memory is the limit.
    pub cgroup: Option<String>,
    /// The limit in bytes; of the machine, what it has in all, if that is known.
    pub limit: Option<u64>,
    /// Bytes that are left until there.
    pub room: u64,
    /// Bytes per hour by which this process grows.
    pub per_hour: f64,
    /// Seconds from the newer snapshot until the room is used up by this process alone.
    pub seconds: f64,
}

impl Outlook {
    /// For a growth of so many bytes within that time, of one process.
    pub(super) fn of(grown: i128, interval: Interval, same_process: bool, limits: Option<&Limits>) -> Outlook {
        if !same_process {
            return Outlook::OtherProcess;
        }
        if grown <= 0 {
            return Outlook::NotGrowing;
        }
        let Some(per_hour) = interval.per_hour(grown).filter(|_| interval.foretells()) else {
            return Outlook::TooShort;
        };
        match limits.and_then(nearest) {
            None => Outlook::LimitUnknown,
            Some((cgroup, limit, room)) => {
                Outlook::Reaches(Forecast { cgroup, limit, room, per_hour, seconds: room as f64 / per_hour * 3600.0 })
            }
        }
    }
}

/// The limit with least room: name of its control group, the limit, the room. A group may be allowed more than the machine
/// has left.
fn nearest(limits: &Limits) -> Option<(Option<String>, Option<u64>, u64)> {
    let of_group = limits.cgroup_limit.zip(limits.cgroup_usage).map(|(limit, usage)| {
        (Some(limits.cgroup.clone().unwrap_or_default()), Some(limit), limit.saturating_sub(usage))
    });
    let of_machine = limits.machine_available.map(|room| (None, limits.machine_total, room));
    of_group.into_iter().chain(of_machine).min_by_key(|(_, _, room)| *room)
}
