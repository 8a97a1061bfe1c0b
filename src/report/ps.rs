//! nginx processes, one line each.

use super::rows::{Record, Row};
use super::style::Style;
use super::text::{keep_end, keep_start, printable, width};
use crate::analysis::processes::Listed;
use crate::snapshot::human::{human_age, human_bytes};
use crate::target::nginx_processes::FileState;
use crate::target::nginx_role::Role;
use serde::Serialize;
use std::io::{self, Write};

/// A process as a row for programs.
#[derive(Debug, Serialize)]
pub struct ProcessRow<'a> {
    pid: i32,
    parent: i32,
    master: Option<i32>,
    role: Role,
    resident: Option<u64>,
    age_seconds: u64,
    user: u32,
    server: Option<&'a str>,
    executable: Option<String>,
    executable_state: Option<&'static str>,
    container: Option<&'a str>,
    title: &'a str,
}

impl<'a> From<&'a Listed> for ProcessRow<'a> {
    fn from(listed: &'a Listed) -> ProcessRow<'a> {
        let process = &listed.process;
        ProcessRow {
            pid: process.pid,
            parent: process.parent,
            master: listed.master,
            role: process.role,
            resident: process.resident,
            age_seconds: process.age_seconds,
            user: process.user,
            server: listed.server.as_deref(),
            executable: process.binary.as_ref().map(|binary| binary.path.display().to_string()),
            executable_state: process.binary.as_ref().map(|binary| binary.state.name()),
            container: process.container.as_deref(),
            title: &process.title,
        }
    }
}

impl Row for ProcessRow<'_> {
    const FIELDS: &'static [&'static str] = &[
        "pid",
        "parent",
        "master",
        "role",
        "resident",
        "age_seconds",
        "user",
        "server",
        "executable",
        "executable_state",
        "container",
        "title",
    ];

    fn csv(&self, record: &mut Record<'_>) -> io::Result<()> {
        record.plain(self.pid)?;
        record.plain(self.parent)?;
        record.plain_or_empty(self.master)?;
        record.plain(self.role.name().replace(' ', "_"))?;
        record.plain_or_empty(self.resident)?;
        record.plain(self.age_seconds)?;
        record.plain(self.user)?;
        record.text(self.server.unwrap_or_default())?;
        record.text(self.executable.as_deref().unwrap_or_default())?;
        record.text(self.executable_state.unwrap_or_default())?;
        record.text(self.container.unwrap_or_default())?;
        record.text(self.title)
    }
}

/// Between two columns.
const GAP: &str = "  ";
/// Characters of a container's name: as many as `docker ps` shows.
const CONTAINER: usize = 12;
/// What cannot be told.
const UNKNOWN: &str = "?";
/// Columns for a binary, however many the rest takes.
const SHORTEST_BINARY: usize = 8;

/// Writes processes for people. With `limit`, lines are at most that wide, and a last one says where to look first.
///
/// # Errors
/// Those of `out`.
pub fn write_table(listed: &[Listed], style: Style, limit: Option<usize>, out: &mut dyn Write) -> io::Result<()> {
    let has_container = listed.iter().any(|listed| listed.process.container.is_some());
    let mut rows = vec![heads(has_container)];
    rows.extend(listed.iter().map(|listed| cells(listed, has_container, style)));
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len))
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell)).max().unwrap_or(0))
        .collect();
    let binaries = std::iter::once("binary".to_owned()).chain(listed.iter().map(|listed| {
        // A line has room for these; a pipe has room for all.
        let before: usize = widths.iter().map(|width| width + GAP.len()).sum();
        let room = limit.map(|limit| limit.saturating_sub(before).max(SHORTEST_BINARY));
        binary(listed, style, room)
    }));
    for (row, binary) in rows.iter().zip(binaries) {
        let line = line(row, &widths) + &binary;
        let line = limit.map_or_else(|| line.clone(), |limit| keep_start(&line, limit, style.ellipsis()));
        writeln!(out, "{}", line.trim_end())?;
    }
    for (state, words) in [(FileState::Replaced, "replaced by another file"), (FileState::Deleted, "deleted")] {
        if listed.iter().any(|listed| listed.process.binary.as_ref().is_some_and(|binary| binary.state == state)) {
            writeln!(out, "{} {words} since it was started", mark(state))?;
        }
    }
    match limit.and(hint(listed)) {
        Some(hint) => writeln!(out, "\n{hint}"),
        None => Ok(()),
    }
}

fn heads(has_container: bool) -> Vec<String> {
    let heads = ["pid", "parent", "role", "rss", "age", "container"];
    heads.iter().take(if has_container { 6 } else { 5 }).map(|head| (*head).to_owned()).collect()
}

fn cells(listed: &Listed, has_container: bool, style: Style) -> Vec<String> {
    let process = &listed.process;
    let role = match (process.role, listed.master) {
        (Role::Master, _) | (_, None) => process.role.name().to_owned(),
        // Below its master it is seen what shuts down.
        (Role::ShuttingDown, Some(_)) => "  shutting down".to_owned(),
        (role, Some(_)) => format!("  {role}"),
    };
    let mut cells = vec![
        process.pid.to_string(),
        process.parent.to_string(),
        role,
        process.resident.map_or(UNKNOWN.to_owned(), human_bytes),
        human_age(process.age_seconds.saturating_mul(1000)),
    ];
    if has_container {
        let name = printable(process.container.as_deref().unwrap_or("-"), style.unicode);
        cells.push(name.chars().take(CONTAINER).collect());
    }
    cells
}

/// Words stand to the left, figures to the right.
fn line(cells: &[String], widths: &[usize]) -> String {
    const WORDS: [usize; 2] = [2, 5];
    let cell = |(column, (cell, room)): (usize, (&String, &usize))| {
        let padding = " ".repeat(room.saturating_sub(width(cell)));
        match WORDS.contains(&column) {
            true => format!("{cell}{padding}{GAP}"),
            false => format!("{padding}{cell}{GAP}"),
        }
    };
    cells.iter().zip(widths).enumerate().map(cell).collect()
}

/// Path of the binary, what has become of it, and what a master was started with.
fn binary(listed: &Listed, style: Style, room: Option<usize>) -> String {
    let Some(binary) = &listed.process.binary else { return UNKNOWN.to_owned() };
    let mark = mark(binary.state);
    let path = printable(&binary.path.display().to_string(), style.unicode);
    let rest = format!("{mark}{}", printable(&arguments(listed), style.unicode));
    let Some(room) = room else { return path + &rest };
    // Arguments go first where there is too little room, then the beginning of the path; what became of the file stays.
    let path = keep_end(&path, room.saturating_sub(width(mark)).max(SHORTEST_BINARY), style.ellipsis());
    let left = room.saturating_sub(width(&path));
    path + &keep_start(&rest, left.max(width(mark)), style.ellipsis())
}

/// Behind the path of a binary that is no longer there.
fn mark(state: FileState) -> &'static str {
    match state {
        FileState::Present => "",
        FileState::Replaced => "*",
        FileState::Deleted => "!",
    }
}

/// What a master was started with, which tells several apart: its title ends with its command line.
fn arguments(listed: &Listed) -> String {
    let title = &listed.process.title;
    let words = match listed.process.role {
        Role::Master => title.split_once("master process ").map_or("", |(_, command)| command),
        Role::Single => title,
        _ => "",
    };
    words.split_once(' ').map_or_else(String::new, |(_, arguments)| format!(" {arguments}"))
}

/// The process whose memory to look at first: the largest that serves clients.
fn hint(listed: &[Listed]) -> Option<String> {
    let serving = listed.iter().map(|listed| &listed.process).filter(|process| process.role.serves());
    let largest = serving.max_by_key(|process| (process.resident, std::cmp::Reverse(process.pid)))?;
    let (pid, size) =
        (largest.pid, largest.resident.map_or_else(String::new, |bytes| format!(" ({})", human_bytes(bytes))));
    Some(format!("largest: {} {pid}{size}; see whose it is: poolscope snapshot {pid}", largest.role))
}

#[cfg(test)]
mod tests;
