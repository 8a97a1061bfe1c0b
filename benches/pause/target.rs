//! A program that is looked at, with a heartbeat inside.

use poolscope_fixtures::{Beating, Heartbeat, LargeHeap, Leak, LeakPlan, Nginx};

use crate::common::Failure;
use crate::common::machine::field;
use crate::live_tool::confirm_running;
use crate::plan::{Contents, Plan};

/// It ends when it is dropped.
pub(crate) struct Target {
    pid: u32,
    resident: u64,
    heartbeat: Heartbeat,
    program: Program,
}

enum Program {
    Worker {
        nginx: Box<Nginx>,
        /// Its clients hold what it leaks.
        _leak: Leak,
    },
    Chunks(LargeHeap),
}

impl Target {
    /// Starts it, and waits until it holds what it should.
    pub(crate) fn start(plan: &Plan) -> Result<Target, Failure> {
        let heartbeat = Heartbeat::create()?;
        let (program, pid) = match plan.contents {
            Contents::Leak { generations } => {
                let environment = heartbeat.environment(Beating::Child);
                let with = |builder: poolscope_fixtures::NginxBuilder, (name, value)| builder.env(name, value);
                let nginx = environment.into_iter().fold(Nginx::builder(), with).start()?;
                let leak = Leak::run(&nginx, &LeakPlan::new(generations, 1030), |_| ())?;
                let worker = nginx.worker_pid()?;
                (Program::Worker { nginx: Box::new(nginx), _leak: leak }, worker)
            }
            Contents::Chunks { small, large } => {
                let heap = LargeHeap::start_with(small, large, &heartbeat.environment(Beating::Itself))?;
                let pid = heap.pid();
                (Program::Chunks(heap), pid)
            }
        };
        let resident =
            field(&format!("/proc/{pid}/status"), "VmRSS:").ok_or("a program's resident size cannot be read")?;
        Ok(Target { pid, resident, heartbeat, program })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Resident bytes before any tool looked.
    pub(crate) fn resident(&self) -> u64 {
        self.resident
    }

    pub(crate) fn heartbeat(&self) -> &Heartbeat {
        &self.heartbeat
    }

    /// That it still runs, untraced; a worker also answers.
    ///
    /// # Errors
    /// What `tool` did to it.
    pub(crate) fn confirm(&self, tool: &str) -> Result<(), Failure> {
        confirm_running(self.pid, tool)?;
        match &self.program {
            Program::Chunks(heap) => debug_assert_eq!(heap.pid(), self.pid),
            Program::Worker { nginx, .. } => {
                if nginx.worker_pid()? != self.pid {
                    return Err(format!("the worker did not survive {tool}; its log:\n{}", nginx.error_log()).into());
                }
                nginx.get("/small")?;
            }
        }
        Ok(())
    }
}
