//! Everything that a comparison says, as one JSON document on one line (docs/diff.md).

use super::rows::pool_rows;
use crate::diff::{
    Change, Diff, GroupChange, Interval, Judgement, Moved, Outlook, OwnerChange, OwnerSeries, Related, Series, Suspect,
    Tally, TotalChange, Trend,
};
use crate::snapshot::model::{ProcessInfo, Snapshot, SourceInfo};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Version of the published document. It grows when a field changes its meaning or goes away; fields may be added without.
pub const DIFF_VERSION: u32 = 1;

/// Writes the document and a newline.
///
/// # Errors
/// Those of `out`.
pub fn write(trend: &Trend<'_>, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &Document::of(trend))?;
    out.write_all(b"\n")
}

#[derive(Serialize)]
struct Document<'a> {
    diff_version: u32,
    poolscope_version: &'static str,
    summary: Vec<String>,
    old: Who<'a>,
    new: Who<'a>,
    related: &'a Related,
    interval: Interval,
    in_use_bytes: Option<Change>,
    in_use_chunks: Option<Change>,
    resident: Option<Change>,
    judgement: &'a Judgement<'a>,
    outlook: &'a Outlook,
    suspects: &'a [Suspect<'a>],
    memory: &'a [TotalChange<'a>],
    owners: &'a [OwnerChange<'a>],
    groups: &'a [GroupChange<'a>],
    pools: Option<Pools<'a>>,
    trend: Option<Steps<'a>>,
    notes: &'a [String],
}

/// One of the two snapshots.
#[derive(Serialize)]
struct Who<'a> {
    taken_at: f64,
    source: &'a SourceInfo,
    process: &'a ProcessInfo,
}

/// Single pools.
#[derive(Serialize)]
struct Pools<'a> {
    counts: BTreeMap<&'static str, Tally>,
    moved: &'a [Moved<'a>],
    #[serde(serialize_with = "changed_pools")]
    changed: &'a Diff<'a>,
}

/// Several snapshots.
#[derive(Serialize)]
struct Steps<'a> {
    reordered: bool,
    others: usize,
    taken_at: Vec<f64>,
    in_use: &'a Option<Series>,
    resident: &'a Option<Series>,
    owners: &'a [OwnerSeries<'a>],
}

/// Rows are written one by one: there can be a million.
fn changed_pools<S: Serializer>(diff: &&Diff<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(pool_rows(diff))
}

fn who(snapshot: &Snapshot) -> Who<'_> {
    Who { taken_at: snapshot.taken_at, source: &snapshot.source, process: &snapshot.process }
}

impl<'a> Document<'a> {
    fn of(trend: &'a Trend<'a>) -> Document<'a> {
        let diff = &trend.overall;
        let mut summary = diff.summary();
        summary.extend(trend.summary());
        Document {
            diff_version: DIFF_VERSION,
            poolscope_version: env!("CARGO_PKG_VERSION"),
            summary,
            old: who(&diff.old),
            new: who(&diff.new),
            related: &diff.related,
            interval: diff.interval,
            in_use_bytes: diff.in_use_bytes,
            in_use_chunks: diff.in_use_chunks,
            resident: diff.resident,
            judgement: &diff.judgement,
            outlook: &diff.outlook,
            suspects: &diff.suspects,
            memory: &diff.totals,
            owners: &diff.owners,
            groups: &diff.groups,
            pools: diff.pools.as_ref().map(|pools| Pools {
                counts: pools.tallies.iter().map(|(fate, tally)| (fate.name(), *tally)).collect(),
                moved: &pools.moved,
                changed: diff,
            }),
            trend: (trend.snapshots.len() > 2).then(|| Steps {
                reordered: trend.reordered,
                others: trend.others,
                taken_at: trend.snapshots.iter().map(|snapshot| snapshot.taken_at).collect(),
                in_use: &trend.in_use,
                resident: &trend.resident,
                owners: &trend.owners,
            }),
            notes: &diff.notes,
        }
    }
}
