//! What a binary says of itself: the line that `nginx -v` prints stands in it as a string.

use memchr::memmem;

/// Name and version of the server, such as `nginx/1.28.3` or `Tengine/3.1.0`. Tengine has two such lines, its own first.
pub fn server_version(binary: &[u8]) -> Option<String> {
    let lines = memmem::find_iter(binary, b" version: ").filter_map(|at| token(binary.get(at + 10..)?));
    lines.filter(|token| is_server_version(token)).max_by_key(|token| !token.starts_with("nginx/"))
}

/// The version of glibc, such as `2.36`, from the banner in its library.
pub fn glibc_version(library: &[u8]) -> Option<String> {
    let banner = memmem::find(library, b"GNU C Library")?;
    let rest = library.get(banner..banner + 400).or(library.get(banner..))?;
    let at = memmem::find(rest, b"release version ")?;
    let token = token(rest.get(at + 16..)?)?;
    Some(token.trim_end_matches('.').to_owned())
}

fn token(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().take(64).position(|byte| !byte.is_ascii_graphic())?;
    String::from_utf8(bytes[..end].to_vec()).ok()
}

fn is_server_version(token: &str) -> bool {
    let Some((name, version)) = token.split_once('/') else { return false };
    let is_name = !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-');
    is_name && version.starts_with(|digit: char| digit.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_nginx_v_is_found() {
        assert_eq!(server_version(b"\0nginx version: nginx/1.28.3\n\0").as_deref(), Some("nginx/1.28.3"));
        let tengine = b"Tengine version: Tengine/3.1.0\nnginx version: nginx/1.24.0\n\0";
        assert_eq!(server_version(tengine).as_deref(), Some("Tengine/3.1.0"));
        assert_eq!(server_version(b"OpenSSL version: 3.0/x \0 a version: b/c\0"), None);
    }

    #[test]
    fn the_banner_of_glibc_is_found() {
        let banner = b"x GNU C Library (Debian GLIBC 2.36-9+deb12u14) stable release version 2.36.\nCopyright";
        assert_eq!(glibc_version(banner).as_deref(), Some("2.36"));
        assert_eq!(glibc_version(b"musl libc"), None);
    }
}
