//! Who is compared with whom.

use crate::samples::{CYCLE, MIB, as_core, old};
use poolscope::diff::{Related, Relation};
use poolscope::snapshot::model::Snapshot;

/// The older snapshot an hour later, changed.
fn later(change: impl FnOnce(&mut Snapshot)) -> Snapshot {
    let mut new = old();
    new.taken_at += 3600.0;
    new.process.age_seconds = new.process.age_seconds.map(|age| age + 3600);
    change(&mut new);
    new
}

fn move_cycle(snapshot: &mut Snapshot) {
    let cycle = snapshot.pools.iter_mut().find(|pool| pool.address.0 == CYCLE).unwrap();
    cycle.address.0 += MIB;
}

/// Another process of the same master.
fn another(snapshot: &mut Snapshot) {
    (snapshot.process.pid, snapshot.process.start_ticks) = (5000, Some(90_000));
}

fn of(new: &Snapshot) -> Relation {
    let related = Related::of(&old(), new);
    assert_eq!(related.assumed_from, None, "{related:?}");
    related.relation
}

#[test]
fn start_times_tell_processes_apart() {
    assert_eq!(of(&later(|_| ())), Relation::SameProcess);
    assert_eq!(of(&later(move_cycle)), Relation::ReloadedInPlace);
    // The pid was used again.
    let reused = later(|new| (new.process.start_ticks, new.process.age_seconds) = (Some(90_000_000), Some(30)));
    assert_eq!(of(&reused), Relation::Respawned);
    assert_eq!(of(&later(another)), Relation::Sibling);
    let respawned = later(|new| {
        another(new);
        new.process.age_seconds = Some(1800);
    });
    assert_eq!(of(&respawned), Relation::Respawned);
    let reloaded = later(|new| {
        another(new);
        move_cycle(new);
    });
    assert_eq!(of(&reloaded), Relation::AfterReload);
}

#[test]
fn another_master_is_a_restart() {
    let restarted = |change: fn(&mut Snapshot)| {
        later(|new| {
            another(new);
            (new.process.parent, new.process.parent_start_ticks) = (4999, Some(89_000));
            change(new);
        })
    };
    assert_eq!(of(&restarted(|_| ())), Relation::OtherMaster);
    assert_eq!(of(&restarted(|new| new.process.parent = 4241)), Relation::OtherMaster);
    let upgraded = restarted(|new| {
        (new.process.build_id, new.process.server) = (Some("ff".into()), Some("Tengine/3.2.0".into()));
    });
    assert_eq!(of(&upgraded), Relation::OtherBinary);
    assert!(Related::of(&old(), &upgraded).sentence.contains("(Tengine/3.1.0, Tengine/3.2.0)"));
    let rebooted = restarted(|new| new.process.boot_id = Some("another".into()));
    assert_eq!(of(&rebooted), Relation::Rebooted);
    let elsewhere = restarted(|new| {
        (new.process.boot_id, new.process.host) = (Some("another".into()), Some("gateway-2".into()));
    });
    assert_eq!(of(&elsewhere), Relation::OtherMachine);
    assert!(Related::of(&old(), &elsewhere).sentence.contains("(gateway-1, gateway-2)"));
}

#[test]
fn what_does_other_work_is_not_comparable() {
    let master = later(|new| {
        another(new);
        new.process.role = "master".into();
    });
    assert_eq!(of(&master), Relation::NotComparable);
    let other_server = later(|new| {
        another(new);
        new.process.server = Some("nginx/1.28.0".into());
    });
    assert_eq!(of(&other_server), Relation::NotComparable);
    let leaving = later(|new| {
        another(new);
        new.process.role = "worker shutting down".into();
    });
    assert_eq!(of(&leaving), Relation::Sibling);
    // One process stays one process, whatever it does.
    assert_eq!(of(&later(|new| new.process.role = "worker shutting down".into())), Relation::SameProcess);
}

#[test]
fn of_cores_it_is_assumed_and_said_from_what() {
    let of = |new: Snapshot| Related::of(&old(), &as_core(new));
    let same = of(later(|_| ()));
    assert_eq!(same.relation, Relation::SameProcess);
    let from = "the same pid, the same build-id and the cycle's pool at the same address";
    assert_eq!(same.assumed_from.as_deref(), Some(from));
    assert!(same.sentence.contains(from));
    // A worker never reads a configuration again: this pid was used again.
    assert_eq!(of(later(move_cycle)).relation, Relation::AfterReload);
    assert_eq!(of(later(|new| new.process.build_id = Some("ff".into()))).relation, Relation::OtherBinary);
    let sibling = of(later(another));
    assert_eq!(sibling.relation, Relation::Sibling);
    assert!(sibling.assumed_from.is_some());
    let stranger = of(later(|new| {
        another(new);
        new.process.parent = 77;
    }));
    assert_eq!((stranger.relation, stranger.assumed_from), (Relation::Unknown, None));
}

#[test]
fn snapshots_that_tell_nothing_are_compared_as_they_are() {
    let empty = Snapshot::default();
    let related = Related::of(&empty, &empty);
    assert_eq!(related.relation, Relation::SameProcess);
    assert_eq!(related.assumed_from.as_deref(), Some("the same pid"));
}
