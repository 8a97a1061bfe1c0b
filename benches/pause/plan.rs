//! The three programs.

use std::time::Duration;

/// How large they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// As the documentation has them.
    Full,
    /// A twentieth of that, to see whether the benchmark works.
    Quick,
}

/// What a program holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Contents {
    /// An nginx worker that has leaked so many generations of 1030 servers.
    Leak {
        /// Generations.
        generations: usize,
    },
    /// Four threads with so many chunks.
    Chunks {
        /// Of 32 to 512 bytes.
        small: u64,
        /// Of 256 to 512 KiB.
        large: u64,
    },
}

/// A program to be looked at.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) letter: &'static str,
    pub(crate) name: String,
    pub(crate) contents: Contents,
    /// All rounds together take no longer than this: what is left of the plan is then dropped, and the report says so.
    pub(crate) budget: Duration,
    /// What the least of one stop was elsewhere, in milliseconds; for the full size only.
    pub(crate) known_floor: Option<f64>,
}

/// All of them.
pub(crate) fn all(size: Size) -> Vec<Plan> {
    let part = match size {
        Size::Full => 1,
        Size::Quick => 20,
    };
    let known = |milliseconds| (size == Size::Full).then_some(milliseconds);
    let (generations, few, large, many) =
        (1120 / part, 200_000 / part as u64, 2_000 / part as u64, 10_000_000 / part as u64);
    let plan = |letter, name, contents, budget, known_floor| Plan {
        letter,
        name,
        contents,
        budget: Duration::from_secs(budget),
        known_floor,
    };
    vec![
        plan(
            "a",
            format!("an nginx worker with {generations} leaked generations of 1030 servers"),
            Contents::Leak { generations },
            120,
            known(95.0),
        ),
        plan(
            "b",
            format!("four threads, {few} chunks of 32-512 bytes and {large} of 256-512 KiB, 5 % freed"),
            Contents::Chunks { small: few, large },
            120,
            known(33.0),
        ),
        plan(
            "c",
            format!("four threads, {many} chunks of 32-512 bytes, 5 % freed"),
            Contents::Chunks { small: many, large: 0 },
            240,
            known(400.0),
        ),
    ]
}
