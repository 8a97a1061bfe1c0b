//! ELF symbol tables: addresses of functions and variables by name, and the symbol that covers an address.

use super::bytes::Bytes;
use super::elf::ElfFile;
use crate::addr::FileAddr;
use object::elf;
use rustc_hash::FxHasher;
use std::cmp::Reverse;
use std::hash::{Hash, Hasher};

/// What a symbol names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SymbolKind {
    /// A function.
    Function,
    /// A variable.
    Object,
    /// A thread-local variable: its address is an offset into each thread's copy of the module's TLS block.
    ThreadLocal,
    /// A label that the assembler or linker made, of no stated type.
    Untyped,
}

/// A defined symbol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Symbol {
    /// Its name, without the symbol version.
    pub name: String,
    /// Where it is; for [`SymbolKind::ThreadLocal`], the offset in bytes into the TLS block.
    pub address: FileAddr,
    /// Size in bytes; zero where the assembler did not state one.
    pub size: u64,
    /// What it names.
    pub kind: SymbolKind,
    /// True if it is visible outside its own source file.
    pub global: bool,
}

/// The symbols of a module, from its `.symtab` (its own or its debug file's) and from `.dynsym`.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    entries: Vec<Entry>,
    strings: Vec<Bytes>,
    /// Indices of functions, variables and labels by address, of the best one at each address.
    by_address: Vec<u32>,
    /// Hashes of names with the indices of the best symbol of each, sorted.
    by_name: Vec<(u64, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    strings: u8,
    name: u32,
    global: bool,
    kind: SymbolKind,
    address: u64,
    size: u64,
}

/// Size in bytes of an `Elf64_Sym`.
const SYMBOL_SIZE: usize = 24;

impl Symbols {
    /// Reads the tables of the given files. A table that is damaged gives the symbols that can be read.
    pub(crate) fn read(files: &[&ElfFile]) -> Symbols {
        let mut symbols = Symbols::default();
        for kind in [elf::SHT_SYMTAB.0, elf::SHT_DYNSYM.0] {
            for file in files {
                let (table, strings) = file.symbol_table(kind);
                symbols.add_table(&table, strings);
            }
        }
        symbols.index();
        symbols
    }

    fn add_table(&mut self, table: &[u8], strings: Bytes) {
        let Ok(index) = u8::try_from(self.strings.len()) else { return };
        self.entries.extend(table.chunks_exact(SYMBOL_SIZE).filter_map(|raw| entry(raw, index)));
        self.strings.push(strings);
    }

    fn index(&mut self) {
        let all = || 0..u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let mut by_name: Vec<(u64, u32)> = all().filter_map(|i| Some((hash(self.name(self.get(i)?)), i))).collect();
        // The best comes first among symbols of one name, so that a search finds it first.
        by_name.sort_unstable_by_key(|&(hash, i)| (hash, Reverse(self.rank(i)), i));
        // Where a file begins lies its header. What has that address is in a section that is not loaded, as warnings to the
        // linker are (`.gnu.warning.gets`).
        let is_placed = |e: &Entry| e.kind != SymbolKind::ThreadLocal && e.address != 0 && !self.name(e).is_empty();
        let placed = |i: &u32| self.get(*i).is_some_and(is_placed);
        let mut by_address: Vec<u32> = all().filter(placed).collect();
        let address = |i: u32| self.get(i).map(|entry| entry.address);
        by_address.sort_unstable_by_key(|&i| (address(i), Reverse(self.rank(i)), i));
        by_address.dedup_by_key(|i| address(*i));
        (self.by_name, self.by_address) = (by_name, by_address);
    }

    /// The symbol of that name. A global one goes before local ones of the same name.
    pub(crate) fn by_name(&self, name: &str) -> Option<Symbol> {
        let wanted = hash(name.as_bytes());
        let first = self.by_name.partition_point(|&(hash, _)| hash < wanted);
        let same_hash = self.by_name.get(first..)?.iter().take_while(|(hash, _)| *hash == wanted);
        let mut matching = same_hash.filter(|(_, i)| self.get(*i).is_some_and(|e| self.name(e) == name.as_bytes()));
        matching.next().and_then(|&(_, index)| self.symbol(index))
    }

    /// The function or variable that covers an address, with the offset of the address in it. A symbol without a size
    /// reaches up to the next one.
    pub(crate) fn at(&self, address: FileAddr) -> Option<(Symbol, u64)> {
        let starts_before = |&i: &u32| self.get(i).is_some_and(|entry| entry.address <= address.0);
        let before = self.by_address.get(..self.by_address.partition_point(starts_before))?;
        // Symbols can lie in one another, as labels in a function do: a few steps back find the one that covers.
        before.iter().rev().take(8).enumerate().find_map(|(steps, &index)| {
            let entry = self.get(index)?;
            let offset = address.0.checked_sub(entry.address)?;
            let open_ended = entry.size == 0 && steps == 0 && entry.kind != SymbolKind::Untyped;
            if offset < entry.size || open_ended { Some((self.symbol(index)?, offset)) } else { None }
        })
    }

    /// Where each function whose name is `wanted` lies, and how many bytes it has.
    pub(crate) fn functions_named(&self, wanted: impl Fn(&str) -> bool) -> Vec<(FileAddr, u64)> {
        let functions = self.entries.iter().filter(|entry| entry.kind == SymbolKind::Function && entry.size > 0);
        let matching = functions.filter(|entry| str::from_utf8(self.name(entry)).is_ok_and(&wanted));
        matching.map(|entry| (FileAddr(entry.address), entry.size)).collect()
    }

    fn get(&self, index: u32) -> Option<&Entry> {
        self.entries.get(index as usize)
    }

    /// What makes one of two symbols of the same name or address the better answer: something typed, then global, then
    /// larger.
    fn rank(&self, index: u32) -> (bool, bool, u64) {
        self.get(index).map_or((false, false, 0), |e| (e.kind != SymbolKind::Untyped, e.global, e.size))
    }

    fn symbol(&self, index: u32) -> Option<Symbol> {
        let entry = self.get(index)?;
        Some(Symbol {
            name: String::from_utf8_lossy(self.name(entry)).into_owned(),
            address: FileAddr(entry.address),
            size: entry.size,
            kind: entry.kind,
            global: entry.global,
        })
    }

    /// The name without its version: `.symtab` of a shared library has names such as `malloc@@GLIBC_2.2.5`.
    fn name(&self, entry: &Entry) -> &[u8] {
        let strings = self.strings.get(usize::from(entry.strings));
        let tail = strings.and_then(|strings| strings.get(entry.name as usize..)).unwrap_or_default();
        let end = memchr::memchr2(0, b'@', tail).unwrap_or(tail.len());
        &tail[..end]
    }
}

fn hash(name: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    name.hash(&mut hasher);
    hasher.finish()
}

fn entry(raw: &[u8], strings: u8) -> Option<Entry> {
    let name = u32::from_le_bytes(raw.get(..4)?.try_into().ok()?);
    let (&info, section) = (raw.get(4)?, u16::from_le_bytes(raw.get(6..8)?.try_into().ok()?));
    let address = u64::from_le_bytes(raw.get(8..16)?.try_into().ok()?);
    let size = u64::from_le_bytes(raw.get(16..24)?.try_into().ok()?);
    let kind = match elf::SymbolType(info & 0xf) {
        elf::STT_FUNC | elf::STT_GNU_IFUNC => SymbolKind::Function,
        elf::STT_OBJECT | elf::STT_COMMON => SymbolKind::Object,
        elf::STT_TLS => SymbolKind::ThreadLocal,
        elf::STT_NOTYPE => SymbolKind::Untyped,
        _ => return None,
    };
    let global = elf::SymbolBind(info >> 4) != elf::STB_LOCAL;
    // An absolute value is no place: a library's symbol versions are such symbols (`GLIBC_2.15`, value 0), and would cover
    // its first bytes.
    let is_place = section != elf::SHN_UNDEF.0 && section != elf::SHN_ABS.0;
    is_place.then_some(Entry { strings, name, global, kind, address, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUNCTION: u8 = 2;
    const GLOBAL: u8 = 1 << 4;

    /// A table of symbols given as name, info, address and size.
    fn table(symbols: &[(&str, u8, u64, u64)]) -> Symbols {
        let (mut raw, mut strings) = (Vec::new(), vec![0]);
        for (name, info, address, size) in symbols {
            raw.extend((strings.len() as u32).to_le_bytes());
            raw.extend([*info, 0, 1, 0]);
            raw.extend(address.to_le_bytes());
            raw.extend(size.to_le_bytes());
            strings.extend(name.as_bytes());
            strings.push(0);
        }
        let mut symbols = Symbols::default();
        symbols.add_table(&raw, Bytes::from(strings));
        symbols.index();
        symbols
    }

    #[test]
    fn a_global_symbol_goes_before_local_ones_of_its_name_or_address() {
        let symbols = table(&[
            ("init", FUNCTION, 0x10, 4),
            ("init", FUNCTION | GLOBAL, 0x20, 4),
            ("init", FUNCTION, 0x30, 4),
            ("alias", FUNCTION, 0x20, 4),
        ]);
        assert_eq!(symbols.by_name("init").map(|symbol| symbol.address), Some(FileAddr(0x20)));
        assert_eq!(symbols.at(FileAddr(0x22)).map(|(symbol, offset)| (symbol.name, offset)), Some(("init".into(), 2)));
        assert_eq!(symbols.by_name("ini"), None);
    }

    #[test]
    fn symbol_versions_are_at_no_address() {
        let mut raw = vec![0u8; SYMBOL_SIZE];
        raw[4] = GLOBAL | 1;
        raw[6..8].copy_from_slice(&1u16.to_le_bytes());
        assert!(entry(&raw, 0).is_some());
        raw[6..8].copy_from_slice(&elf::SHN_ABS.0.to_le_bytes());
        assert!(entry(&raw, 0).is_none());
    }

    #[test]
    fn names_are_found_without_their_version() {
        let symbols = table(&[("malloc@@GLIBC_2.2.5", FUNCTION | GLOBAL, 0x10, 4)]);
        assert_eq!(symbols.by_name("malloc").map(|symbol| symbol.name), Some("malloc".into()));
    }

    #[test]
    fn an_address_past_the_end_of_a_symbol_is_not_covered_by_it() {
        let symbols = table(&[("outer", FUNCTION, 0x100, 0x40), ("label", 0, 0x110, 0), ("open", FUNCTION, 0x200, 0)]);
        let name = |address| symbols.at(FileAddr(address)).map(|(symbol, _)| symbol.name);
        assert_eq!(name(0x120), Some("outer".into()));
        assert_eq!(name(0x140), None);
        assert_eq!(name(0xff), None);
        assert_eq!(name(0x210), Some("open".into()));
        // Tables of corrupt files end anywhere.
        let mut cut = Symbols::default();
        cut.add_table(&[1; SYMBOL_SIZE + 5], Bytes::default());
        cut.index();
        assert_eq!(cut.by_name("x"), None);
    }
}
