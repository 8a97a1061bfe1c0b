//! What kind of growth it is, and when the limit is reached.

use crate::samples::{self, MIB, Rest, gateway};
use poolscope::diff::{Diff, DiffError, Outlook, Relation, Steadiness, Trend, Verdict};
use poolscope::snapshot::model::{Limits, Snapshot};

fn after(hours: f64, rest: Rest) -> Snapshot {
    gateway(hours, 10, 0..20, rest)
}

fn verdict(rest: Rest) -> Verdict {
    Diff::between(&samples::old(), &after(3.0, rest)).judgement.verdict
}

#[test]
fn growth_is_told_apart_by_where_it_is() {
    let rest = Rest::default();
    assert_eq!(verdict(rest), Verdict::Nothing);
    assert_eq!(verdict(Rest { outside: 9_000, ..rest }), Verdict::InUse);
    assert_eq!(verdict(Rest { free: 90 * MIB, ..rest }), Verdict::FreeButKept);
    assert_eq!(verdict(Rest { outside: 9_000, free: 90 * MIB, ..rest }), Verdict::FreeButKept);
    assert_eq!(verdict(Rest { outside: 1_000, free: 157_696 + 1_000 * 1_040, ..rest }), Verdict::FreedAndKept);
    assert_eq!(verdict(Rest { anonymous: 70 * MIB, ..rest }), Verdict::OutsideMalloc);
    assert_eq!(verdict(Rest { shared: 9 * MIB, ..rest }), Verdict::OutsideMalloc);
}

fn outlook(hours: f64, limits: Option<Limits>) -> Outlook {
    let mut new = samples::leaked();
    new.taken_at = samples::START + hours * 3600.0;
    new.limits = limits;
    let old = Snapshot { limits: None, ..samples::old() };
    Diff::between(&old, &new).outlook
}

#[test]
fn the_limit_with_least_room_counts() {
    let group = Limits {
        cgroup: Some("/nginx".into()),
        cgroup_limit: Some(1 << 30),
        cgroup_usage: Some(1 << 29),
        machine_available: Some(1 << 32),
        machine_total: Some(1 << 33),
    };
    let Outlook::Reaches(forecast) = outlook(3.0, Some(group.clone())) else { panic!() };
    assert_eq!((forecast.cgroup.as_deref(), forecast.room), (Some("/nginx"), 1 << 29));
    assert!((forecast.seconds * forecast.per_hour / 3600.0 - forecast.room as f64).abs() < 1.0);

    let scarce = Limits { machine_available: Some(1 << 20), ..group.clone() };
    let Outlook::Reaches(forecast) = outlook(3.0, Some(scarce)) else { panic!() };
    assert_eq!((forecast.cgroup, forecast.room), (None, 1 << 20));

    let full = Limits { cgroup_usage: Some(u64::MAX), ..group };
    let Outlook::Reaches(forecast) = outlook(3.0, Some(full)) else { panic!() };
    assert_eq!((forecast.room, forecast.seconds), (0, 0.0));
}

#[test]
fn nothing_is_foretold_without_grounds() {
    assert_eq!(outlook(3.0, None), Outlook::LimitUnknown);
    assert_eq!(outlook(3.0, Some(Limits::default())), Outlook::LimitUnknown);
    assert_eq!(outlook(0.001, samples::old().limits), Outlook::TooShort);
    assert_eq!(outlook(0.0, samples::old().limits), Outlook::TooShort);
    assert_eq!(outlook(f64::NAN, samples::old().limits), Outlook::TooShort);
    let same = after(3.0, Rest::default());
    assert_eq!(Diff::between(&samples::old(), &same).outlook, Outlook::NotGrowing);
    let mut other = samples::leaked();
    other.process.start_ticks = Some(5);
    assert_eq!(Diff::between(&samples::old(), &other).outlook, Outlook::OtherProcess);
}

#[test]
fn growth_in_use_is_exact_or_not_known() {
    let (old, mut new) = (samples::old(), samples::leaked());
    let expected = new.in_use_bytes() as i128 - old.in_use_bytes() as i128;
    assert_eq!(Diff::between(&old, &new).growth_in_use(), Some(expected));
    assert_eq!(Diff::between(&new, &old).growth_in_use(), Some(-expected));
    (new.coverage, new.owners) = (None, Vec::new());
    assert_eq!(Diff::between(&old, &new).growth_in_use(), None);
}

#[test]
fn a_trend_is_of_the_newest_process() {
    let mut snapshots: Vec<Snapshot> =
        (0..5u32).map(|hour| gateway(f64::from(hour), 10 + hour * 20, 0..20, Rest::default())).collect();
    let trend = Trend::of(&snapshots).unwrap();
    assert_eq!((trend.others, trend.reordered), (0, false));
    assert_eq!(trend.in_use.as_ref().unwrap().steadiness, Steadiness::Steady);
    assert_eq!(trend.owners[0].owner, "dyups.deleting");

    snapshots.swap(0, 4);
    let trend = Trend::of(&snapshots).unwrap();
    assert!(trend.reordered && trend.overall.growth_in_use().unwrap() > 0);

    snapshots.swap(0, 4);
    snapshots[..4].iter_mut().for_each(|snapshot| snapshot.process.start_ticks = Some(3));
    let trend = Trend::of(&snapshots).unwrap();
    assert_eq!((trend.others, trend.in_use.is_none()), (4, true));
    assert_ne!(trend.overall.related.relation, Relation::SameProcess);
    assert_eq!(trend.overall.old.taken_at, snapshots[0].taken_at);
}

#[test]
fn fewer_than_two_are_an_error() {
    assert_eq!(Trend::of([]).unwrap_err(), DiffError::TooFew(0));
    let error = Trend::of([&samples::old()]).unwrap_err();
    assert!(error.to_string().contains("needs two snapshots or more"), "{error}");
}
