//! What can be said of a process that we may not read: what it is by its title, and what this machine has of the files that
//! it probably runs.

use super::files::{GLIBC, NGINX, debug_info};
use super::{Check, State};
use crate::analysis::{Options, SnapshotError};
use crate::debug::{Binary, DebugInfo};
use crate::malloc::allocator::is_glibc;
use crate::snapshot::model::LayoutSource;
use crate::target::maps::{Backing, Maps};
use crate::target::nginx_role::Role;
use std::path::{Path, PathBuf};

/// Its title or command line, which everybody may read.
pub(super) fn title_of(pid: i32) -> Option<String> {
    let words = procfs::process::Process::new(pid).and_then(|entry| entry.cmdline()).ok()?;
    Some(words.join(" ").trim_end().to_owned()).filter(|title| !title.is_empty())
}

/// The checks of its files, if it runs what its title says.
pub(super) fn checks(pid: i32, error: &SnapshotError, options: &Options) -> Vec<Check> {
    let mut checks = vec![server(pid)];
    match &error {
        SnapshotError::Target(_) => {}
        error => checks.push(Check::new("files", State::Stops, error.to_string())),
    }
    let known = [
        (NGINX, binary_of(pid), "if it runs this binary"),
        (GLIBC, our_glibc(), "if it runs with this machine's C library"),
    ];
    checks.extend(known.into_iter().map(|(what, path, condition)| files_on_disk(what, path, condition, options)));
    checks.push(Check::new("allocator", State::Note, "cannot be seen: it takes the right to read the process"));
    checks
}

fn server(pid: i32) -> Check {
    let title = title_of(pid).unwrap_or_default();
    match Role::of_title(&title) {
        Some(role) => Check::ok("nginx", format!("{role}, by its title \"{title}\"")),
        None => Check::new("nginx", State::Note, format!("its title does not say that it is nginx: \"{title}\"")),
    }
}

/// The binary that a master was started with stands in its title.
fn binary_of(pid: i32) -> Option<PathBuf> {
    let parent = || procfs::process::Process::new(pid).and_then(|entry| entry.stat()).ok().map(|stat| stat.ppid);
    let named = |title: String| {
        let (_, command) = title.split_once("master process ")?;
        let path = PathBuf::from(command.split(' ').next()?);
        path.is_absolute().then_some(path)
    };
    title_of(pid).and_then(named).or_else(|| named(title_of(parent()?)?))
}

/// The C library that we run with ourselves.
fn our_glibc() -> Option<PathBuf> {
    let maps = Maps::read_ranges(i32::try_from(std::process::id()).ok()?).ok()?;
    maps.0.into_iter().find_map(|mapping| match mapping.backing {
        Backing::File { path, .. } if is_glibc(&path) => Some(path),
        _ => None,
    })
}

fn files_on_disk(what: &'static str, path: Option<PathBuf>, condition: &str, options: &Options) -> Check {
    let load = |path: &Path| DebugInfo::load(&Binary::open(path).ok()?, &options.debug).ok();
    let Some(debug) = path.as_deref().and_then(load) else {
        return Check::new(what, State::Note, "cannot be looked for: which file it runs cannot be seen");
    };
    let found = debug_info(what, &debug, &LayoutSource::of(&debug), condition);
    let name = debug.path().display().to_string();
    Check {
        finding: format!("{} ({condition}, {name})", found.finding.replace(&format!("; {condition}"), "")),
        ..found
    }
}
