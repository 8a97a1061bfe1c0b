//! What stands out in a snapshot: facts that an operator should read first, each with its evidence.

use super::ends::end_of;
use super::holder::{self, Holder};
use super::human::{counted, human_age, human_bytes};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A conclusion from the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Finding {
    /// Upstreams that were deleted but are still referenced: their pools stay.
    DeletedButReferenced {
        /// The upstream's name.
        upstream: String,
        /// How many pools.
        pools: u64,
        /// Their references together.
        references: u64,
        /// Bytes of their chunks.
        bytes: u64,
        /// Where the references are counted, as a typed path with slots in brackets: `dy_upstreams[1..1119].ref`.
        path: String,
        /// Who holds the references, most first.
        #[serde(default)]
        holders: Vec<Holder>,
        /// How many of the references no holder was found for.
        #[serde(default)]
        unexplained: u64,
        /// Source place that creates such a pool (`file:line`), where the debug info tells.
        created_at: Option<String>,
    },
    /// Upstreams that were deleted and are no longer referenced: the module frees them at its next look-up.
    DeletedAndUnreferenced {
        /// The upstream's name.
        upstream: String,
        /// How many pools.
        pools: u64,
        /// Bytes of their chunks.
        bytes: u64,
        /// Where the slots are.
        path: String,
    },
    /// Pools that no known root leads to.
    PoolsWithoutOwner {
        /// How many.
        pools: u64,
        /// Bytes of their chunks.
        bytes: u64,
    },
    /// Much memory in use that no pool owns.
    OutsidePools {
        /// How many chunks.
        chunks: u64,
        /// Their bytes.
        bytes: u64,
        /// Share of all in use, in percent.
        percent: u64,
    },
    /// Much memory that is free but that malloc does not give back.
    FreeButKept {
        /// Bytes free.
        bytes: u64,
        /// Of these, bytes in memory.
        resident: Option<u64>,
    },
    /// One pool that is much larger than others of its kind.
    LargePool {
        /// Its address.
        #[serde(with = "crate::addr::hex")]
        address: u64,
        /// Its kind of owner, for people.
        label: String,
        /// Its bytes.
        bytes: u64,
        /// Its typed path; empty if there is none.
        path: String,
        /// Its kind of owner, for machines; empty in files of older versions.
        #[serde(default)]
        owner: String,
        /// State of the owner.
        #[serde(default)]
        state: Option<String>,
        /// How old the owner is, in milliseconds.
        #[serde(default)]
        age_ms: Option<u64>,
    },
    /// The worker is shutting down, and clients keep it.
    ShuttingDown {
        /// How many connections of clients there are.
        clients: u64,
        /// Bytes in use in the whole process.
        bytes: u64,
        /// Age of the oldest in milliseconds, where one is known.
        oldest_ms: Option<u64>,
    },
    /// Pools that nothing in the process points to.
    UnreachablePools {
        /// How many.
        pools: u64,
        /// Bytes of their chunks.
        bytes: u64,
        /// Size of their blocks, as given to `ngx_create_pool`.
        block_size: u64,
        /// Functions of their cleanup handlers.
        cleanups: Vec<String>,
        /// What their log says was being done (`log->action`), and the function that adds to its lines (`log->handler`).
        log: Vec<String>,
        /// Functions and variables that their first allocations point to.
        symbols: Vec<String>,
        /// One of them.
        #[serde(with = "crate::addr::hex")]
        example: u64,
    },
    /// Chunks outside pools that nothing in the process points to, all of one kind.
    Unreferenced {
        /// What they are called.
        name: String,
        /// How many chunks.
        chunks: u64,
        /// Their bytes.
        bytes: u64,
        /// Size of each in bytes, header included, if all have one size.
        size: Option<u64>,
        /// What malloc returned for one of them.
        #[serde(with = "crate::addr::hex")]
        example: u64,
    },
    /// One of a kind that only a newer version knows.
    #[serde(other)]
    Unknown,
}

impl fmt::Display for Finding {
    /// The conclusion in words, without its evidence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::DeletedButReferenced { upstream, pools, references, bytes, holders, unexplained, .. } => {
                let are = if *pools == 1 { "is" } else { "are" };
                let end = if holders.is_empty() { "those that hold them" } else { "these" };
                write!(
                    f,
                    "{} of upstream \"{upstream}\" ({}) {are} deleted but kept by {}: freed when {end} end, at the module's \
                     next look-up in this worker (GET /upstream/NAME, say)",
                    counted(*pools, "pool"),
                    human_bytes(*bytes),
                    keepers(*references, holders, *unexplained)
                )
            }
            Finding::DeletedAndUnreferenced { upstream, pools, bytes, .. } => write!(
                f,
                "{} of upstream \"{upstream}\" {} deleted and no longer referenced: {} will be freed when the module next \
                 looks up an upstream (GET /upstream/NAME at its API in this worker, say)",
                counted(*pools, "pool"),
                if *pools == 1 { "is" } else { "are" },
                human_bytes(*bytes)
            ),
            Finding::PoolsWithoutOwner { pools, bytes } => write!(
                f,
                "{} with {} {} valid, but no root that poolscope knows leads there: they belong to a module that it does \
                 not know, or nobody holds them any more",
                counted(*pools, "pool"),
                human_bytes(*bytes),
                if *pools == 1 { "is" } else { "are" }
            ),
            Finding::OutsidePools { chunks, bytes, percent } => write!(
                f,
                "{} ({percent} % of what is in use) in {} {} in no pool: allocated with plain malloc by nginx or a library \
                 (OpenSSL, PCRE, Lua's C memory)",
                human_bytes(*bytes),
                counted(*chunks, "chunk"),
                if *chunks == 1 { "is" } else { "are" }
            ),
            Finding::FreeButKept { bytes, resident } => {
                write!(f, "{} is free inside glibc and not given back to the kernel", human_bytes(*bytes))?;
                match resident {
                    Some(resident) => write!(f, " ({} of it in memory)", human_bytes(*resident)),
                    None => Ok(()),
                }
            }
            Finding::LargePool { address, label, bytes, owner, state, age_ms, .. } => {
                let age = age_ms.map(|age| format!("{} old", human_age(age)));
                let facts: Vec<&str> = state.iter().chain(&age).map(String::as_str).collect();
                write!(f, "the {label} pool at {address:#x}")?;
                if !facts.is_empty() {
                    write!(f, " ({})", facts.join(", "))?;
                }
                write!(f, " alone holds {}", human_bytes(*bytes))?;
                end_of(owner).map_or(Ok(()), |end| write!(f, ": freed when {end}"))
            }
            Finding::ShuttingDown { clients, bytes, oldest_ms } => {
                write!(
                    f,
                    "this worker is shutting down, and keeps its {} until {} {} closed",
                    human_bytes(*bytes),
                    counted(*clients, "client connection"),
                    if *clients == 1 { "is" } else { "are" }
                )?;
                oldest_ms.map_or(Ok(()), |age| write!(f, ", of which the oldest is {} old", human_age(age)))?;
                write!(f, " (worker_shutdown_timeout would bound that)")
            }
            Finding::UnreachablePools { pools, bytes, block_size, .. } => write!(
                f,
                "{} with {} {} unreachable: nothing in the process points to {}, so that {} can never be freed ({} of {})",
                counted(*pools, "pool"),
                human_bytes(*bytes),
                if *pools == 1 { "is" } else { "are" },
                if *pools == 1 { "it" } else { "them" },
                if *pools == 1 { "it" } else { "they" },
                if *pools == 1 { "blocks" } else { "all with blocks" },
                counted(*block_size, "byte")
            ),
            Finding::Unreferenced { name, chunks, bytes, size, .. } => {
                write!(f, "{} in {} outside pools {}", human_bytes(*bytes), counted(*chunks, "chunk"), lost(*chunks))?;
                let is_named_by_size = name.starts_with("chunk of ");
                match size.filter(|_| !is_named_by_size) {
                    Some(size) => write!(f, ": {name}, {size} bytes each"),
                    None => write!(f, ": {name}"),
                }
            }
            Finding::Unknown => write!(f, "something that only a newer poolscope can put into words"),
        }
    }
}

/// What keeps deleted upstreams: `119 HTTP requests to location /ws`, if each holds one reference and nobody else holds any; else
/// the references, with those who hold them.
fn keepers(references: u64, holders: &[Holder], unexplained: u64) -> String {
    let count = counted(references, "reference");
    match (holders, holder::in_words(holders, unexplained)) {
        ([one], _) if unexplained == 0 && one.references == references && one.pools == references => one.to_string(),
        (_, Some(words)) => format!("{count} ({words})"),
        (_, None) => count,
    }
}

fn lost(chunks: u64) -> &'static str {
    match chunks {
        1 => "is lost: nothing in the process points to it",
        _ => "are lost: nothing in the process points to them",
    }
}

impl Finding {
    /// True if it speaks of pools or chunks of that kind of owner (as in [`super::model::OwnerSummary::owner`]), and if both have
    /// a name, of that name.
    pub fn is_of_kind(&self, kind: &str, name: Option<&str>) -> bool {
        let named = |upstream: &str| name.is_none_or(|name| name == upstream);
        match self {
            Finding::DeletedButReferenced { upstream, .. } => kind == "dyups.deleting" && named(upstream),
            Finding::DeletedAndUnreferenced { upstream, .. } => kind == "dyups.unreferenced" && named(upstream),
            Finding::PoolsWithoutOwner { .. } => kind == "unknown_pool",
            Finding::OutsidePools { .. } => kind == "outside_pools",
            Finding::UnreachablePools { .. } => kind == "unreachable_pool",
            Finding::Unreferenced { .. } => kind == "unreferenced",
            Finding::ShuttingDown { .. } => kind == "connection",
            Finding::LargePool { .. } | Finding::FreeButKept { .. } | Finding::Unknown => false,
        }
    }

    /// What proves it, as short phrases: typed paths, values, source lines.
    pub fn evidence(&self) -> Vec<String> {
        match self {
            Finding::DeletedButReferenced { path, created_at, pools, references, .. } => {
                let mut evidence = vec![match pools == references {
                    true => format!("{path} = 1"),
                    false => format!("{path}, together {references}"),
                }];
                evidence.extend(created_at.iter().map(|place| format!("created at {place}")));
                evidence
            }
            Finding::DeletedAndUnreferenced { path, .. } => vec![format!("{path} = 0")],
            Finding::LargePool { path, .. } if !path.is_empty() => vec![path.clone()],
            Finding::UnreachablePools { cleanups, log, symbols, example, .. } => {
                let named = [("cleanup handlers", cleanups), ("its log", log), ("its first allocations", symbols)];
                let named = named.into_iter().filter(|(_, names)| !names.is_empty());
                let named = named.map(|(what, names)| format!("{what}: {}", names.join(", ")));
                named.chain([format!("one of them: {example:#x}")]).collect()
            }
            Finding::Unreferenced { example, .. } => vec![format!("one of them: {example:#x}")],
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_pool_is_not_spoken_of_as_many() {
        let finding = Finding::DeletedButReferenced {
            upstream: "svc".into(),
            pools: 1,
            references: 1,
            bytes: 1 << 20,
            path: "dy_upstreams[3].ref".into(),
            holders: Vec::new(),
            unexplained: 0,
            created_at: Some("module.c:1607".into()),
        };
        let text = finding.to_string();
        assert!(
            text.starts_with(
                "1 pool of upstream \"svc\" (1.00 MiB) is deleted but kept by 1 reference: freed when those"
            ),
            "{text}"
        );
        assert_eq!(finding.evidence(), ["dy_upstreams[3].ref = 1", "created at module.c:1607"]);
    }

    #[test]
    fn who_holds_the_references_is_said_where_it_is_known() {
        let known = Holder { label: "HTTP request".into(), references: 2, pools: 2, ..Holder::default() };
        let finding = Finding::DeletedButReferenced {
            upstream: "svc".into(),
            pools: 2,
            references: 3,
            bytes: 1 << 20,
            path: "dy_upstreams[3..4].ref".into(),
            holders: vec![known],
            unexplained: 1,
            created_at: None,
        };
        let words =
            "kept by 3 references (2 HTTP requests; 1 reference whose holder was not found): freed when these end";
        assert!(finding.to_string().contains(words), "{finding}");
    }

    #[test]
    fn holders_of_one_reference_each_are_named_in_place_of_the_references() {
        let request = Holder { label: "HTTP request".into(), references: 2, pools: 2, ..Holder::default() };
        assert_eq!(keepers(2, std::slice::from_ref(&request), 0), "2 HTTP requests");
        assert_eq!(keepers(2, &[Holder { pools: 1, ..request }], 0), "2 references (1 HTTP request)");
        assert_eq!(keepers(2, &[], 0), "2 references");
        assert_eq!(keepers(2, &[], 2), "2 references (no holder was found)");
    }

    #[test]
    fn a_finding_of_an_older_version_names_no_holders() {
        let old = r#"{"kind": "deleted_but_referenced", "upstream": "svc", "pools": 1, "references": 1, "bytes": 9,
            "path": "dy_upstreams[3].ref", "created_at": null}"#;
        let finding: Finding = serde_json::from_str(old).unwrap();
        assert!(finding.to_string().contains("(9 B) is deleted but kept by 1 reference: freed"), "{finding}");
    }
}
