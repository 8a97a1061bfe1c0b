//! Recognising and undoing the compressions that cores are kept in, by content and as a stream.

use lz4_flex::frame::FrameDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

/// Bytes asked of the file at once.
const BUFFER: usize = 256 * 1024;

/// Most memory for the dictionary of an `.xz` file, in KiB. `xz -9` needs 65 MiB; only a damaged or a made-up file asks for
/// gigabytes.
const MAX_XZ_MEMORY: u32 = 512 * 1024;

/// How the bytes of a core are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Plain,
    Zstd,
    Lz4,
    Xz,
    Gzip,
}

impl Format {
    /// The format that starts with these bytes. What nothing else is, is plain.
    pub(super) fn of(start: &[u8]) -> Format {
        match start {
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Format::Zstd,
            // A skippable frame, with which pzstd and seekable files start; LZ4 has the same, but no core starts with one.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Format::Zstd,
            [0x04, 0x22, 0x4d, 0x18, ..] => Format::Lz4,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Format::Xz,
            [0x1f, 0x8b, 8, ..] => Format::Gzip,
            _ => Format::Plain,
        }
    }

    /// Its name in messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Format::Plain => "plain",
            Format::Zstd => "zstd",
            Format::Lz4 => "LZ4",
            Format::Xz => "xz",
            Format::Gzip => "gzip",
        }
    }
}

/// A file whose first bytes have been looked at already.
type Whole = BufReader<Chain<Cursor<Vec<u8>>, File>>;

/// The unpacked bytes of a file whose first bytes `start` have been read already. All formats may consist of several parts
/// one after the other, as `cat` or a parallel compressor puts them together.
pub(super) fn unpacked(format: Format, start: Vec<u8>, file: File) -> io::Result<Box<dyn Read>> {
    let whole: Whole = BufReader::with_capacity(BUFFER, Cursor::new(start).chain(file));
    Ok(match format {
        Format::Plain => Box::new(whole),
        Format::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(whole)?),
        Format::Lz4 => Box::new(Lz4Frames(Some(FrameDecoder::new(whole)))),
        Format::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(whole, true, MAX_XZ_MEMORY)),
        Format::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
    })
}

/// LZ4 frames one after the other. The decoder answers the end of each like the end of the file; and each frame gets its own,
/// because one that has seen a frame of large blocks fails on one of smaller blocks.
struct Lz4Frames(Option<FrameDecoder<Whole>>);

impl Read for Lz4Frames {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(frame) = &mut self.0 {
            let count = frame.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let is_over = frame.get_mut().fill_buf()?.is_empty();
            let rest = self.0.take().map(FrameDecoder::into_inner);
            self.0 = rest.filter(|_| !is_over).map(FrameDecoder::new);
        }
        Ok(0)
    }
}

/// The first bytes of a file, up to `wanted`: a pipe may hand them out one by one.
pub(super) fn first_bytes(file: &mut File, wanted: usize) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    file.take(wanted as u64).read_to_end(&mut start)?;
    Ok(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_their_first_bytes() {
        assert_eq!(Format::of(b"\x28\xb5\x2f\xfd...."), Format::Zstd);
        assert_eq!(Format::of(b"\x04\x22\x4d\x18...."), Format::Lz4);
        assert_eq!(Format::of(b"\xfd7zXZ\0"), Format::Xz);
        assert_eq!(Format::of(b"\x1f\x8b\x08"), Format::Gzip);
        assert_eq!(Format::of(b"\x7fELF"), Format::Plain);
        assert_eq!(Format::of(b""), Format::Plain);
    }
}
