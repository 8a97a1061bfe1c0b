//! Listening sockets: where a client's connection came in.

use super::fields::{Bits, Fields, Text, is_set};
use super::owner::NginxModule;
use super::scene::Scene;
use super::text::TextRef;
use crate::addr::Addr;

/// Fields of `ngx_listening_t`.
pub struct ListeningLayout {
    address: Option<Text>,
    quic: Option<Bits>,
}

/// What a listening socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Listener {
    /// Its address as nginx writes it: `127.0.0.1:8080`, `unix:/run/nginx.sock`.
    pub name: Option<TextRef>,
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
    pub fn listener(&self, scene: &Scene<'_>, listening: Addr) -> Listener {
        scene.listeners.get(listening, || Listener {
            name: self
                .address
                .and_then(|address| address.read(scene.memory, listening))
                .and_then(|text| scene.text(text)),
            is_quic: is_set(scene.memory, listening, self.quic),
        })
    }
}
