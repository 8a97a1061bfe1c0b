//! Which gauges there are, and what a snapshot says for each.

use super::text::{Number, labels};
use crate::snapshot::finding::Finding;
use crate::snapshot::model::{FreezeInfo, Limits, MemoryRow, OwnerSummary, Snapshot};
use crate::snapshot::pool::Trust;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// Gauges of one name.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name, which ends in its unit if it has one.
    pub name: &'static str,
    /// What it tells. Holds neither quotes, backslashes nor line feeds, which the two text formats escape differently.
    pub help: &'static str,
}

impl Family {
    /// The unit that its name ends in: the metrics that have none are counts and flags.
    pub fn unit(&self) -> Option<&'static str> {
        let end = self.name.rsplit('_').next()?;
        ["bytes", "seconds", "ratio"].into_iter().find(|unit| *unit == end)
    }
}

const fn family(name: &'static str, help: &'static str) -> Family {
    Family { name, help }
}

const INFO: Family = family("poolscope_info", "What the process is; always 1.");
const TAKEN: Family = family("poolscope_snapshot_timestamp_seconds", "When the snapshot was taken, since 1970 (UTC).");
const AGE: Family = family("poolscope_process_age_seconds", "How long the process had run.");
const RESIDENT: Family = family("poolscope_process_resident_bytes", "Resident memory of the process.");
const MEMORY: Family = family(
    "poolscope_memory_bytes",
    "Memory of the process by kind, as address space or chunks; the kinds do not overlap.",
);
const MEMORY_RESIDENT: Family =
    family("poolscope_memory_resident_bytes", "Of each kind of memory, what is resident, where the kernel tells.");
const MEMORY_SWAPPED: Family =
    family("poolscope_memory_swapped_bytes", "Of each kind of memory, what is swapped out, where the kernel tells.");
const LIMIT: Family =
    family("poolscope_cgroup_limit_bytes", "Memory that the tightest control group above the process may have.");
const USAGE: Family = family("poolscope_cgroup_usage_bytes", "Memory that this control group has.");
const POOLS: Family = family("poolscope_owner_pools", "Pools by kind of owner.");
const CHUNKS: Family =
    family("poolscope_owner_chunks", "Chunks in use by kind of owner; together they are all that is in use.");
const BYTES: Family =
    family("poolscope_owner_bytes", "Bytes of chunks in use by kind of owner, malloc headers included.");
const USED: Family = family("poolscope_owner_used_bytes", "Of the bytes of an owner's pools, those handed out.");
const TRUST: Family = family("poolscope_pools", "Pools by how their owner is known.");
const OWNED: Family =
    family("poolscope_owned_ratio", "How many of the bytes in use have an owner, where owners were looked for.");
const BUCKET_CHUNKS: Family = family(
    "poolscope_bucket_chunks",
    "Chunks in use by kind of owner and size: at least from bytes, and below twice that.",
);
const BUCKET_BYTES: Family = family("poolscope_bucket_bytes", "Bytes of the chunks in poolscope_bucket_chunks.");
const FINDINGS: Family = family("poolscope_findings", "What stands out in the snapshot, by kind of finding.");
const COVERAGE: Family =
    family("poolscope_coverage_ratio", "How much of what glibc got from the kernel was accounted for.");
const COMPLETE: Family = family("poolscope_complete", "1 if everything was read and all books reconcile, else 0.");
const FREEZE: Family =
    family("poolscope_freeze_seconds", "The longest time that a thread stood still for the snapshot.");

/// Every family, in the order in which they are written.
pub const FAMILIES: &[Family] = &[
    INFO,
    TAKEN,
    AGE,
    RESIDENT,
    MEMORY,
    MEMORY_RESIDENT,
    MEMORY_SWAPPED,
    LIMIT,
    USAGE,
    POOLS,
    CHUNKS,
    BYTES,
    USED,
    TRUST,
    OWNED,
    BUCKET_CHUNKS,
    BUCKET_BYTES,
    FINDINGS,
    COVERAGE,
    COMPLETE,
    FREEZE,
];

/// The samples of one family.
#[derive(Debug, Default)]
pub struct Series {
    /// Labels with their value, in the order of the snapshot.
    pub samples: Vec<(String, Number)>,
    /// Where the samples of some labels are.
    places: FxHashMap<String, usize>,
}

impl Series {
    /// Adds a sample. Counts that a damaged file has twice are added up: a series may be there only once.
    fn add(&mut self, labels: String, value: Number) {
        let place = *self.places.entry(labels.clone()).or_insert(self.samples.len());
        match (self.samples.get_mut(place), value) {
            (None, value) => self.samples.push((labels, value)),
            (Some((_, Number::Whole(sum))), Number::Whole(more)) => *sum = sum.saturating_add(more),
            (Some((_, known)), value) => *known = value,
        }
    }
}

/// The samples of one process.
#[derive(Debug)]
pub struct Samples {
    pid: String,
    families: FxHashMap<&'static str, Series>,
}

impl Samples {
    /// Those of a family; `None` if there are none.
    pub fn of(&self, family: &Family) -> Option<&[(String, Number)]> {
        self.families.get(family.name).map(|series| series.samples.as_slice())
    }

    fn add(&mut self, family: Family, more: &[(&str, &str)], value: u64) {
        let labels = self.labels(more);
        self.families.entry(family.name).or_default().add(labels, Number::Whole(value));
    }

    /// Adds the only sample of a family.
    fn add_real(&mut self, family: Family, value: Option<f64>) {
        let labels = self.labels(&[]);
        if let Some(value) = value.filter(|value| value.is_finite()) {
            self.families.entry(family.name).or_default().add(labels, Number::Real(value));
        }
    }

    fn add_known(&mut self, family: Family, more: &[(&str, &str)], value: Option<u64>) {
        if let Some(value) = value {
            self.add(family, more, value);
        }
    }

    fn labels(&self, more: &[(&str, &str)]) -> String {
        let pid = ("pid", self.pid.as_str());
        labels(&[&[pid], more].concat())
    }
}

/// All that a snapshot says.
pub fn samples(snapshot: &Snapshot) -> Samples {
    let mut samples = Samples { pid: snapshot.process.pid.to_string(), families: FxHashMap::default() };
    process(snapshot, &mut samples);
    // Parts of another row are left out, so that a sum over kinds counts nothing twice: owners tell pools apart.
    snapshot.memory.iter().filter(|row| !row.nested).for_each(|row| memory(row, &mut samples));
    if let Some(limits) = &snapshot.limits {
        limit(limits, &mut samples);
    }
    snapshot.owners.iter().for_each(|row| owner(row, &mut samples));
    trust(snapshot, &mut samples);
    snapshot.findings.iter().for_each(|row| finding(row, &mut samples));
    samples.add_real(COVERAGE, snapshot.coverage);
    samples.add(COMPLETE, &[], snapshot.is_complete().into());
    samples.add_real(FREEZE, snapshot.freeze.as_ref().map(pause_seconds));
    samples
}

fn process(snapshot: &Snapshot, samples: &mut Samples) {
    let process = &snapshot.process;
    let info = [
        ("role", process.role.as_str()),
        ("server", process.server.as_deref().unwrap_or_default()),
        ("allocator", process.allocator.as_str()),
        ("allocator_version", process.allocator_version.as_deref().unwrap_or_default()),
        ("source", snapshot.source.kind.as_str()),
        ("version", snapshot.poolscope_version.as_str()),
    ];
    samples.add(INFO, &info, 1);
    samples.add_real(TAKEN, Some(snapshot.taken_at));
    samples.add_known(AGE, &[], process.age_seconds);
    samples.add_known(RESIDENT, &[], process.resident);
}

fn memory(row: &MemoryRow, samples: &mut Samples) {
    let kind = [("kind", row.kind.as_str())];
    samples.add(MEMORY, &kind, row.size);
    samples.add_known(MEMORY_RESIDENT, &kind, row.resident);
    samples.add_known(MEMORY_SWAPPED, &kind, row.swapped);
}

fn limit(limits: &Limits, samples: &mut Samples) {
    samples.add_known(LIMIT, &[], limits.cgroup_limit);
    samples.add_known(USAGE, &[], limits.cgroup_usage);
}

fn owner(row: &OwnerSummary, samples: &mut Samples) {
    let owner = ("owner", row.owner.as_str());
    if row.pools > 0 {
        samples.add(POOLS, &[owner], row.pools);
        samples.add(USED, &[owner], row.used);
    }
    samples.add(CHUNKS, &[owner], row.chunks);
    samples.add(BYTES, &[owner], row.bytes);
    for bucket in &row.sizes.buckets {
        let from = bucket.from.to_string();
        samples.add(BUCKET_CHUNKS, &[owner, ("from", &from)], bucket.chunks);
        samples.add(BUCKET_BYTES, &[owner, ("from", &from)], bucket.bytes);
    }
}

/// How owners are known, and how much has one. Groups of chunks are no labels: their names follow what the heap holds.
fn trust(snapshot: &Snapshot, samples: &mut Samples) {
    let mut counts: BTreeMap<Trust, u64> = BTreeMap::new();
    for pool in &snapshot.pools {
        *counts.entry(pool.owner.trust).or_default() += 1;
    }
    for (trust, pools) in counts {
        samples.add(TRUST, &[("trust", trust.name())], pools);
    }
    let in_use = snapshot.in_use_bytes();
    if snapshot.knows_owners() && in_use > 0 {
        samples.add_real(OWNED, Some(snapshot.owned_bytes() as f64 / in_use as f64));
    }
}

fn finding(row: &Finding, samples: &mut Samples) {
    // The published name of its kind is the one that JSON has.
    let published = serde_json::to_value(row).ok();
    let kind = published.as_ref().and_then(|value| value.get("kind")?.as_str()).unwrap_or("unknown");
    samples.add(FINDINGS, &[("kind", kind)], 1);
}

fn pause_seconds(freeze: &FreezeInfo) -> f64 {
    freeze.pause_microseconds as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helps_need_no_escaping_and_names_are_there_once() {
        for (index, family) in FAMILIES.iter().enumerate() {
            assert!(!family.help.contains(['"', '\\', '\n']), "{}", family.help);
            assert!(FAMILIES[..index].iter().all(|other| other.name != family.name), "{}", family.name);
        }
    }

    #[test]
    fn units_are_those_that_names_end_in() {
        assert_eq!([BYTES.unit(), FREEZE.unit(), COVERAGE.unit()], [Some("bytes"), Some("seconds"), Some("ratio")]);
        assert_eq!([POOLS.unit(), INFO.unit(), COMPLETE.unit()], [None; 3]);
    }

    #[test]
    fn rows_that_a_damaged_file_has_twice_make_one_series() {
        let twin = OwnerSummary { owner: "request".into(), chunks: u64::MAX, bytes: 5, ..OwnerSummary::default() };
        let found = samples(&Snapshot { owners: vec![twin.clone(), twin], ..Snapshot::default() });
        let labels = r#"pid="0",owner="request""#.to_owned();
        assert_eq!(found.of(&CHUNKS), Some(&[(labels.clone(), Number::Whole(u64::MAX))][..]));
        assert_eq!(found.of(&BYTES), Some(&[(labels, Number::Whole(10))][..]));
        assert_eq!(found.of(&POOLS), None);
    }

    #[test]
    fn what_is_not_known_has_no_sample() {
        let found = samples(&Snapshot { taken_at: f64::NAN, ..Snapshot::default() });
        for family in [TAKEN, AGE, RESIDENT, LIMIT, COVERAGE, FREEZE] {
            assert_eq!(found.of(&family), None);
        }
        assert_eq!(found.of(&COMPLETE).map(<[_]>::len), Some(1));
    }

    #[test]
    fn findings_have_the_name_of_their_kind_and_are_counted() {
        let rows = vec![Finding::PoolsWithoutOwner { pools: 1, bytes: 2 }, Finding::Unknown, Finding::Unknown];
        let found = samples(&Snapshot { findings: rows, ..Snapshot::default() });
        let expected = [("pools_without_owner", 1), ("unknown", 2)]
            .map(|(kind, count)| (format!("pid=\"0\",kind=\"{kind}\""), Number::Whole(count)));
        assert_eq!(found.of(&FINDINGS), Some(&expected[..]));
    }
}
