//! One path for several chunks.

/// What follows a path that is that of one chunk among several.
pub const EXAMPLE: &str = ", for example";

/// Makes a path stand for one more chunk, whose path is `other`: where only indexes differ, they become `[*]`; where more
/// does, the path is an example. An empty one says nothing, and nothing is joined with it.
pub fn join(path: &mut String, other: &str) {
    if path == other || other.is_empty() || path.ends_with(EXAMPLE) {
        return;
    }
    match with_any_index(path, other) {
        _ if path.is_empty() => *path = other.to_owned(),
        Some(joined) => *path = joined,
        None => path.push_str(EXAMPLE),
    }
}

/// A path that is one chunk's among several, as an example; empty if it says nothing.
pub fn example(path: &str) -> String {
    match path.is_empty() || path.ends_with(EXAMPLE) {
        true => path.to_owned(),
        false => format!("{path}{EXAMPLE}"),
    }
}

/// Two paths that differ in nothing but indexes, as one.
fn with_any_index(path: &str, other: &str) -> Option<String> {
    let (mut parts, mut others) = (path.split('['), other.split('['));
    let mut joined = parts.next().filter(|first| others.next() == Some(first))?.to_owned();
    loop {
        let (part, other) = match (parts.next(), others.next()) {
            (None, None) => return Some(joined),
            (part, other) => (part?, other?),
        };
        let ((index, rest), (other_index, other_rest)) = (part.split_once(']')?, other.split_once(']')?);
        if rest != other_rest {
            return None;
        }
        let index = if index == other_index { index } else { "*" };
        joined.push_str(&format!("[{index}]{rest}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(paths: &[&str]) -> String {
        let mut path = paths[0].to_owned();
        paths[1..].iter().for_each(|other| join(&mut path, other));
        path
    }

    #[test]
    fn a_path_stands_for_all_that_it_was_joined_with() {
        assert_eq!(joined(&["a.b[1].c", "a.b[1].c"]), "a.b[1].c");
        assert_eq!(joined(&["a.b[1].c[3]", "a.b[2].c[3]", "a.b[9].c[4]"]), "a.b[*].c[*]");
        assert_eq!(joined(&["a.b[1].c", "a.b[1].d", "a.b[2].c"]), "a.b[1].c, for example");
        assert_eq!(joined(&["a->next", "a->next->next"]), "a->next, for example");
        assert_eq!(joined(&["", "a", ""]), "a");
        assert_eq!(joined(&["a[1", "a]2["]), "a[1, for example");
        assert_eq!(example(&example("a")), "a, for example");
    }
}
