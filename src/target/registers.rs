//! What was in the registers of a thread when it stood still.

use super::core::CoreThread;
use crate::addr::Addr;

/// The general registers of a thread.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ThreadRegisters {
    /// Its id. That of the main thread is the pid.
    pub tid: i32,
    /// All of them, in the order of `NT_PRSTATUS`; empty if the thread was gone.
    pub words: Vec<u64>,
}

/// Names in the order of `struct user_regs_struct` (Linux `arch/x86/include/asm/user_64.h`).
#[cfg(target_arch = "x86_64")]
const NAMES: [&str; 27] = [
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi", "orig_rax",
    "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs",
];
#[cfg(target_arch = "x86_64")]
const STACK_POINTER: &str = "rsp";
#[cfg(target_arch = "x86_64")]
const PROGRAM_COUNTER: &str = "rip";

/// Names by DWARF register number (System V ABI for AMD64, figure 3.36).
#[cfg(target_arch = "x86_64")]
const BY_DWARF_NUMBER: [&str; 16] =
    ["rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];

/// Names in the order of `struct user_pt_regs` (Linux `arch/arm64/include/uapi/asm/ptrace.h`).
#[cfg(not(target_arch = "x86_64"))]
const NAMES: [&str; 34] = [
    "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17",
    "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x29", "x30", "sp", "pc", "pstate",
];
#[cfg(not(target_arch = "x86_64"))]
const STACK_POINTER: &str = "sp";
#[cfg(not(target_arch = "x86_64"))]
const PROGRAM_COUNTER: &str = "pc";

/// Names by DWARF register number (DWARF for the Arm 64-bit Architecture, section 4.1).
#[cfg(not(target_arch = "x86_64"))]
const BY_DWARF_NUMBER: [&str; 32] = [
    "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17",
    "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x29", "x30", "sp",
];

/// DWARF's number of the stack pointer.
#[cfg(target_arch = "x86_64")]
pub const DWARF_STACK_POINTER: u16 = 7;
/// DWARF's number of the stack pointer.
#[cfg(not(target_arch = "x86_64"))]
pub const DWARF_STACK_POINTER: u16 = 31;

impl ThreadRegisters {
    /// Each register with its name.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        NAMES.into_iter().zip(self.words.iter().copied())
    }

    /// The stack pointer; `None` if the registers are not known.
    pub fn stack_pointer(&self) -> Option<Addr> {
        self.get(STACK_POINTER).map(Addr)
    }

    /// The program counter; `None` if the registers are not known.
    pub fn program_counter(&self) -> Option<Addr> {
        self.get(PROGRAM_COUNTER).map(Addr)
    }

    /// The registers that call frame information speaks of; the place of each is its DWARF number.
    pub fn by_dwarf_number(&self) -> Vec<Option<u64>> {
        BY_DWARF_NUMBER.iter().map(|name| self.get(name)).collect()
    }

    fn get(&self, name: &str) -> Option<u64> {
        self.named().find(|(known, _)| *known == name).map(|(_, word)| word)
    }
}

impl From<&CoreThread> for ThreadRegisters {
    fn from(thread: &CoreThread) -> ThreadRegisters {
        ThreadRegisters { tid: thread.tid, words: thread.registers.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stack_pointer_is_found_by_its_name() {
        let words: Vec<u64> = (100..100 + NAMES.len() as u64).collect();
        let thread = ThreadRegisters { tid: 7, words };
        let place = NAMES.iter().position(|name| *name == STACK_POINTER).unwrap();
        assert_eq!(thread.stack_pointer(), Some(Addr(100 + place as u64)));
        assert_eq!(thread.named().count(), NAMES.len());
        assert_eq!(ThreadRegisters::default().stack_pointer(), None);
        let by_number = thread.by_dwarf_number();
        assert_eq!(by_number[usize::from(DWARF_STACK_POINTER)].map(Addr), thread.stack_pointer());
        assert!(by_number.iter().all(Option::is_some));
    }
}
