//! Why the kernel said no, in terms of what an operator can change.
//!
//! The kernel answers every refused look at another process with the same EPERM or EACCES. What stood in the way is put
//! together from what the two processes are (`ptrace(2)`, "Ptrace access mode checking").

use procfs::process::Process;
use std::fmt;

/// The permission that is missing, as far as it can be told from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The target belongs to another user and we lack the capability.
    OtherUser {
        /// The target's real user id.
        target: u32,
        /// Ours.
        own: u32,
    },
    /// The target has made itself (or was made by set-user-id) not dumpable.
    NotDumpable,
    /// yama allows only descendants (1), only administrators (2) or nobody (3).
    Yama(u8),
    /// None of the above: a security module (AppArmor, SELinux, Smack) or a seccomp profile.
    SecurityModule {
        /// The label of the target in `/proc/PID/attr/current`, if it has one.
        label: Option<String>,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::OtherUser { target, own } => write!(
                f,
                "it runs as user {target}, we as {own} without CAP_SYS_PTRACE: run poolscope with sudo, or in a container \
                 started with --cap-add=SYS_PTRACE"
            ),
            Refusal::NotDumpable => write!(
                f,
                "it is marked not dumpable, and we lack CAP_SYS_PTRACE: run poolscope with sudo, or in a container started \
                 with --cap-add=SYS_PTRACE"
            ),
            Refusal::Yama(3) => write!(
                f,
                "kernel.yama.ptrace_scope is 3, which forbids ptrace until the next boot: take a core dump instead"
            ),
            Refusal::Yama(scope) => {
                write!(f, "kernel.yama.ptrace_scope is {scope}, and we lack CAP_SYS_PTRACE: run poolscope with sudo")
            }
            Refusal::SecurityModule { label: Some(label) } => write!(
                f,
                "a security module forbids it (the target runs under \"{label}\"): allow ptrace for poolscope in that \
                 profile, or run it outside the confinement"
            ),
            Refusal::SecurityModule { label: None } => write!(
                f,
                "a security module or seccomp profile forbids it: run poolscope on the host, or in a container started with \
                 --cap-add=SYS_PTRACE --security-opt seccomp=unconfined"
            ),
        }
    }
}

/// CAP_SYS_PTRACE of Linux' `include/uapi/linux/capability.h`.
const CAP_SYS_PTRACE: u64 = 1 << 19;

/// Why the kernel lets us look at `pid`.
pub fn reason(pid: i32) -> &'static str {
    let status = |process: procfs::ProcResult<Process>| process.and_then(|process| process.status()).ok();
    let (own, target) = (status(Process::myself()), status(Process::new(pid)));
    match (own, target) {
        (Some(own), Some(target)) if [target.ruid, target.euid, target.suid].iter().all(|user| *user == own.euid) => {
            "it runs as the same user"
        }
        (Some(own), _) if own.capeff & CAP_SYS_PTRACE != 0 => "CAP_SYS_PTRACE",
        _ => "the kernel allows it",
    }
}

/// What most likely made the kernel refuse us access to `pid`.
pub fn explain(pid: i32) -> Refusal {
    let own = Process::myself().and_then(|process| process.status());
    let target = Process::new(pid).and_then(|process| process.status());
    let capable = own.as_ref().is_ok_and(|status| status.capeff & CAP_SYS_PTRACE != 0);
    let yama = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope")
        .ok()
        .and_then(|scope| scope.trim().parse::<u8>().ok())
        .unwrap_or(0);
    if yama == 3 {
        return Refusal::Yama(3);
    }
    if !capable {
        if let (Ok(own), Ok(target)) = (&own, &target) {
            let users = [target.ruid, target.euid, target.suid];
            if users.iter().any(|user| *user != own.euid) {
                return Refusal::OtherUser { target: target.ruid, own: own.euid };
            }
            if is_undumpable(pid, target.euid) {
                return Refusal::NotDumpable;
            }
        }
        if yama > 0 {
            return Refusal::Yama(yama);
        }
    }
    Refusal::SecurityModule { label: security_label(pid) }
}

/// The kernel gives the files of `/proc/PID` to root when the process is not dumpable.
fn is_undumpable(pid: i32, user: u32) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(format!("/proc/{pid}/stat")).is_ok_and(|file| file.uid() != user)
}

fn security_label(pid: i32) -> Option<String> {
    let label = std::fs::read_to_string(format!("/proc/{pid}/attr/current")).ok()?;
    let label = label.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned();
    (!label.is_empty() && label != "unconfined").then_some(label)
}
