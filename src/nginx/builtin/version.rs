//! Which nginx a binary was built from, as its own core module states it in memory.

use crate::addr::Addr;
use crate::target::memory::{Memory, word_at};
use std::fmt;

/// nginx's version as a number, as in `nginx_version`: 1.22.1 is 1022001.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0 / 1_000_000, self.0 / 1000 % 1000, self.0 % 1000)
    }
}

/// `version` and `signature` in `ngx_module_t` (nginx `src/core/ngx_module.h`, the same since 1.9.11).
const VERSION: u64 = 40;
const SIGNATURE: u64 = 48;

/// The string that a dynamic module must have in common with the binary: sizes of three types, and 34 digits that each say
/// whether a feature is compiled in (nginx `src/core/ngx_module.h`, `NGX_MODULE_SIGNATURE`).
const SIGNATURE_LENGTH: usize = 40;
const SIZES: &[u8] = b"8,4,8,";

/// Counted from 1, as the macros are: keepalive tunables, accept filters, BSD's FIBs, TCP fast open, the http cache, and
/// `--with-compat`.
const WANTED: [(usize, u8); 6] = [(7, b'1'), (11, b'0'), (13, b'0'), (14, b'1'), (32, b'1'), (34, b'1')];

/// The version of the nginx whose `ngx_core_module` lies at `core_module`.
///
/// # Errors
/// Says why its structures cannot be those of the tables.
pub fn read_version(memory: &dyn Memory, core_module: Addr) -> Result<Version, String> {
    let mut module = [0; SIGNATURE as usize + 8];
    memory.read(core_module, &mut module).map_err(|fault| format!("ngx_core_module cannot be read: {fault}"))?;
    let version =
        u32::try_from(word_at(&module, VERSION)).ok().filter(|version| (1_000_000..3_000_000).contains(version));
    let version = version.map(Version).ok_or("ngx_core_module states no version")?;
    let mut signature = [0; SIGNATURE_LENGTH];
    let at = Addr(word_at(&module, SIGNATURE));
    memory.read(at, &mut signature).map_err(|fault| format!("the signature of its modules cannot be read: {fault}"))?;
    check_signature(&signature).map(|()| version)
}

fn check_signature(signature: &[u8]) -> Result<(), String> {
    let digits = signature.strip_prefix(SIZES).ok_or("its modules have no signature of a 64-bit machine")?;
    let is_wanted = |(number, digit): &(usize, u8)| digits.get(number - 1) == Some(digit);
    match WANTED.iter().find(|wanted| !is_wanted(wanted)) {
        None => Ok(()),
        Some((34, _)) => Err("it was configured without --with-compat".to_owned()),
        Some((number, _)) => {
            Err(format!("it was configured unusually (digit {number} of the signature of its modules)"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::image::Image;

    fn image(version: u64, signature: &[u8]) -> Image {
        let mut image = Image::new();
        image.map(Addr(0x1000), vec![0; 200]);
        image.map(Addr(0x2000), [signature, &[0; 64]].concat());
        assert!(image.write_u64(Addr(0x1000 + VERSION), version));
        assert!(image.write_u64(Addr(0x1000 + SIGNATURE), 0x2000));
        image
    }

    const DEBIAN: &[u8] = b"8,4,8,0011111111010111001111111111111111";

    #[test]
    fn the_core_module_states_version_and_features() {
        let read = |version, signature: &[u8]| read_version(&image(version, signature), Addr(0x1000));
        assert_eq!(read(1_022_001, DEBIAN).map(|version| version.to_string()), Ok("1.22.1".to_owned()));
        let without_compat = [&DEBIAN[..39], b"0"].concat();
        assert!(read(1_022_001, &without_compat).unwrap_err().contains("--with-compat"));
        assert!(read(1_022_001, b"4,4,4,0011111111010111001111111111111111").is_err());
        assert!(read(0, DEBIAN).is_err());
        assert!(read(u64::MAX, DEBIAN).is_err());
        assert!(read_version(&image(1, DEBIAN), Addr(0x9000)).is_err());
    }
}
