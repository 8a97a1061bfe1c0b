//! What must agree in a request before more than its start is believed by built-in layouts.
//!
//! Which requests there are differs from one look to the next, so that each proves itself: both lists of headers name its
//! pool, its main request has the same pool, and the connection that it knows of leads to the same configuration. These lie
//! before, between and right behind what is told of a request (nginx `src/http/ngx_http_request.c`,
//! `ngx_http_alloc_request`).

use crate::addr::Addr;
use crate::debug::{Layout, MissingField};
use crate::target::memory::{Memory, word_at};

/// `NGX_HTTP_VERSION_…`, which are macros (nginx `src/http/ngx_http_request.h`).
const VERSIONS: [u64; 5] = [9, 1000, 1001, 2000, 3000];

/// The configurations that a connection leads to, after its addresses (nginx `src/http/ngx_http_request.h`,
/// `ngx_http_connection_t`). The first of these is the main one (`ngx_http_conf_ctx_t`).
const CONFIGURATIONS: u64 = 8;

/// Offsets in `ngx_http_request_t`.
#[derive(Debug)]
pub struct RequestProof {
    size: u64,
    pool: u64,
    main_conf: u64,
    in_pool: u64,
    out_pool: u64,
    milliseconds: u64,
    version: u64,
    /// Length of the first line.
    line: u64,
    main: u64,
    http_connection: u64,
}

impl RequestProof {
    /// What must agree with that layout.
    ///
    /// # Errors
    /// [`MissingField`] if the layout lacks what would prove it.
    pub fn new(request: &Layout) -> Result<RequestProof, MissingField> {
        Ok(RequestProof {
            size: request.size,
            pool: request.offset("pool")?,
            main_conf: request.offset("main_conf")?,
            in_pool: request.offset("headers_in.headers.pool")?,
            out_pool: request.offset("headers_out.headers.pool")?,
            milliseconds: request.offset("start_msec")?,
            version: request.offset("http_version")?,
            line: request.offset("request_line.len")?,
            main: request.offset("main")?,
            http_connection: request.offset("http_connection")?,
        })
    }

    /// Whether the request at that address agrees with the layout.
    pub fn agrees(&self, memory: &dyn Memory, request: Addr) -> bool {
        self.try_agree(memory, request).unwrap_or(false)
    }

    fn try_agree(&self, memory: &dyn Memory, request: Addr) -> Option<bool> {
        let mut bytes = vec![0; self.size as usize];
        memory.read(request, &mut bytes).ok()?;
        let word = |offset| word_at(&bytes, offset);
        let pool = word(self.pool);
        // The list of the client's headers is made when the first line has come (nginx `ngx_http_process_request_line`).
        let has_list = word(self.in_pool) == pool || (word(self.in_pool) == 0 && word(self.line) == 0);
        let is_plausible = has_list
            && word(self.out_pool) == pool
            && word(self.milliseconds) < 1000
            && VERSIONS.contains(&word(self.version));
        if !is_plausible {
            return Some(false);
        }
        let main = Addr(word(self.main));
        if main != request && memory.read_u64(main + self.pool).ok()? != pool {
            return Some(false);
        }
        let configurations = memory.read_pointer(Addr(word(self.http_connection)) + CONFIGURATIONS).ok()?;
        Some(memory.read_u64(configurations).ok()? == word(self.main_conf))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nginx::builtin::{Version, tables};
    use crate::target::image::Image;

    const REQUEST: Addr = Addr(0x1000);
    const POOL: u64 = 0x5000;

    fn proof() -> RequestProof {
        let (_, layout) = tables::layouts(Version(1_022_001)).find(|(name, _)| *name == "ngx_http_request_s").unwrap();
        RequestProof::new(&layout).unwrap()
    }

    /// A main request of nginx 1.22.1.
    fn image() -> Image {
        let mut image = Image::new();
        image.map(REQUEST, vec![0; 4096]);
        let connection = REQUEST + 0x800;
        let words = [
            (REQUEST + 24, 0x77),
            (REQUEST + 88, POOL),
            (REQUEST + 104 + 48, POOL),
            (REQUEST + 536 + 48, POOL),
            (REQUEST + 968, 999),
            (REQUEST + 984, 1001),
            (REQUEST + 992, 14),
            (REQUEST + 1128, REQUEST.0),
            (REQUEST + 1264, connection.0),
            (connection + 8, connection.0 + 0x40),
            (connection + 0x40, 0x77),
        ];
        assert!(words.into_iter().all(|(at, value)| image.write_u64(at, value)));
        image
    }

    #[test]
    fn a_request_has_no_list_of_headers_until_its_first_line_has_come() {
        let mut image = image();
        assert!(image.write_u64(REQUEST + 992, 0) && image.write_u64(REQUEST + 104 + 48, 0));
        assert!(proof().agrees(&image, REQUEST));
        assert!(image.write_u64(REQUEST + 104 + 48, POOL + 8));
        assert!(!proof().agrees(&image, REQUEST));
    }

    #[test]
    fn a_request_that_contradicts_is_not_believed() {
        assert!(proof().agrees(&image(), REQUEST));
        let connection = REQUEST + 0x800;
        let damage = [
            (REQUEST + 104 + 48, 0),
            (REQUEST + 536 + 48, POOL + 8),
            (REQUEST + 968, 1000),
            (REQUEST + 984, 1),
            (REQUEST + 1128, 0),
            (REQUEST + 1128, REQUEST.0 + 8),
            (REQUEST + 1264, 0),
            (REQUEST + 1264, u64::MAX),
            (connection + 8, 0),
            (connection + 0x40, 0x78),
        ];
        for (at, value) in damage {
            let mut image = image();
            assert!(image.write_u64(at, value));
            assert!(!proof().agrees(&image, REQUEST), "{at} {value:#x}");
        }
    }
}
