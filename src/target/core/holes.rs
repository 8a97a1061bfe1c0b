//! Which parts of a sparse file hold data: a core is full of pages that were never written, and the kernel leaves them out.

use nix::errno::Errno;
use nix::unistd::{Whence, lseek64};
use std::fs::File;
use std::ops::Range;

/// The stretches of `wanted` that the file system has data for. All of it where the file system does not tell.
pub(super) fn data(file: &File, wanted: Range<u64>) -> Vec<Range<u64>> {
    let mut found = Vec::new();
    let mut at = wanted.start;
    while at < wanted.end {
        let start = match seek(file, at, Whence::SeekData) {
            Ok(start) if start < wanted.end => start.max(at),
            Ok(_) | Err(Errno::ENXIO) => break,
            Err(_) => at,
        };
        let end = match seek(file, start, Whence::SeekHole) {
            Ok(end) if end > start => end.min(wanted.end),
            _ => wanted.end,
        };
        found.push(start..end);
        at = end;
    }
    found
}

/// Moves the file's own position, which nobody uses: all reading is by offset.
fn seek(file: &File, offset: u64, whence: Whence) -> Result<u64, Errno> {
    let offset = i64::try_from(offset).map_err(|_| Errno::ENXIO)?;
    lseek64(file, offset, whence).map(|found| found.max(0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn only_what_was_written_counts_as_data() {
        let path = std::env::temp_dir().join(format!("poolscope-holes-{}", std::process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(b"something", 32 << 20).unwrap();
        std::fs::remove_file(&path).unwrap();
        let found = data(&file, 0..64 << 20);
        assert!(found.iter().any(|range| range.contains(&(32 << 20))));
        // File systems without holes (and some that allocate much at once) say more; those here do not.
        let total: u64 = found.iter().map(|range| range.end - range.start).sum();
        assert!(total < 4 << 20, "{found:?}");
        assert_eq!(data(&file, 40 << 20..40 << 20), Vec::<Range<u64>>::new());
    }
}
