//! Kinds of owners of chunks outside pools.

use crate::nginx::owner::OwnerKind;

/// nginx's own: its arrays of connections and events, its environment, what its modules allocate without a pool.
pub const NGINX: OwnerKind = OwnerKind { key: "nginx", label: "nginx, outside pools", unit: None };
/// OpenSSL's objects.
pub const OPENSSL: OwnerKind = OwnerKind { key: "openssl", label: "OpenSSL", unit: None };
/// Compiled regular expressions.
pub const PCRE: OwnerKind = OwnerKind { key: "pcre", label: "PCRE", unit: None };
/// The C library's own.
pub const LIBC: OwnerKind = OwnerKind { key: "libc", label: "C library", unit: None };
/// The dynamic loader's: link maps, search paths, thread-local storage.
pub const LOADER: OwnerKind = OwnerKind { key: "ld.so", label: "dynamic loader", unit: None };
/// What only LuaJIT's own memory leads to.
pub const LUAJIT: OwnerKind = OwnerKind { key: "luajit", label: "held by LuaJIT", unit: None };
/// Objects with a virtual table.
pub const CXX: OwnerKind = OwnerKind { key: "cxx", label: "C++ objects", unit: None };
/// What the variables of any other library lead to.
pub const LIBRARY: OwnerKind = OwnerKind { key: "library", label: "other libraries", unit: None };
/// What only memory leads to that the program has mapped for itself.
pub const MAPPED: OwnerKind = OwnerKind { key: "mapped_memory", label: "held by mapped memory", unit: None };
/// What only a pool leads to.
pub const HELD_BY_POOL: OwnerKind = OwnerKind { key: "held_by_pool", label: "held by a pool", unit: None };
/// What only thread-local variables lead to: error queues, random number generators, glibc's data of a thread.
pub const THREAD_LOCAL: OwnerKind =
    OwnerKind { key: "thread_local", label: "held by thread-local variables", unit: None };
/// What only a stack or a register leads to.
pub const THREAD: OwnerKind = OwnerKind { key: "thread", label: "held by a running thread", unit: None };
/// What nothing leads to.
pub const UNREFERENCED: OwnerKind = OwnerKind { key: "unreferenced", label: "nothing points to it", unit: None };

/// What a file is to its users, by its name and a symbol of it. Libraries that were linked into the binary are told by
/// their symbols.
pub fn family(file: &str, symbol: Option<&str>, is_nginx: bool) -> &'static OwnerKind {
    const FILES: [(&str, &OwnerKind); 10] = [
        ("libssl", &OPENSSL),
        ("libcrypto", &OPENSSL),
        ("libpcre", &PCRE),
        ("libc.so", &LIBC),
        ("libc-", &LIBC),
        ("libpthread", &LIBC),
        ("libdl", &LIBC),
        ("ld-", &LOADER),
        ("ld64", &LOADER),
        ("libluajit", &LUAJIT),
    ];
    if let Some((_, kind)) = FILES.iter().find(|(start, _)| file.starts_with(start)) {
        return kind;
    }
    let of_symbol = symbol.filter(|_| is_nginx).and_then(linked_in);
    of_symbol.unwrap_or(if is_nginx { &NGINX } else { &LIBRARY })
}

fn linked_in(symbol: &str) -> Option<&'static OwnerKind> {
    const STARTS: [(&str, &OwnerKind); 10] = [
        ("ossl_", &OPENSSL),
        ("OPENSSL_", &OPENSSL),
        ("CRYPTO_", &OPENSSL),
        ("SSL_", &OPENSSL),
        ("ssl_", &OPENSSL),
        ("EVP_", &OPENSSL),
        ("evp_", &OPENSSL),
        ("ERR_", &OPENSSL),
        ("pcre", &PCRE),
        ("lj_", &LUAJIT),
    ];
    STARTS.iter().find(|(start, _)| symbol.starts_with(start)).map(|(_, kind)| *kind)
}

/// What a chunk of that C type belongs to.
pub fn of_type(type_name: &str) -> &'static OwnerKind {
    const STARTS: [(&str, &OwnerKind); 12] = [
        ("ssl_", &OPENSSL),
        ("SSL", &OPENSSL),
        ("x509", &OPENSSL),
        ("X509", &OPENSSL),
        ("bio_", &OPENSSL),
        ("BIO", &OPENSSL),
        ("evp_", &OPENSSL),
        ("EVP_", &OPENSSL),
        ("ossl_", &OPENSSL),
        ("pcre2_", &PCRE),
        ("real_pcre", &PCRE),
        ("pcre", &PCRE),
    ];
    let name = type_name.trim_start_matches("struct ").trim_start_matches("const ");
    STARTS.iter().find(|(start, _)| name.starts_with(start)).map_or(&NGINX, |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_symbols_tell_what_a_library_is() {
        assert_eq!(family("libcrypto.so.3", None, false), &OPENSSL);
        assert_eq!(family("nginx", Some("ngx_cycle"), true), &NGINX);
        assert_eq!(family("nginx", Some("ossl_default_ctx"), true), &OPENSSL);
        assert_eq!(family("libz.so.1", Some("ssl_"), false), &LIBRARY);
        assert_eq!(of_type("struct ssl_session_st"), &OPENSSL);
        assert_eq!(of_type("ngx_connection_t"), &NGINX);
        assert_eq!(of_type("pcre2_real_code_8"), &PCRE);
    }
}
