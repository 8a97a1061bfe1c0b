//! What the pools of one kind of owner have in common by name and state: `1,119 at location /ws (upgraded)`.

use crate::report::owner_name::{says_itself, state_beside};
use crate::report::style::Style;
use crate::report::text::{keep_start, printable};
use crate::report::trust::mark;
use crate::snapshot::human::{counted, human_count, name_in_text};
use crate::snapshot::model::{OwnerSummary, Snapshot};
use crate::snapshot::pool::{PoolOwner, Trust};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Names of one owner beyond these are counted only.
const MOST_NAMES: usize = 3;
/// Columns for a name.
const NAME: usize = 40;

/// Pools and groups by kind of owner, counted once for the whole report.
pub(super) struct Parts<'a> {
    by_kind: FxHashMap<&'a str, Part<'a>>,
}

/// What is known of one kind.
#[derive(Default)]
struct Part<'a> {
    pools: u64,
    /// How many pools have that name and state.
    named: FxHashMap<(Option<&'a str>, Option<&'a str>), u64>,
    /// Bytes by how they are known.
    trust: FxHashMap<Trust, u64>,
    /// Names of groups, most bytes first.
    groups: Vec<&'a str>,
}

impl<'a> Parts<'a> {
    pub(super) fn of(snapshot: &'a Snapshot) -> Parts<'a> {
        // Many pools share an owner: each of these is looked at once.
        let mut by_owner: FxHashMap<*const PoolOwner, (&PoolOwner, u64, u64)> = FxHashMap::default();
        for pool in &snapshot.pools {
            let (_, pools, bytes) = by_owner.entry(Arc::as_ptr(&pool.owner)).or_insert((&pool.owner, 0, 0));
            *pools += 1;
            *bytes = pool.bytes().saturating_add(*bytes);
        }
        let mut by_kind: FxHashMap<&str, Part<'_>> = FxHashMap::default();
        for (owner, pools, bytes) in by_owner.into_values() {
            let part = by_kind.entry(&owner.kind).or_default();
            let state = state_beside(&owner.kind, owner.state.as_deref());
            part.pools += pools;
            *part.named.entry((owner.name.as_deref(), state)).or_default() += pools;
            let known = part.trust.entry(owner.trust).or_default();
            *known = bytes.saturating_add(*known);
        }
        for group in &snapshot.groups {
            let part = by_kind.entry(&group.owner).or_default();
            let known = part.trust.entry(group.trust).or_default();
            *known = group.bytes.saturating_add(*known);
            if !group.name.is_empty() {
                part.groups.push(&group.name);
            }
        }
        Parts { by_kind }
    }

    /// How most of an owner's bytes are known; nothing to say of those that name no owner.
    pub(super) fn trust(&self, owner: &str) -> Trust {
        let known = self.by_kind.get(owner).filter(|_| !says_itself(owner));
        let most = known.and_then(|part| part.trust.iter().max_by_key(|(trust, bytes)| (**bytes, **trust)));
        most.map_or(Trust::TypedPath, |(trust, _)| *trust)
    }

    /// Bytes of an owner that are known in that way.
    pub(super) fn bytes(&self, owner: &str, trust: Trust) -> u64 {
        self.by_kind.get(owner).and_then(|part| part.trust.get(&trust)).copied().unwrap_or(0)
    }

    /// The mark of that.
    pub(super) fn mark(&self, owner: &str) -> &'static str {
        mark(self.trust(owner))
    }

    /// At most two lines: whose the pools are and what they do, or what the chunks outside pools are, if no table of their own
    /// says that.
    pub(super) fn lines(&self, owner: &OwnerSummary, with_groups: bool, style: Style) -> Vec<String> {
        let part = self.by_kind.get(owner.owner.as_str());
        match part {
            Some(_) if owner.pools == 0 && !with_groups => Vec::new(),
            Some(part) if owner.pools == 0 => part.group_names(style).into_iter().collect(),
            // Rows of pools may be fewer than there are: then only the summary tells of all.
            Some(part) if part.pools == owner.pools && part.has_states() => part.state_lines(style),
            _ => names(owner, style).into_iter().collect(),
        }
    }
}

impl Part<'_> {
    fn has_states(&self) -> bool {
        self.named.keys().any(|(_, state)| state.is_some())
    }

    fn group_names(&self, style: Style) -> Option<String> {
        let shown: Vec<String> = self.groups.iter().take(MOST_NAMES).map(|name| shortened(name, style)).collect();
        let left = self.groups.len().saturating_sub(MOST_NAMES) as u64;
        let more = if left > 0 { format!(" and {}", counted(left, "other")) } else { String::new() };
        (!shown.is_empty()).then(|| format!("{}{more}", shown.join(", ")))
    }

    fn state_lines(&self, style: Style) -> Vec<String> {
        let mut parts: Vec<_> = self.named.iter().map(|((name, state), pools)| (*name, *state, *pools)).collect();
        parts.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| (a.0, a.1).cmp(&(b.0, b.1))));
        let sentence = |(name, state, pools): &(Option<&str>, Option<&str>, u64)| {
            let count = if *pools == self.pools { "all".to_owned() } else { human_count(*pools) };
            let at = name.map(|name| format!(" at {}", name_in_text(&shortened(name, style)))).unwrap_or_default();
            let state = state.map(|state| printable(state, style.unicode));
            match (at.is_empty(), state) {
                (true, Some(state)) => format!("{count} {state}"),
                (_, Some(state)) => format!("{count}{at} ({state})"),
                (true, None) => format!("{count} in no known state"),
                (_, None) => format!("{count}{at}"),
            }
        };
        let mut lines: Vec<String> = parts.iter().take(2).map(sentence).collect();
        let left = parts.len().saturating_sub(2);
        let rest: u64 = parts.iter().skip(2).map(|(.., pools)| pools).sum();
        if let Some(last) = lines.last_mut().filter(|_| left > 0) {
            last.push_str(&format!(", and {} more", human_count(rest)));
        }
        lines
    }
}

/// `named "svc"`, or the most frequent names with how many pools each has.
fn names(owner: &OwnerSummary, style: Style) -> Option<String> {
    let shown = |name: &str| name_in_text(&shortened(name, style));
    match owner.names.as_slice() {
        [] => None,
        [(name, pools)] if *pools == owner.pools => Some(format!("named {}", shown(name))),
        names => {
            let listed =
                names.iter().take(MOST_NAMES).map(|(name, pools)| format!("{} ({})", shown(name), human_count(*pools)));
            let listed = listed.collect::<Vec<_>>().join(", ");
            let left = names.len().saturating_sub(MOST_NAMES) as u64;
            let more = if left > 0 { format!(" and {}", counted(left, "other name")) } else { String::new() };
            Some(format!("named {listed}{more}"))
        }
    }
}

fn shortened(name: &str, style: Style) -> String {
    keep_start(&printable(name, style.unicode), NAME, style.ellipsis())
}
