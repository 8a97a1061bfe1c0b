//! Files as they are unpacked: zstd and gzip are known by their first bytes.

use super::limits::MAX_WINDOW_LOG;
use flate2::bufread::MultiGzDecoder;
use std::io::{self, BufReader, Read};
use zstd::stream::read::Decoder;

/// RFC 8878, 3.1.1.
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
/// RFC 1952, 2.3.1.
const GZIP: &[u8] = b"\x1f\x8b";

/// What `input` holds, unpacked if it is compressed with zstd or gzip, in one piece or in several.
pub(super) fn unpack<'a>(mut input: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut magic = Vec::with_capacity(ZSTD.len());
    input.by_ref().take(ZSTD.len() as u64).read_to_end(&mut magic)?;
    let (is_zstd, is_gzip) = (magic == ZSTD, magic.starts_with(GZIP));
    let packed = BufReader::with_capacity(1 << 17, io::Cursor::new(magic).chain(input));
    if is_zstd {
        let mut decoder = Decoder::with_buffer(packed)?;
        decoder.window_log_max(MAX_WINDOW_LOG)?;
        return Ok(Box::new(decoder));
    }
    match is_gzip {
        true => Ok(Box::new(MultiGzDecoder::new(packed))),
        false => Ok(Box::new(packed)),
    }
}
