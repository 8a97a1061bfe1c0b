//! Text that has to fit: wrapping, shortening, and what a terminal must not be sent.

use unicode_width::UnicodeWidthStr;

/// How many columns of a terminal the text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text without anything that a terminal would take for a command. Names come from the target's memory: an upstream
/// called `\x1b[2J` must not clear the screen. With `unicode` false, only ASCII is left.
pub fn printable(text: &str, unicode: bool) -> String {
    text.chars().map(|character| if is_printable(character, unicode) { character } else { '?' }).collect()
}

fn is_printable(character: char, unicode: bool) -> bool {
    // Marks that turn the direction of what follows, as in "Trojan Source", and those that take no room.
    let invisible =
        matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    !character.is_control() && !invisible && (unicode || character.is_ascii())
}

/// Breaks a text into lines of at most `limit` columns, at blanks. `first` goes before the first line and `rest` before
/// the others. A word that is too long for its indentation stands further left, so that a path or a build-id can be
/// copied; only a word that no line can hold is broken: a path behind a slash, a typed path before `->`, `.` or `[`.
pub fn wrap(text: &str, limit: usize, first: &str, rest: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = first.to_owned();
    let mut empty = true;
    for word in text.split_whitespace() {
        if !empty && width(&line) + 1 + width(word) > limit {
            lines.push(std::mem::replace(&mut line, rest.to_owned()));
            empty = true;
        }
        if !empty {
            line.push(' ');
            line.push_str(word);
        } else if let Some(indent) = outdented(&line, word, limit) {
            line = format!("{indent}{word}");
        } else {
            let mut left = word;
            while width(&line) + width(left) > limit && !left.is_empty() {
                let (part, others) = left.split_at(break_at(left, limit.saturating_sub(width(&line))));
                lines.push(std::mem::replace(&mut line, rest.to_owned()) + part);
                left = others;
            }
            line.push_str(left);
        }
        empty = false;
    }
    lines.push(line);
    lines
}

/// What is left of an indentation if the word needs some of its blanks; `None` if even all of them are not enough.
fn outdented<'a>(indent: &'a str, word: &str, limit: usize) -> Option<&'a str> {
    let blanks = indent.len() - indent.trim_start_matches(' ').len();
    let missing = (width(indent) + width(word)).saturating_sub(limit);
    if missing <= blanks { indent.get(missing..) } else { None }
}

/// Where to break a word, in bytes, so that what is before fits into `room` columns: at the last place there that is
/// between two parts of a path, if it has one. At least one character is before.
fn break_at(word: &str, room: usize) -> usize {
    let ends = word.char_indices().map(|(at, character)| at + character.len_utf8());
    let fits = |end: &usize| word.get(..*end).is_some_and(|part| width(part) <= room);
    let one = word.chars().next().map_or(0, char::len_utf8);
    let most = ends.take_while(fits).last().unwrap_or(one);
    let places = (1..=most).rev().take_while(|at| *at > one);
    places.into_iter().find(|at| is_between_parts(word, *at)).unwrap_or(most)
}

/// True behind a slash and before a step of a typed path: `->field`, `.field`, `[index]`.
fn is_between_parts(word: &str, at: usize) -> bool {
    let (Some(before), Some(after)) = (word.get(..at), word.get(at..)) else { return false };
    // Two dots are a range of indices.
    let is_range = after.starts_with("..") || before.ends_with('.');
    let starts_step = !is_range && ["->", ".", "["].iter().any(|start| after.starts_with(start));
    before.ends_with('/') || starts_step
}

/// Puts phrases on as few lines as they need, with a separator between two on the same line; a phrase is broken only if
/// it does not fit on a line of its own.
pub fn flow(phrases: &[String], separator: &str, limit: usize, indent: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for phrase in phrases {
        match lines.last_mut() {
            Some(line) if width(line) + width(separator) + width(phrase) <= limit => {
                line.push_str(separator);
                line.push_str(phrase);
            }
            Some(_) => lines.extend(wrap(phrase, limit, indent, indent)),
            None => lines.extend(wrap(phrase, limit, "", indent)),
        }
    }
    lines
}

/// At most `limit` columns of the text; what is left out at its end is shown by `ellipsis`.
pub fn keep_start(text: &str, limit: usize, ellipsis: &str) -> String {
    if width(text) <= limit {
        return text.to_owned();
    }
    let room = limit.saturating_sub(width(ellipsis));
    let mut kept = String::new();
    for character in text.chars() {
        if width(&kept) + width(character.encode_utf8(&mut [0; 4])) > room {
            break;
        }
        kept.push(character);
    }
    kept + ellipsis
}

/// At most `limit` columns of the text; what is left out at its start is shown by `ellipsis`. For paths, whose end tells
/// one from another.
pub fn keep_end(text: &str, limit: usize, ellipsis: &str) -> String {
    if width(text) <= limit {
        return text.to_owned();
    }
    let room = limit.saturating_sub(width(ellipsis));
    let mut start = text.len();
    for (index, _) in text.char_indices().rev() {
        if text.get(index..).is_none_or(|tail| width(tail) > room) {
            break;
        }
        start = index;
    }
    format!("{ellipsis}{}", text.get(whole_part(text, start)..).unwrap_or_default())
}

/// The first place from `start` on where a part of a path or a word begins, if there is one close by: else `start`.
fn whole_part(text: &str, start: usize) -> usize {
    const CLOSE: usize = 24;
    let starts_word = |at: usize| text.get(..at).is_some_and(|before| before.ends_with(' '));
    let mut places = start..text.len().min(start.saturating_add(CLOSE));
    places.find(|at| is_between_parts(text, *at) || starts_word(*at)).unwrap_or(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_that_no_line_can_hold_are_broken() {
        assert_eq!(wrap("a bcdefghij k", 6, "* ", "  "), ["* a", "  bcde", "  fghi", "  j k"]);
        assert_eq!(wrap("", 6, "* ", "  "), ["* "]);
        assert_eq!(wrap("see /usr/lib/debug/abcdef", 12, "* ", "  "), ["* see", "  /usr/lib/", "  debug/", "  abcdef"]);
    }

    #[test]
    fn a_typed_path_is_broken_between_its_steps() {
        let path = "at ngx_cycle->conf_ctx[17].dy_upstreams[0..118].ref";
        let lines = ["at", "  ngx_cycle", "  ->conf_ctx[17]", "  .dy_upstreams", "  [0..118].ref"];
        assert_eq!(wrap(path, 20, "", "  "), lines);
        assert_eq!(wrap("ngx_http_upstream->peer.data", 20, "", ""), ["ngx_http_upstream", "->peer.data"]);
    }

    #[test]
    fn a_long_word_stands_further_left_and_stays_whole() {
        assert_eq!(wrap("in /usr/lib it is", 9, "  * ", "    "), ["  * in", " /usr/lib", "    it is"]);
        assert_eq!(wrap("/usr/lib/x", 12, "  * ", "    "), ["* /usr/lib/x"]);
    }

    #[test]
    fn phrases_stay_whole() {
        let phrases = ["one two".to_owned(), "three".to_owned(), "four".to_owned()];
        assert_eq!(flow(&phrases, " | ", 15, "  "), ["one two | three", "  four"]);
    }

    #[test]
    fn a_path_keeps_its_end() {
        assert_eq!(keep_end("conf_ctx[1].dy_upstreams[17].pool", 24, "…"), "….dy_upstreams[17].pool");
        assert_eq!(keep_end("held by the variables of libcrypto.so.3", 20, "…"), "…of libcrypto.so.3");
        assert_eq!(keep_start("a long name", 6, "…"), "a lon…");
        assert_eq!(keep_end("short", 24, "…"), "short");
    }

    proptest! {
        #[test]
        fn nothing_is_wider_than_asked(text in "\\PC*", limit in 8usize..40) {
            for line in wrap(&text, limit, "* ", "  ") {
                prop_assert!(width(&line) <= limit, "{line:?}");
            }
            prop_assert!(width(&keep_start(&text, limit, "…")) <= limit);
            prop_assert!(width(&keep_end(&text, limit, "…")) <= limit);
        }

        #[test]
        fn wrapping_loses_no_word(words in proptest::collection::vec("[a-z]{1,6}", 0..30)) {
            let lines = wrap(&words.join(" "), 12, "", "  ");
            let again: Vec<&str> = lines.iter().flat_map(|line| line.split_whitespace()).collect();
            prop_assert_eq!(again, words);
        }
    }
}
