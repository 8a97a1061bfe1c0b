//! The worker that all tools look at, and whether it came through.

use poolscope_fixtures::Nginx;

use crate::common::Failure;
use crate::common::machine::field;
use crate::live_tool::confirm_running;

/// The worker.
pub(crate) struct Worker {
    pub(crate) pid: u32,
    /// Resident bytes before any tool looked.
    pub(crate) resident: u64,
}

impl Worker {
    /// The only worker of `nginx`.
    pub(crate) fn of(nginx: &Nginx) -> Result<Worker, Failure> {
        let pid = nginx.worker_pid()?;
        let resident =
            field(&format!("/proc/{pid}/status"), "VmRSS:").ok_or("the worker's resident size cannot be read")?;
        Ok(Worker { pid, resident })
    }

    /// Whether it is still the same worker, runs untraced, and answers.
    ///
    /// # Errors
    /// What `tool` did to it.
    pub(crate) fn confirm(&self, nginx: &Nginx, tool: &str) -> Result<(), Failure> {
        if nginx.worker_pid()? != self.pid {
            return Err(format!("the worker did not survive {tool}; nginx's error log:\n{}", nginx.error_log()).into());
        }
        confirm_running(self.pid, tool)?;
        nginx.get("/small")?;
        Ok(())
    }
}
