//! Stack pointers of a process that runs on.

use crate::addr::Addr;

/// The stack pointers of those threads of `pid` that wait in a system call (`/proc/PID/task/TID/syscall`, which does not
/// stop them). A thread that runs has none, and neither has one of which the kernel does not tell.
pub fn waiting_stack_pointers(pid: i32) -> Vec<Addr> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let line = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("syscall")).ok();
    entries.filter_map(|entry| stack_pointer(&line(entry.ok()?)?)).collect()
}

/// The last but one word: the number of the call and its arguments come before, the program counter after (Linux
/// `fs/proc/base.c`, `proc_pid_syscall`). For a thread that runs the line is one word.
fn stack_pointer(line: &str) -> Option<Addr> {
    let word = line.split_whitespace().rev().nth(1)?;
    u64::from_str_radix(word.strip_prefix("0x")?, 16).ok().map(Addr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_waits_has_a_stack_pointer() {
        let line = "232 0x8 0x55d0 0x200 0xffffffff 0x0 0x0 0x7ffd5a3c9a38 0x7f1c2d0fb5e6\n";
        assert_eq!(stack_pointer(line), Some(Addr(0x7ffd_5a3c_9a38)));
        assert_eq!(stack_pointer("-1 0x7ffd5a3c9a38 0x7f1c2d0fb5e6"), Some(Addr(0x7ffd_5a3c_9a38)));
        assert_eq!(stack_pointer("running\n"), None);
        assert_eq!(stack_pointer(""), None);
    }
}
