//! What older schemas said in another way, brought to what it is today.

use crate::snapshot::model::{ChunkGroup, OwnerSummary, Snapshot};
use crate::snapshot::pool::Trust;

/// The first schema with groups of chunks outside pools.
const GROUPS: u32 = 3;

/// True if chunks of that schema name groups; before, they named owners that are no pools.
pub(super) fn has_groups(schema: u32) -> bool {
    schema >= GROUPS
}

/// Makes a group of each owner that is no pool, where the schema knew none. What is wrong, if anything is.
pub(super) fn bring_up(snapshot: &mut Snapshot, schema: u32) -> Result<(), String> {
    if has_groups(schema) {
        return Ok(());
    }
    let (mut new, mut owners) = (Vec::with_capacity(snapshot.owners.len()), Vec::new());
    snapshot.groups.clear();
    for (index, owner) in (0..).zip(&snapshot.owners) {
        let is_group = owner.pools == 0;
        new.push(is_group.then_some(snapshot.groups.len() as u32));
        if is_group {
            snapshot.groups.push(group_of(owner));
            owners.push(index);
        }
    }
    match snapshot.chunks.as_mut().is_none_or(|table| table.renumber_groups(&new, owners)) {
        true => Ok(()),
        false => Err("a chunk is in no pool, and of an owner that has pools".to_owned()),
    }
}

/// glibc's own chunks were found by a path; all else was what was left.
fn group_of(owner: &OwnerSummary) -> ChunkGroup {
    ChunkGroup {
        owner: owner.owner.clone(),
        trust: if owner.owner.starts_with("glibc.") { Trust::TypedPath } else { Trust::Signature },
        chunks: owner.chunks,
        bytes: owner.bytes,
        ..ChunkGroup::default()
    }
}
