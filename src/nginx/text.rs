//! Strings of the target (`ngx_str_t`), made safe to show.

use crate::addr::Addr;
use crate::target::memory::Memory;

/// Names longer than this are cut: no upstream, server or zone has one.
const LONGEST: u64 = 256;

/// The bytes of a counted string, with everything unprintable replaced; `None` if they cannot be read.
pub fn read_name(memory: &dyn Memory, data: Addr, length: u64) -> Option<String> {
    let mut bytes = vec![0; length.min(LONGEST) as usize];
    memory.read(data, &mut bytes).ok()?;
    let mut name: String = String::from_utf8_lossy(&bytes)
        .chars()
        .map(|letter| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter })
        .collect();
    if length > LONGEST {
        name.push('…');
    }
    Some(name)
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
    }

    #[test]
    fn an_absurd_length_is_cut() {
        let mut image = Image::new();
        image.map(Addr(0x1000), vec![b'a'; 300]);
        assert_eq!(read_name(&image, Addr(0x1000), u64::MAX).map(|name| name.chars().count()), Some(257));
    }
}
