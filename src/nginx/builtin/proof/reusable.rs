//! The queue of connections that may be closed when there are too few (nginx `src/core/ngx_connection.c`,
//! `ngx_reusable_connection`): each member must be a connection, at its link.

use super::SAMPLES;
use super::layouts::Connections;
use crate::addr::Addr;
use crate::debug::{Layout, MissingField};
use crate::target::memory::Memory;

/// Where the queue is.
#[derive(Debug)]
pub(super) struct Reusable {
    /// The queue's head in the cycle.
    queue: u64,
    /// The link in a connection.
    link: u64,
    /// From a link to the pointer to the next one.
    next: u64,
    /// Size of a connection.
    size: u64,
}

impl Reusable {
    pub(super) fn new(cycle: &Layout, connection: &Layout) -> Result<Reusable, MissingField> {
        let link = connection.offset("queue.prev")?;
        Ok(Reusable {
            queue: cycle.offset("reusable_connections_queue")?,
            link,
            next: connection.offset("queue.next")?.saturating_sub(link),
            size: connection.size,
        })
    }

    /// Whether the first members of the queue of the cycle at that address are connections.
    pub(super) fn check(&self, memory: &dyn Memory, cycle: Addr, connections: &Connections) -> Result<(), String> {
        let head = cycle + self.queue;
        let next = |link: Addr| memory.read_pointer(link + self.next).map_err(|fault| fault.to_string());
        let mut link = next(head)?;
        for step in 0..SAMPLES {
            if link == head || link.is_null() {
                return Ok(());
            }
            let connection = Addr(link.0.wrapping_sub(self.link));
            if !connections.has(connection, self.size) {
                return Err(format!("reusable connection {step} lies at {connection}, which is no slot"));
            }
            link = next(link)?;
        }
        Ok(())
    }
}
