//! Recognising and undoing the compressions that cores and snapshots are kept in, by content and as a stream.

use lz4_flex::frame::FrameDecoder;
use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

/// Bytes asked of the file at once.
const BUFFER: usize = 256 * 1024;

/// Most memory for the dictionary of an `.xz` file, in KiB. `xz -9` needs 65 MiB; only a damaged or a made-up file asks for
/// gigabytes.
const MAX_XZ_MEMORY: u32 = 512 * 1024;

/// How the bytes of a file are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Plain,
    Zstd,
    Lz4,
    Xz,
    Gzip,
}

impl Format {
    /// The format that starts with these bytes. What nothing else is, is plain.
    pub(crate) fn of(start: &[u8]) -> Format {
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
    pub(crate) fn name(self) -> &'static str {
        match self {
            Format::Plain => "plain",
            Format::Zstd => "zstd",
            Format::Lz4 => "LZ4",
            Format::Xz => "xz",
            Format::Gzip => "gzip",
        }
    }
}

/// An input whose first bytes have been looked at already.
type Whole<R> = BufReader<Chain<Cursor<Vec<u8>>, R>>;

/// The unpacked bytes of a file whose first bytes `start` have been read already. All formats may consist of several parts
/// one after the other, as `cat` or a parallel compressor puts them together. zstd may ask for at most `2^window_log` bytes.
pub(crate) fn unpacked<'a>(
    format: Format,
    start: Vec<u8>,
    input: impl Read + 'a,
    window_log: u32,
) -> io::Result<Box<dyn Read + 'a>> {
    let whole: Whole<_> = BufReader::with_capacity(BUFFER, Cursor::new(start).chain(input));
    Ok(match format {
        Format::Plain => Box::new(whole),
        Format::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(whole)?;
            decoder.window_log_max(window_log)?;
            Box::new(decoder)
        }
        Format::Lz4 => Box::new(Lz4Frames(Some(FrameDecoder::new(whole)))),
        Format::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(whole, true, MAX_XZ_MEMORY)),
        Format::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
    })
}

/// LZ4 frames one after the other. The decoder answers the end of each like the end of the file; and each frame gets its own,
/// because one that has seen a frame of large blocks fails on one of smaller blocks.
struct Lz4Frames<R: Read>(Option<FrameDecoder<Whole<R>>>);

impl<R: Read> Read for Lz4Frames<R> {
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

/// The first bytes of an input, up to `wanted`: a pipe may hand them out one by one.
pub(crate) fn first_bytes(input: &mut impl Read, wanted: usize) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    input.take(wanted as u64).read_to_end(&mut start)?;
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
