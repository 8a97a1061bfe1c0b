//! What is at an address, for people.

use super::owner_name::{pool_mark, state_beside};
use super::style::{Line, Look, Style};
use super::text::wrap;
use super::trust::words;
use crate::diff::whose::named;
use crate::snapshot::explanation::{ChunkInfo, Explanation, Referrer, Referrers};
use crate::snapshot::holder::{Holder, in_words};
use crate::snapshot::human::{counted, group_label, human_age, human_bytes, human_count, with_name};
use crate::snapshot::model::{ChunkGroup, NOBODY};
use crate::snapshot::pool::{PoolOwner, PoolRow, Trust};
use std::io::{self, Write};

/// Columns for what a line is about.
const NAMES: usize = 12;

/// Writes an explanation, with at most `top` of those who point there.
///
/// # Errors
/// Those of `out`.
pub fn write(explanation: &Explanation, style: Style, top: usize, out: &mut dyn Write) -> io::Result<()> {
    for line in lines(explanation, style, top) {
        writeln!(out, "{}", line.painted(style))?;
    }
    Ok(())
}

fn lines(explanation: &Explanation, style: Style, top: usize) -> Vec<Line> {
    let mut lines = vec![Line::new(Look::Title, explanation.address.to_string())];
    let mut add = |name: &str, text: String| lines.extend(fact(name, &text, style));
    add("what", explanation.what.clone());
    if let Some(word) = &explanation.word {
        add("word", word.clone());
    }
    if let Some(mapping) = &explanation.mapping {
        let offset = mapping.file_offset.map(|offset| format!(", from offset {offset:#x}")).unwrap_or_default();
        add("mapping", format!("{}-{} {} {}{offset}", mapping.start, mapping.end, mapping.rights, mapping.what));
    }
    if let Some(symbol) = &explanation.symbol {
        add("symbol", format!("{symbol} in {}", symbol.file));
    }
    if let Some(chunk) = &explanation.chunk {
        add("chunk", chunk_text(chunk));
        if explanation.pool.is_none() {
            outside_facts(chunk).into_iter().for_each(|(name, text)| add(name, text));
        }
    }
    if let Some(pool) = &explanation.pool {
        let place = match explanation.place_in_pool {
            Some("header") => "its first block, which begins with the ngx_pool_t",
            Some("block") => "one of its blocks",
            Some("large") => "one of its large allocations",
            _ => "a part of it",
        };
        add("pool", format!("{} ({place})", pool.address));
        add("owner", owner_text(&pool.owner));
        add(
            "holds",
            format!(
                "{} in {} and {}, {} handed out",
                human_bytes(pool.bytes()),
                counted(pool.blocks, "block"),
                counted(pool.large, "large allocation"),
                human_bytes(pool.used)
            ),
        );
        pool_facts(pool, &explanation.kept_by).into_iter().for_each(|(name, text)| add(name, text));
        explanation.findings.iter().for_each(|finding| add("stands out", finding.to_string()));
    }
    if let Some(referrers) = &explanation.referrers {
        lines.extend(referrer_lines(referrers, explanation.chunk.is_some(), style, top));
    }
    for note in &explanation.notes {
        lines.extend(fact("note", note, style));
    }
    lines
}

/// What a chunk in use outside pools is, and how that is known.
fn outside_facts(chunk: &ChunkInfo) -> Vec<(&'static str, String)> {
    let Some(label) = &chunk.label else { return Vec::new() };
    let Some(group) = &chunk.group else { return vec![("owner", label.clone())] };
    let mut facts = vec![("owner", group_label(label, &group.name))];
    if group.chunks > 1 {
        facts.push(("one of", format!("{}, {}", counted(group.chunks, "chunk"), human_bytes(group.bytes))));
    }
    if !NOBODY.contains(&group.owner.as_str()) {
        facts.push(("known by", words(chunk.trust.unwrap_or(group.trust)).to_owned()));
    }
    facts.extend(chunk_facts(chunk, group));
    facts
}

/// What is known of the very chunk, or else where one of its group hangs.
fn chunk_facts(chunk: &ChunkInfo, group: &ChunkGroup) -> Vec<(&'static str, String)> {
    let of_group = || (!group.path.is_empty()).then(|| group.path.clone());
    let of_another = chunk.address != group.example && group.chunks > 1;
    let facts = match (&chunk.path, &chunk.holder) {
        (Some(path), _) => [("type", chunk.type_name.clone()), ("path", Some(path.clone()))],
        (None, Some(holder)) => [("held by", Some(holder.clone())), ("", None)],
        (None, None) if of_another => [("one is", of_group()), ("", None)],
        (None, None) => [("path", of_group()), ("", None)],
    };
    facts.into_iter().filter_map(|(name, text)| Some((name, text?))).collect()
}

/// `dyups upstream "svc", deleted but still referenced (dyups.deleting)`, `cycle`: the label with name and state, and the kind
/// as filters take it, where the label does not say that.
fn owner_text(owner: &PoolOwner) -> String {
    let named = named(&owner.label, owner.name.as_deref());
    let state = state_beside(&owner.kind, owner.state.as_deref());
    let state = state.map(|state| format!(", {state}")).unwrap_or_default();
    let kind = if owner.label == owner.kind { String::new() } else { format!(" ({})", owner.kind) };
    format!("{named}{state}{kind}{}", pool_mark(owner))
}

/// How many references keep a pool, and who holds them: `1 reference: 1 HTTP request to location /ws, upgraded, 3 h old
/// (its pool: 0x…)`.
fn kept_by_text(references: u64, holders: &[Holder]) -> String {
    let known = holders.iter().fold(0u64, |sum, holder| sum.saturating_add(holder.references));
    let count = counted(references, "reference");
    // Without holders nobody has looked for them, or nobody was found: then there is nothing to add.
    if holders.is_empty() {
        return count;
    }
    let words = in_words(holders, references.saturating_sub(known)).unwrap_or_default();
    let example = holders.first().and_then(|holder| Some((holder.pools, holder.example?)));
    let pool = match example {
        Some((1, pool)) if holders.len() == 1 && known >= references => format!(" (its pool: {pool})"),
        Some((_, pool)) => format!(" (pool of one of them: {pool})"),
        None => String::new(),
    };
    format!("{count}: {words}{pool}")
}

/// What else is known of a pool's owner, and the path to it.
fn pool_facts(pool: &PoolRow, holders: &[Holder]) -> Vec<(&'static str, String)> {
    let owner = &pool.owner;
    let path = if pool.path().is_empty() { "no known root leads there".to_owned() } else { pool.path() };
    let facts = [
        ("kept by", pool.references.map(|references| kept_by_text(references, holders))),
        ("age", pool.age_ms.map(human_age)),
        ("protocol", owner.protocol.clone()),
        ("handler", owner.handler.clone()),
        ("client", pool.client.as_deref().map(str::to_owned)),
        ("uri", pool.uri.as_deref().map(str::to_owned)),
        ("path", Some(path)),
        ("known by", (owner.trust != Trust::TypedPath).then(|| words(owner.trust).to_owned())),
    ];
    facts.into_iter().filter_map(|(name, text)| Some((name, text?))).collect()
}

fn fact(name: &str, text: &str, style: Style) -> Vec<Line> {
    let first = format!("  {name:<NAMES$}");
    let lines = wrap(&style.adapt(text), style.width, &first, &" ".repeat(NAMES + 2));
    lines.into_iter().map(|line| Line::new(Look::Plain, line)).collect()
}

fn chunk_text(chunk: &ChunkInfo) -> String {
    let place = match chunk.offset {
        0 => "its first byte".to_owned(),
        offset if offset < 0 => format!("its header, {} before the memory", counted(offset.unsigned_abs(), "byte")),
        offset => format!("{offset:#x} in"),
    };
    let size = match chunk.size {
        0..1024 => human_bytes(chunk.size),
        size => format!("{} ({size} bytes)", human_bytes(size)),
    };
    let state = chunk.state.name().replace('_', " ");
    format!("{}, {size}, {state}, arena {}: {place}", chunk.address, chunk.arena)
}

fn referrer_lines(referrers: &Referrers, is_chunk: bool, style: Style, top: usize) -> Vec<Line> {
    let what = if is_chunk { "into the chunk" } else { "to the address" };
    let how = if referrers.exact { "" } else { ", while the process ran" };
    let threads = match (referrers.threads, referrers.exact) {
        (0, _) => "registers are not known".to_owned(),
        (count, true) => format!("and the registers of {}", counted(count, "thread")),
        (count, false) => format!("and the registers of {} at the stop", counted(count, "thread")),
    };
    let searched = format!("{} of private memory searched{how}, {threads}", human_bytes(referrers.searched));
    let head = match referrers.count {
        0 => format!("nothing points {what} ({searched})"),
        1 => format!("1 place points {what} ({searched})"),
        count => format!("{} places point {what} ({searched})", human_count(count)),
    };
    let mut lines = fact("pointed to", &head, style);
    if referrers.by_owner.len() > 1 {
        let kinds: Vec<String> =
            referrers.by_owner.iter().map(|(owner, count)| format!("{} in {owner}", human_count(*count))).collect();
        let looked_at = referrers.by_owner.iter().fold(0u64, |sum, (_, count)| sum.saturating_add(*count));
        let of = match referrers.count > looked_at {
            true => format!("of the first {}: ", human_count(looked_at)),
            false => String::new(),
        };
        lines.extend(fact("", &format!("{of}{}", kinds.join(", ")), style));
    }
    lines.extend(referrers.list.iter().take(top).flat_map(|referrer| place(referrer, style)));
    let left = referrers.count.saturating_sub(referrers.list.len().min(top) as u64);
    if left > 0 {
        lines.extend(fact("", &format!("and {} more", human_count(left)), style));
    }
    lines
}

fn place(referrer: &Referrer, style: Style) -> Vec<Line> {
    let offset = match (referrer.owner.as_str(), referrer.offset) {
        (_, 0) | ("register", _) => String::new(),
        ("variables", offset) => format!("+{offset:#x}"),
        ("stack" | "other", _) => String::new(),
        (_, offset) => format!(", {offset:#x} into its chunk"),
    };
    let state = referrer.state.as_deref().and_then(|state| state_beside(&referrer.owner, Some(state)));
    let state = state.map(|state| format!(" ({state})")).unwrap_or_default();
    let owner = match &referrer.name {
        Some(name) if *name == referrer.owner => referrer.owner.clone(),
        Some(name) => with_name(&referrer.owner, name),
        None => referrer.owner.clone(),
    };
    let at = referrer.at.map(|at| format!("{at} ")).unwrap_or_default();
    let place = match &referrer.path {
        Some(path) => path.clone(),
        None => format!("{}{offset}", referrer.place),
    };
    let text = format!("{at}{owner}{state}: {place}");
    let lines = wrap(&style.adapt(&text), style.width, &" ".repeat(NAMES + 2), &" ".repeat(NAMES + 4));
    lines.into_iter().map(|line| Line::new(Look::Detail, line)).collect()
}
