//! Listening sockets: where a client's connection came in.

use super::fields::{Bits, Fields, Text, is_set};
use super::memo::Memo;
use super::owner::NginxModule;
use super::text::read_name;
use crate::addr::Addr;
use crate::target::memory::Memory;

/// Fields of `ngx_listening_t`.
pub struct ListeningLayout {
    address: Option<Text>,
    quic: Option<Bits>,
}

/// What a listening socket is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listener {
    /// Its address as nginx writes it: `127.0.0.1:8080`, `unix:/run/nginx.sock`.
    pub name: Option<String>,
    /// True if clients speak QUIC.
    pub is_quic: bool,
}

impl ListeningLayout {
    /// Takes the offsets that there are.
    pub fn of(nginx: NginxModule<'_>) -> ListeningLayout {
        let fields = Fields::of(nginx, "ngx_listening_s");
        ListeningLayout { address: fields.text("addr_text"), quic: fields.bits("quic") }
    }

    /// One that knows nothing.
    #[cfg(test)]
    pub fn unknown() -> ListeningLayout {
        ListeningLayout { address: None, quic: None }
    }

    /// The socket at `listening`. There are few, and many connections came in through each.
    pub fn listener(&self, memory: &dyn Memory, known: &Memo<Listener>, listening: Addr) -> Listener {
        known.get(listening, || self.read(memory, listening))
    }

    fn read(&self, memory: &dyn Memory, listening: Addr) -> Listener {
        let text = self.address.and_then(|address| address.read(memory, listening));
        Listener {
            name: text.and_then(|(length, data)| read_name(memory, data, length)),
            is_quic: is_set(memory, listening, self.quic),
        }
    }
}
