//! Strings of the target (`ngx_str_t`), made safe to show.

use crate::addr::Addr;
use crate::target::memory::Memory;
use std::cell::RefCell;

/// Names longer than this are cut: no upstream, server or zone has one.
const LONGEST: u64 = 256;

/// The bytes of a counted string, with everything unprintable replaced; `None` if they cannot be read.
pub fn read_name(memory: &dyn Memory, data: Addr, length: u64) -> Option<String> {
    let mut bytes = vec![0; length.min(LONGEST) as usize];
    memory.read(data, &mut bytes).ok()?;
    Some(shown(&bytes, length > LONGEST))
}

/// What can be shown of these bytes.
fn shown(bytes: &[u8], is_cut: bool) -> String {
    let lossy = String::from_utf8_lossy(bytes);
    let shown = lossy.chars().map(|letter| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter });
    shown.chain(is_cut.then_some('…')).collect()
}

/// Bytes of strings as the target has them, one behind the other. They are read while it stands still; what can be shown of
/// them is made when it runs on.
#[derive(Debug, Default)]
pub struct Texts(RefCell<Vec<u8>>);

/// A string among [`Texts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextRef {
    start: usize,
    length: usize,
    is_cut: bool,
}

impl Texts {
    /// Reads a counted string; `None` if its bytes cannot be read.
    pub fn read(&self, memory: &dyn Memory, (length, data): (u64, Addr)) -> Option<TextRef> {
        let mut bytes = self.0.borrow_mut();
        let (start, kept) = (bytes.len(), length.min(LONGEST) as usize);
        bytes.resize(start + kept, 0);
        let read = bytes.get_mut(start..).and_then(|place| memory.read(data, place).ok());
        if read.is_none() {
            bytes.truncate(start);
        }
        read.map(|()| TextRef { start, length: kept, is_cut: length > LONGEST })
    }

    /// Makes room for so many bytes more.
    pub fn reserve(&self, bytes: usize) {
        self.0.borrow_mut().reserve(bytes);
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One of them, with everything unprintable replaced.
    pub fn shown(&self, text: TextRef) -> String {
        let bytes = self.0.borrow();
        shown(bytes.get(text.start..text.start + text.length).unwrap_or_default(), text.is_cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::image::Image;

    #[test]
    fn names_cannot_drive_the_terminal() {
        let mut image = Image::new();
        image.map(Addr(0x1000), b"svc\x1b[2J\xff".to_vec());
        assert_eq!(read_name(&image, Addr(0x1000), 8).as_deref(), Some("svc\u{fffd}[2J\u{fffd}"));
        assert_eq!(read_name(&image, Addr(0x2000), 3), None);
        let texts = Texts::default();
        let read = |at, length| texts.read(&image, (length, Addr(at)));
        assert_eq!(read(0x1002, 7), None);
        let both = [read(0x1000, 3), read(0x1004, 3)].map(|text| texts.shown(text.unwrap()));
        assert_eq!(both, ["svc", "[2J"]);
        assert_eq!((texts.len(), texts.is_empty()), (6, false));
    }

    #[test]
    fn an_absurd_length_is_cut() {
        let mut image = Image::new();
        image.map(Addr(0x1000), vec![b'a'; 300]);
        assert_eq!(read_name(&image, Addr(0x1000), u64::MAX).map(|name| name.chars().count()), Some(257));
        let texts = Texts::default();
        let cut = texts.read(&image, (u64::MAX, Addr(0x1000))).unwrap();
        assert_eq!(Some(texts.shown(cut)), read_name(&image, Addr(0x1000), u64::MAX));
    }
}
