//! A core with what the dynamic loader leaves in memory.

use super::{CoreBuilder, RW, RX};

/// Where the binary of [`linked_core`] is mapped, its data, and the loader's list.
pub const CODE: u64 = 0x40_0000;
pub const DATA: u64 = 0x60_0000;
const LINKS: u64 = 0x70_0000;

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A small core with everything that is followed: an ELF header in memory, a dynamic section, and a list of two modules.
pub fn linked_core() -> Vec<u8> {
    let mut code = vec![0; 0x180];
    code[..6].copy_from_slice(b"\x7fELF\x02\x01");
    code[32..40].copy_from_slice(&64u64.to_le_bytes());
    code[54..58].copy_from_slice(&[56, 0, 3, 0]);
    let program = |kind: u32, offset: u64, address: u64, size: u64| {
        [u64::from(kind) | 4 << 32, offset, address, 0, size, size, 8].map(u64::to_le_bytes).concat()
    };
    code[64..120].copy_from_slice(&program(6, 64, 64, 168));
    code[120..176].copy_from_slice(&program(2, 0, DATA - CODE, 64));
    code[176..232].copy_from_slice(&program(4, 0x100, 0x100, 36));
    code[0x100..0x110].copy_from_slice(b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0");
    code[0x110..0x124].copy_from_slice(&[0xab; 20]);
    let data = words(&[21, LINKS, 0, 0, 0, 0, 0, 0]);
    let mut links = words(&[1, LINKS + 0x20, 0, 0]);
    links.extend(words(&[CODE, LINKS + 0x90, DATA, LINKS + 0x50, 0, 0]));
    links.extend(words(&[0x7000, LINKS + 0x98, 0x7123, LINKS + 0x20, 0, 0, 0, 0]));
    links.extend(b"\0\0\0\0\0\0\0\0/lib/libexample.so\0");
    CoreBuilder::new()
        .thread(100, CODE + 0x10, DATA, 0x1111)
        .process(100, 99, "nginx", "nginx: worker process")
        .auxiliary(&[(3, CODE + 64), (4, 56), (5, 3), (6, 4096), (9, CODE + 0x80), (33, 0x9000)])
        .files(&[(CODE, CODE + 0x1000, 0, "/usr/sbin/nginx")])
        .segment(CODE, RX, code, 0x1000)
        .segment(DATA, RW, data, 64)
        .segment(LINKS, RW, links, 0x1000)
        .build()
}
