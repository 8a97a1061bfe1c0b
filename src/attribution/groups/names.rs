//! Names of places outside the heap.

use crate::addr::{Addr, AddrRange};

/// A place in a file with code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file's name without its directory.
    pub file: String,
    /// True if it is nginx's binary or one of its modules.
    pub is_nginx: bool,
    /// True if the file begins there.
    pub is_base: bool,
    /// The symbol that covers the place, and how far into it that lies.
    pub symbol: Option<(String, u64)>,
}

impl Place {
    /// `ngx_http_foo_state+0x18 (libfoo.so)`; without a symbol, the file.
    pub fn text(&self) -> String {
        match &self.symbol {
            Some((name, 0)) => format!("{name} ({})", self.file),
            Some((name, offset)) => format!("{name}+{offset:#x} ({})", self.file),
            None => format!("the variables of {}", self.file),
        }
    }
}

/// Tells what lies where outside the heap.
pub trait Names {
    /// The place at an address of the binary, a library or a module.
    fn place(&self, address: Addr) -> Option<Place>;

    /// True if the process runs LuaJIT.
    fn has_luajit(&self) -> bool;

    /// True if thread-local variables lie at an address.
    fn is_thread_local(&self, address: Addr) -> bool;

    /// Where the array of the environment lies, if it lies on the stack.
    fn environment(&self) -> Option<AddrRange>;
}
