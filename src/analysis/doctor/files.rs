//! What it runs, and what is known of that.

use super::{Check, State};
use crate::analysis::modules::LoadedModule;
use crate::analysis::prepared::Prepared;
use crate::debug::{DebugInfo, package_hint};
use crate::malloc::allocator::Allocator;
use crate::snapshot::model::LayoutSource;
use crate::target::maps::Backing;
use crate::target::nginx_role::Role;

/// Server, allocator, debug info and layouts.
pub(super) fn checks(prepared: &Prepared) -> Vec<Check> {
    let mut checks = vec![server(prepared)];
    if prepared.nginx.is_some() {
        checks.push(of_nginx(prepared));
    }
    checks.push(allocator(prepared));
    if prepared.allocator == Allocator::Glibc {
        checks.push(of_glibc(prepared));
    }
    checks.push(layouts(prepared));
    checks
}

/// What it is.
fn server(prepared: &Prepared) -> Check {
    const WHAT: &str = "nginx";
    let process = &prepared.process;
    let path = &process.executable;
    if prepared.nginx.is_none() {
        return Check::new(WHAT, State::Note, format!("{path} is not nginx: it has a heap, but no pools"))
            .way_out("poolscope ps lists the workers of nginx");
    }
    let version = process.server.as_deref().unwrap_or("nginx of unknown version");
    match Role::of_title(&process.title) {
        Some(Role::Master) => {
            Check::new(WHAT, State::Note, format!("{version}, a master: requests are in the memory of its workers"))
                .way_out(format!("poolscope snapshot --workers-of {}", process.pid))
        }
        Some(role) => Check::ok(WHAT, format!("{version}, {role}, {path}")),
        None => Check::ok(WHAT, format!("{version}, {path}")),
    }
}

fn of_nginx(prepared: &Prepared) -> Check {
    let binary = &prepared.binary;
    let lack = match &prepared.nginx {
        Some(nginx) if nginx.built_in.is_some() => "only owners that built-in layouts lead to are told",
        _ => "pools are found, but not whose they are",
    };
    debug_info(NGINX, &binary.debug, &binary.source, lack)
}

fn of_glibc(prepared: &Prepared) -> Check {
    let library: &LoadedModule = prepared.library.as_ref().unwrap_or(&prepared.binary);
    let lack = "the heap cannot be walked, and a snapshot shows no chunks and no pools";
    debug_info(GLIBC, &library.debug, &prepared.glibc_source, lack)
}

/// The names of these checks.
pub(super) const NGINX: &str = "nginx debug info";
pub(super) const GLIBC: &str = "glibc debug info";

/// Whether there is debug info, and where it was looked for; `lack` says what is missing without.
pub(super) fn debug_info(what: &'static str, debug: &DebugInfo, source: &LayoutSource, lack: &str) -> Check {
    let looked_at: Vec<String> = debug.tried().iter().map(ToString::to_string).collect();
    let build_id = debug.build_id().map_or_else(|| "no build-id".to_owned(), |id| format!("build-id {id}"));
    let check = match (debug.source(), &source.problem) {
        (Some(found), None) => {
            let proof = match source.verified_by.as_deref() {
                Some("build_id") => format!("{build_id} matches"),
                Some("checksum") => "checksum matches".to_owned(),
                _ => "in the running file itself".to_owned(),
            };
            Check::ok(what, format!("{}, {proof}", found.path.display()))
        }
        (Some(found), Some(problem)) => {
            Check::new(what, State::Warn, format!("{} does not help: {problem}; {lack}", found.path.display()))
        }
        (None, _) => {
            Check::new(what, State::Warn, format!("not found ({build_id}); {lack}")).way_out(package_hint(debug.path()))
        }
    };
    Check { looked_at, ..check }
}

fn allocator(prepared: &Prepared) -> Check {
    const WHAT: &str = "allocator";
    let name = prepared.allocator.name();
    if prepared.allocator == Allocator::Glibc {
        let version = prepared.process.allocator_version.as_deref().unwrap_or("of unknown version");
        return Check::ok(WHAT, format!("glibc {version}"));
    }
    let library = library_of(prepared, name).map_or_else(String::new, |path| format!(" ({path})"));
    Check::new(
        WHAT,
        State::Warn,
        format!(
            "{name}{library}, not glibc: only glibc's heap can be walked, and a snapshot shows no chunks and no pools"
        ),
    )
    .way_out("start nginx without it (LD_PRELOAD, --with-ld-opt) where the growth can be repeated")
}

/// The mapped library of an allocator.
fn library_of(prepared: &Prepared, name: &str) -> Option<String> {
    prepared.maps.0.iter().find_map(|mapping| match &mapping.backing {
        Backing::File { path, .. } => {
            let file = path.file_name()?.to_string_lossy().into_owned();
            file.starts_with(&format!("lib{}", name.to_lowercase())).then(|| path.display().to_string())
        }
        _ => None,
    })
}

fn layouts(prepared: &Prepared) -> Check {
    let name = |source: &LayoutSource| match source.kind.as_str() {
        "dwarf" => "from DWARF".to_owned(),
        "built_in" if source.verified_by.is_some() => "built in, checked against its memory".to_owned(),
        "built_in" => "built in, for pools only".to_owned(),
        _ => "none".to_owned(),
    };
    let glibc = (prepared.allocator == Allocator::Glibc).then(|| format!("glibc: {}", name(&prepared.glibc_source)));
    let nginx = prepared.nginx.as_ref().map(|_| format!("nginx: {}", name(&prepared.binary.source)));
    let known: Vec<String> = nginx.into_iter().chain(glibc).collect();
    Check::ok("layouts", if known.is_empty() { "none are needed".to_owned() } else { known.join(" · ") })
}
