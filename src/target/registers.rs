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

/// Names in the order of `struct user_pt_regs` (Linux `arch/arm64/include/uapi/asm/ptrace.h`).
#[cfg(not(target_arch = "x86_64"))]
const NAMES: [&str; 34] = [
    "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16", "x17",
    "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x29", "x30", "sp", "pc", "pstate",
];
#[cfg(not(target_arch = "x86_64"))]
const STACK_POINTER: &str = "sp";

impl ThreadRegisters {
    /// Each register with its name.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        NAMES.into_iter().zip(self.words.iter().copied())
    }

    /// The stack pointer; `None` if the registers are not known.
    pub fn stack_pointer(&self) -> Option<Addr> {
        self.named().find(|(name, _)| *name == STACK_POINTER).map(|(_, word)| Addr(word))
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
    }
}
