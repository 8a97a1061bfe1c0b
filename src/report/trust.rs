//! How an owner is known, as a mark behind its name. What is known by a typed path has none: that is the rule, and what is not
//! is what a reader must see.

use crate::snapshot::pool::Trust;

/// The mark of a trust: one character of ASCII, or none.
pub(super) fn mark(trust: Trust) -> &'static str {
    match trust {
        Trust::TypedPath => "",
        Trust::InferredPath => "~",
        Trust::BuiltInPath => "^",
        Trust::Referenced => "*",
        Trust::Signature => "=",
    }
}

/// What the marks of these mean, in one line; `None` if there are none.
pub(super) fn legend(shown: impl IntoIterator<Item = Trust>) -> Option<String> {
    let mut known: Vec<Trust> = shown.into_iter().filter(|trust| *trust != Trust::TypedPath).collect();
    known.sort_unstable();
    known.dedup();
    let parts: Vec<String> = known.iter().map(|trust| format!("{} {}", mark(*trust), words(*trust))).collect();
    (!parts.is_empty()).then(|| format!("known by: {}", parts.join(", ")))
}

/// The trust in words.
pub(super) fn words(trust: Trust) -> &'static str {
    match trust {
        Trust::TypedPath => "a typed path",
        Trust::InferredPath => "a path with an inferred type",
        Trust::BuiltInPath => "a path in built-in layouts",
        Trust::Referenced => "what points to it",
        Trust::Signature => "its looks",
    }
}

/// The same for a column.
pub(super) fn short(trust: Trust) -> &'static str {
    match trust {
        Trust::TypedPath => "typed path",
        Trust::InferredPath => "inferred path",
        Trust::BuiltInPath => "built-in path",
        Trust::Referenced => "pointer",
        Trust::Signature => "looks",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marks_that_are_shown_are_explained() {
        assert_eq!(legend([Trust::TypedPath, Trust::TypedPath]), None);
        let shown = [Trust::Signature, Trust::InferredPath, Trust::TypedPath, Trust::Signature];
        assert_eq!(legend(shown).as_deref(), Some("known by: ~ a path with an inferred type, = its looks"));
    }
}
