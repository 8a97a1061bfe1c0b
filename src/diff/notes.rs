//! What limits a comparison, in words.

use super::{knows_owners, knows_use};
use crate::snapshot::human::counted;
use crate::snapshot::model::Snapshot;

/// One sentence for each thing that makes the comparison say less than it could.
pub(super) fn notes(old: &Snapshot, new: &Snapshot) -> Vec<String> {
    let sides = [("older", old), ("newer", new)];
    let mut notes: Vec<String> = sides.iter().flat_map(|(which, snapshot)| of_one(which, snapshot)).collect();
    if knows_use(old) && knows_use(new) && knows_owners(old) != knows_owners(new) {
        let (without, with) = if knows_owners(old) { ("newer", "older") } else { ("older", "newer") };
        notes.push(format!(
            "the {without} snapshot does not know whose pools it has, because the debug info of nginx was missing; the \
             {with} one does. Pools are therefore compared all together. With the debug info, a new snapshot tells more"
        ));
    }
    if old.poolscope_version != new.poolscope_version {
        notes.push(format!(
            "the snapshots were taken by different versions of poolscope ({}, {}): one may tell owners apart that the \
             other does not",
            old.poolscope_version, new.poolscope_version
        ));
    }
    notes
}

fn of_one(which: &str, snapshot: &Snapshot) -> Vec<String> {
    let mut notes = Vec::new();
    if !knows_use(snapshot) {
        notes.push(format!("the {which} snapshot's heap was not walked: what is in use is not compared"));
    }
    if let Some(coverage) = snapshot.coverage.filter(|coverage| *coverage < 1.0) {
        notes.push(format!(
            "the {which} snapshot covers {:.2} % of its heap: what it does not hold looks like a difference",
            (coverage.clamp(0.0, 1.0) * 10_000.0).floor() / 100.0
        ));
    }
    let problems = snapshot.disagreements();
    if snapshot.changed_meanwhile() > 0 {
        notes.push(format!(
            "the {which} snapshot was read in several stops, between which {} may have changed",
            counted(snapshot.changed_meanwhile(), "thing about pools")
        ));
    }
    if problems > 0 {
        notes.push(format!(
            "the {which} snapshot has {}: poolscope report shows what does not agree",
            counted(problems, "disagreement")
        ));
    }
    if snapshot.source.kind == "core" {
        let file = snapshot.source.file.as_deref().unwrap_or("of unknown name");
        let time = match snapshot.taken_at > 0.0 {
            true => "its time is that of the file",
            false => "it came through a pipe, so that its time is not known and there are no rates",
        };
        notes.push(format!("the {which} snapshot is of a core ({file}), which does not tell resident memory; {time}"));
    }
    notes
}
