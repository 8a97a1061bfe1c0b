//! What finders note while the target stands still, and the named pools that are made of it when it runs on.
//!
//! A path or a name is a string to be made, a thousand times over for a worker with a thousand clients. The stop is not the
//! time for that: notes are of a fixed size, and hold what the strings are made from.

use super::owner::{NamedPool, OwnerFacts, OwnerKind, Trust};
use super::text::{TextRef, Texts};
use crate::addr::Addr;
use std::fmt;

/// All that finders have noted.
#[derive(Debug, Default)]
pub struct Found {
    /// Pools, in the order in which they were found.
    pub pools: Vec<FoundPool>,
    /// What they are called.
    pub texts: Texts,
}

/// How much room notes take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// How many notes.
    pub pools: usize,
    /// Bytes of strings.
    pub text: usize,
}

/// A pool that a root led to: what becomes a [`NamedPool`], whose fields tell what each is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundPool {
    /// Where it lies, or what lies in it.
    pub pool: Addr,
    /// What owns it.
    pub kind: &'static OwnerKind,
    /// What the owner is called.
    pub name: Option<Label>,
    /// The path from a root.
    pub path: Path,
    /// State of the owner.
    pub state: Option<&'static str>,
    /// How many references keep it alive.
    pub references: Option<u64>,
    /// Where that count is kept.
    pub reference_counter: Option<Addr>,
    /// Its place in the array that the path leads through.
    pub slot: Option<u64>,
    /// What tells the owner from others at the same address.
    pub identity: Option<(u64, u64)>,
    /// True if `pool` is any address in the pool's memory.
    pub within: bool,
    /// How the path is known.
    pub trust: Trust,
    /// What else is known of the owner.
    pub facts: Facts,
    /// A chunk outside pools that keeps it and is the owner's own.
    pub keeper: Option<Addr>,
}

/// What becomes [`OwnerFacts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    /// What it speaks.
    pub protocol: Option<&'static str>,
    /// The function that it runs next.
    pub handler: Option<Addr>,
    /// How old it is, in milliseconds.
    pub age_ms: Option<u64>,
    /// The client's address.
    pub client: Option<TextRef>,
    /// What was asked for.
    pub uri: Option<TextRef>,
}

/// A name: a word or more of ours, and then the target's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// What comes first.
    pub before: &'static str,
    /// What the target calls it.
    pub text: TextRef,
}

impl Label {
    /// A name that is the target's alone.
    pub fn plain(text: TextRef) -> Label {
        Label { before: "", text }
    }
}

/// What a path is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    before: &'static str,
    middle: Middle,
    behind: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Middle {
    Word(&'static str),
    Index(u64),
    Address { opening: &'static str, address: Addr },
    Stream { index: u64, list: u64, depth: usize },
}

impl Path {
    /// A path that is always the same.
    pub const fn fixed(path: &'static str) -> Path {
        Path::around("", path, "")
    }

    /// A path with a name in it.
    pub const fn around(before: &'static str, word: &'static str, behind: &'static str) -> Path {
        Path { before, middle: Middle::Word(word), behind }
    }

    /// A path through a structure at a certain address: `opening` and the address come between `before` and `behind`.
    pub const fn to_address(before: &'static str, opening: &'static str, address: Addr, behind: &'static str) -> Path {
        Path { before, middle: Middle::Address { opening, address }, behind }
    }

    /// A path through an element of an array: the number comes between `before` and `behind`.
    pub const fn through(before: &'static str, index: u64, behind: &'static str) -> Path {
        Path { before, middle: Middle::Index(index), behind }
    }

    /// A path through a stream of the HTTP/2 side of the client's connection of that index: the node of that depth in that
    /// list of its streams. `behind` follows the stream.
    pub const fn through_stream(index: u64, (list, depth): (u64, usize), behind: &'static str) -> Path {
        let before = "((ngx_http_v2_connection_t *) ngx_cycle->connections[";
        Path { before, middle: Middle::Stream { index, list, depth }, behind }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.before)?;
        match self.middle {
            Middle::Word(word) => f.write_str(word)?,
            Middle::Index(index) => write!(f, "{index}")?,
            Middle::Address { opening, address } => write!(f, "{opening}{address}")?,
            Middle::Stream { index, list, depth } => {
                write!(f, "{index}].data)->streams_index[{list}]")?;
                match depth {
                    0..4 => (0..depth).try_for_each(|_| f.write_str("->index"))?,
                    _ => write!(f, "(->index){{{depth}}}")?,
                }
                f.write_str("->stream")?;
            }
        }
        f.write_str(self.behind)
    }
}

impl FoundPool {
    /// A pool whose owner has neither name nor state.
    pub fn plain(pool: Addr, kind: &'static OwnerKind, path: Path) -> FoundPool {
        FoundPool {
            pool,
            kind,
            name: None,
            path,
            state: None,
            references: None,
            reference_counter: None,
            slot: None,
            identity: None,
            within: false,
            trust: Trust::TypedPath,
            facts: Facts::default(),
            keeper: None,
        }
    }

    fn named(&self, texts: &Texts) -> NamedPool {
        let shown = |text: Option<TextRef>| text.map(|text| texts.shown(text));
        NamedPool {
            pool: self.pool,
            kind: self.kind,
            name: self.name.map(|name| format!("{}{}", name.before, texts.shown(name.text))),
            path: self.path.to_string(),
            state: self.state,
            references: self.references,
            reference_counter: self.reference_counter,
            slot: self.slot,
            identity: self.identity,
            within: self.within,
            trust: self.trust,
            facts: OwnerFacts {
                protocol: self.facts.protocol,
                handler: self.facts.handler,
                age_ms: self.facts.age_ms,
                client: shown(self.facts.client),
                uri: shown(self.facts.uri),
            },
            keeper: self.keeper,
        }
    }
}

impl Found {
    /// Nothing yet, with room for that much.
    pub fn with_room(room: Room) -> Found {
        let found = Found { pools: Vec::with_capacity(room.pools), texts: Texts::default() };
        found.texts.reserve(room.text);
        found
    }

    /// The room that it takes.
    pub fn room(&self) -> Room {
        Room { pools: self.pools.len(), text: self.texts.len() }
    }

    /// Every pool with its name.
    pub fn named(&self) -> Vec<NamedPool> {
        self.pools.iter().map(|found| found.named(&self.texts)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nginx::owner::NO_KNOWN_OWNER;
    use crate::target::image::Image;

    #[test]
    fn paths_name_what_they_lead_through() {
        let paths = [
            (Path::fixed("ngx_cycle->pool"), "ngx_cycle->pool"),
            (Path::around("((t *) ", "ngx_posted_events", "->data)->pool"), "((t *) ngx_posted_events->data)->pool"),
            (Path::through("all[", 7, "].pool"), "all[7].pool"),
        ];
        for (path, words) in paths {
            assert_eq!(path.to_string(), words);
        }
    }

    #[test]
    fn paths_through_streams_name_the_list_and_the_place_in_it() {
        let stream = |list, depth| Path::through_stream(9, (list, depth), "->pool").to_string();
        let connection = "((ngx_http_v2_connection_t *) ngx_cycle->connections[9].data)";
        assert_eq!(stream(3, 0), format!("{connection}->streams_index[3]->stream->pool"));
        assert_eq!(stream(0, 2), format!("{connection}->streams_index[0]->index->index->stream->pool"));
        assert_eq!(stream(1, 70), format!("{connection}->streams_index[1](->index){{70}}->stream->pool"));
    }

    #[test]
    fn names_are_made_of_what_was_read() {
        let mut image = Image::new();
        image.map(Addr(0x1000), b"/ws10.0.0.1\x1b".to_vec());
        let mut found = Found::with_room(Room { pools: 1, text: 12 });
        let text = |at, length| found.texts.read(&image, (length, Addr(at))).unwrap();
        let name = Some(Label { before: "location = ", text: text(0x1000, 3) });
        let facts = Facts { client: Some(text(0x1003, 9)), age_ms: Some(5), ..Facts::default() };
        let plain = FoundPool::plain(Addr(0x5000), &NO_KNOWN_OWNER, Path::fixed("x"));
        found.pools.push(FoundPool { name, facts, slot: Some(3), ..plain });
        assert_eq!(found.room(), Room { pools: 1, text: 12 });
        let named = found.named();
        assert_eq!(named[0].name.as_deref(), Some("location = /ws"));
        assert_eq!(named[0].facts.client.as_deref(), Some("10.0.0.1\u{fffd}"));
        assert_eq!((named[0].facts.age_ms, named[0].slot, named[0].path.as_str()), (Some(5), Some(3), "x"));
    }
}
