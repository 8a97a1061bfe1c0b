//! Who the process of a core was, and its threads.

use super::storage::{u32_at, u64_at};
use crate::addr::Addr;

/// The process that a core was taken of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CoreProcess {
    /// Its pid, in the pid namespace that it was in.
    pub pid: i32,
    /// Its parent's. The kernel writes the id of the very thread that started it, gcore the pid.
    pub parent: i32,
    /// Its name, at most 15 bytes (`pr_fname`).
    pub name: String,
    /// Its command line, at most 80 bytes (`pr_psargs`); nginx writes its title there: `nginx: worker process`.
    /// gcore writes no further than the first argument.
    pub title: String,
    /// The signal that ended it. `None` for a core that was taken of a process that lived on: gcore stops with `SIGSTOP` or
    /// `SIGTRAP`, which is why those two never count.
    pub signal: Option<i32>,
}

/// One thread, as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreThread {
    /// Its id. That of the main thread is the pid.
    pub tid: i32,
    /// True for the main thread.
    pub is_main: bool,
    /// What thread-local storage is found by: `fs_base` on x86_64, `tpidr_el0` on aarch64. `None` if the core does not say.
    pub thread_pointer: Option<Addr>,
    /// Program counter.
    pub pc: Addr,
    /// Stack pointer.
    pub sp: Addr,
    /// All general registers, in the kernel's order.
    pub registers: Vec<u64>,
}

/// Offset of the registers in `struct elf_prstatus`.
const REGISTERS: usize = 112;

impl CoreThread {
    /// Reads `NT_PRSTATUS` (`struct elf_prstatus`); `None` if it is too short to hold the registers.
    pub(super) fn parse(contents: &[u8]) -> Option<CoreThread> {
        let register = |number: usize| u64_at(contents, REGISTERS + number * 8);
        Some(CoreThread {
            tid: u32_at(contents, 32)? as i32,
            is_main: false,
            thread_pointer: thread_pointer(&register)?,
            pc: Addr(register(PC)?),
            sp: Addr(register(SP)?),
            registers: (0..COUNT).map_while(register).collect(),
        })
    }
}

/// Numbers in `struct user_regs_struct` of x86_64.
#[cfg(target_arch = "x86_64")]
const PC: usize = 16;
/// How many registers there are.
#[cfg(target_arch = "x86_64")]
const COUNT: usize = 27;
#[cfg(target_arch = "x86_64")]
const SP: usize = 19;

/// Numbers in `struct user_pt_regs` of aarch64.
#[cfg(not(target_arch = "x86_64"))]
const PC: usize = 32;
/// How many registers there are.
#[cfg(not(target_arch = "x86_64"))]
const COUNT: usize = 34;
#[cfg(not(target_arch = "x86_64"))]
const SP: usize = 31;

/// `fs_base` is one of the registers.
#[cfg(target_arch = "x86_64")]
fn thread_pointer(register: &impl Fn(usize) -> Option<u64>) -> Option<Option<Addr>> {
    const FS_BASE: usize = 21;
    register(FS_BASE).map(|word| Some(Addr(word)))
}

/// It comes in a note of its own, `NT_ARM_TLS`.
#[cfg(not(target_arch = "x86_64"))]
fn thread_pointer(_: &impl Fn(usize) -> Option<u64>) -> Option<Option<Addr>> {
    Some(None)
}

impl CoreProcess {
    /// Takes over `NT_PRPSINFO` (`struct elf_prpsinfo`).
    pub(super) fn take_info(&mut self, contents: &[u8]) -> Option<()> {
        self.pid = u32_at(contents, 24)? as i32;
        self.parent = u32_at(contents, 28)? as i32;
        self.name = text(contents.get(40..56)?);
        self.title = text(contents.get(56..136)?);
        if self.title.is_empty() {
            self.title = self.name.clone();
        }
        Some(())
    }

    /// Takes over `si_signo` of `NT_SIGINFO`.
    pub(super) fn take_signal(&mut self, number: Option<u32>) -> Option<()> {
        self.signal = number.and_then(deadly);
        Some(())
    }

    /// Takes over `pr_cursig` of the first thread; `NT_SIGINFO`, which comes later, knows better.
    pub(super) fn take_thread_signal(&mut self, number: Option<u16>) {
        self.signal = number.and_then(|number| deadly(number.into()));
    }
}

/// A signal that can have ended the process.
fn deadly(number: u32) -> Option<i32> {
    use nix::libc::{SIGSTOP, SIGTRAP};
    i32::try_from(number).ok().filter(|number| (1..=64).contains(number) && ![SIGSTOP, SIGTRAP].contains(number))
}

/// A field filled up with zero bytes. The kernel replaces the zero bytes between arguments by blanks, and what nginx' title
/// does not need of the old command line it leaves as such.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(field.get(..end).unwrap_or_default()).trim_end().to_owned()
}
