//! Memory of a live process, read from outside.
//!
//! `process_vm_readv` moves scattered pages with one system call and no file position; it is what the bulk of reading
//! uses. Some containers' seccomp profiles forbid it while they allow ptrace: then `/proc/PID/mem` answers, page by page.

use crate::addr::{Addr, AddrRange};
use crate::target::memory::{Fault, Memory};
use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use std::fs::File;
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

/// As many ranges are read in one `process_vm_readv`, at most. The kernel takes four times as many (`UIO_MAXIOV`), but ranges that
/// lie all over the heap cost up to 2 us each, and a stop ends only when the call that is under way has ended.
pub const MAX_RANGES: usize = 256;

/// The memory of a running or stopped process.
#[derive(Debug)]
pub struct LiveMemory {
    pid: Pid,
    mem: File,
    /// Set once `process_vm_readv` was refused as a system call, not for an address.
    vectored_is_refused: AtomicBool,
}

impl LiveMemory {
    /// Opens `/proc/PID/mem` for reading, which is where the kernel checks that we may look at all: the error is the
    /// kernel's own.
    pub fn open(pid: i32) -> std::io::Result<LiveMemory> {
        let mem = File::open(format!("/proc/{pid}/mem"))?;
        Ok(LiveMemory { pid: Pid::from_raw(pid), mem, vectored_is_refused: AtomicBool::new(false) })
    }

    /// The process whose memory it is.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// False if the process has ended, or has become another program (`execve`), since this was opened. `process_vm_readv` reads
    /// whatever program runs under the pid; the file stays with the memory that it was opened for, and is empty when nobody runs
    /// there any more (Linux fs/proc/base.c, `mem_rw`).
    pub fn is_current(&self) -> bool {
        /// Any address will do: one that is not mapped is an error, and not the end of the file.
        const ANYWHERE: u64 = 0x1000;
        !matches!(self.mem.read_at(&mut [0], ANYWHERE), Ok(0))
    }

    fn read_through_file(&self, address: Addr, buffer: &mut [u8]) -> Result<(), Fault> {
        let mut done = 0;
        while done < buffer.len() {
            let at = address + done as u64;
            match self.mem.read_at(&mut buffer[done..], at.0) {
                // A process that has exited has an empty address space: end of file everywhere.
                Ok(0) => return Err(Fault::Gone),
                Ok(count) => done += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(fault_of(error.raw_os_error().unwrap_or(libc_eio()), at)),
            }
        }
        Ok(())
    }

    /// At most [`MAX_RANGES`] ranges in as many calls as partial answers make necessary.
    fn read_batch(&self, ranges: &[AddrRange], buffer: &mut [u8]) -> Result<(), Fault> {
        let mut remote: Vec<RemoteIoVec> = ranges
            .iter()
            .map(|range| RemoteIoVec { base: range.start.0 as usize, len: range.len() as usize })
            .collect();
        let mut done = 0;
        let mut first = 0;
        while done < buffer.len() {
            while first < remote.len() && remote[first].len == 0 {
                first += 1;
            }
            let Some(next) = remote.get(first) else { return Ok(()) };
            let at = Addr(next.base as u64);
            let mut local = [IoSliceMut::new(&mut buffer[done..])];
            let count = match process_vm_readv(self.pid, &mut local, &remote[first..]) {
                Ok(0) => return Err(Fault::Unmapped(at)),
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(fault_of(errno as i32, at)),
            };
            done += count;
            skip(&mut remote[first..], count);
        }
        Ok(())
    }
}

/// Takes `count` bytes off the front of the ranges.
fn skip(remote: &mut [RemoteIoVec], mut count: usize) {
    for range in remote {
        let taken = range.len.min(count);
        range.base += taken;
        range.len -= taken;
        count -= taken;
        if count == 0 {
            return;
        }
    }
}

fn libc_eio() -> i32 {
    Errno::EIO as i32
}

fn fault_of(errno: i32, address: Addr) -> Fault {
    match Errno::from_raw(errno) {
        Errno::ESRCH => Fault::Gone,
        Errno::EFAULT | Errno::EIO => Fault::Unmapped(address),
        other => Fault::Refused(address, other as i32),
    }
}

impl Memory for LiveMemory {
    fn read(&self, address: Addr, buffer: &mut [u8]) -> Result<(), Fault> {
        self.read_ranges(&[AddrRange::sized(address, buffer.len() as u64)], buffer)
    }

    fn read_ranges(&self, ranges: &[AddrRange], buffer: &mut [u8]) -> Result<(), Fault> {
        let mut rest = buffer;
        for batch in ranges.chunks(MAX_RANGES) {
            let length = batch.iter().map(|range| range.len() as usize).sum::<usize>().min(rest.len());
            let (head, tail) = rest.split_at_mut(length);
            if !self.vectored_is_refused.load(Ordering::Relaxed) {
                match self.read_batch(batch, head) {
                    Err(Fault::Refused(..)) => self.vectored_is_refused.store(true, Ordering::Relaxed),
                    answer => {
                        answer?;
                        rest = tail;
                        continue;
                    }
                }
            }
            let mut place = head;
            for range in batch {
                let (now, later) = place.split_at_mut((range.len() as usize).min(place.len()));
                self.read_through_file(range.start, now)?;
                place = later;
            }
            rest = tail;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_memory() -> LiveMemory {
        LiveMemory::open(std::process::id() as i32).unwrap()
    }

    #[test]
    fn reads_scattered_ranges_in_order() {
        let source: Vec<u8> = (0..=255).collect();
        let base = Addr(source.as_ptr() as u64);
        let ranges = [AddrRange::sized(base + 200, 3), AddrRange::sized(base, 0), AddrRange::sized(base + 10, 2)];
        let mut buffer = [0; 5];
        own_memory().read_ranges(&ranges, &mut buffer).unwrap();
        assert_eq!(buffer, [200, 201, 202, 10, 11]);
    }

    #[test]
    fn more_ranges_than_the_kernel_takes_at_once_are_split() {
        let source: Vec<u8> = (0..3000u32).map(|n| n as u8).collect();
        let base = Addr(source.as_ptr() as u64);
        let ranges: Vec<_> = (0..3000).rev().map(|n| AddrRange::sized(base + n, 1)).collect();
        let mut buffer = vec![0; 3000];
        own_memory().read_ranges(&ranges, &mut buffer).unwrap();
        assert!(buffer.iter().rev().eq(source.iter()));
    }

    #[test]
    fn an_unmapped_address_faults_with_that_address() {
        let mut buffer = [0; 16];
        assert_eq!(own_memory().read(Addr(0x10), &mut buffer), Err(Fault::Unmapped(Addr(0x10))));
    }

    #[test]
    fn a_program_that_has_become_another_is_not_current() {
        use std::process::{Command, Stdio};
        let mut child =
            Command::new("/bin/sh").args(["-c", "read line; exec sleep 60"]).stdin(Stdio::piped()).spawn().unwrap();
        let memory = LiveMemory::open(child.id() as i32).unwrap();
        assert!(memory.is_current());
        drop(child.stdin.take());
        let name = || std::fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap();
        while name().trim_end() != "sleep" {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let is_current = memory.is_current();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!is_current);
        assert!(own_memory().is_current());
    }

    #[test]
    fn the_file_answers_as_the_system_call_does() {
        let memory = own_memory();
        memory.vectored_is_refused.store(true, Ordering::Relaxed);
        let source = *b"through the file";
        let mut buffer = [0; 16];
        memory.read(Addr(source.as_ptr() as u64), &mut buffer).unwrap();
        assert_eq!(buffer, source);
        assert!(matches!(memory.read(Addr(0x10), &mut buffer), Err(Fault::Unmapped(_))));
    }
}
