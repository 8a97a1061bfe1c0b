//! What the first word of a chunk says of it.

use super::Names;
use super::kinds::{CXX, LOADER, family};
use crate::addr::Addr;
use crate::nginx::owner::OwnerKind;

/// What a first word says: it is the address of a virtual table, or of a function or variable.
pub fn word_name(names: &dyn Names, word: Addr) -> Option<(&'static OwnerKind, String)> {
    let place = names.place(word)?;
    if place.is_base {
        // It begins with where the file was loaded (glibc `include/link.h`, `struct link_map`).
        return Some((&LOADER, "link_map".to_owned()));
    }
    let (symbol, offset) = place.symbol.as_ref()?;
    // The address point of a virtual table lies behind the offset to the top and the type (Itanium C++ ABI, 2.5.2).
    if symbol.starts_with("_ZTV") && *offset == 16 {
        return Some((&CXX, class_name(symbol)));
    }
    let kind = family(&place.file, Some(symbol), place.is_nginx);
    (*offset == 0).then(|| (kind, symbol.clone()))
}

fn class_name(symbol: &str) -> String {
    let demangled = cpp_demangle::Symbol::new(symbol).ok().and_then(|symbol| symbol.demangle().ok());
    let text = demangled.unwrap_or_else(|| symbol.to_owned());
    let class = text.strip_prefix("{vtable(").and_then(|text| text.strip_suffix(")}"));
    class.or(text.strip_prefix("vtable for ")).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_named_by_its_virtual_table() {
        assert_eq!(class_name("_ZTVN5boost10filesystem16filesystem_errorE"), "boost::filesystem::filesystem_error");
        assert_eq!(class_name("_ZTV3Foo"), "Foo");
    }
}
