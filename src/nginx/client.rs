//! Clients: what their connections lead to besides a request.

use super::found::{Facts, FoundPool, Label, Path};
use super::handlers::READING_HEADERS;
use super::http2;
use super::look::{Look, Slot, Use};
use super::mail;
use super::owner::OwnerKind;
use crate::addr::Addr;

const CLIENT: OwnerKind = OwnerKind { key: "connection", label: "client connection", unit: None };
const HTTP3_STREAM: OwnerKind = OwnerKind { key: "http3_stream", label: "HTTP/3 stream", unit: None };

impl Look<'_> {
    /// Names what leads on from a client's connection, and then itself.
    pub fn name_client(&self, slot: &Slot, used_for: Use, found: &mut Vec<FoundPool>) {
        let Slot { at, connection, .. } = slot;
        let memory = self.scene.memory;
        let listener = self.known.listening.listener(&self.scene, connection.listening);
        let (mut facts, role) = self.facts(*connection);
        let address = self.layout.address.and_then(|address| address.read(memory, *at));
        facts.client = address.and_then(|address| self.scene.text(address));
        facts.protocol = role.and_then(|role| role.protocol).or(listener.is_quic.then_some("http/3"));
        let by_role = role.and_then(|role| role.state).or_else(|| self.state_by_queue(slot, used_for));
        let mut state = by_role;
        match used_for {
            Use::Request(request) => {
                let named = self.request(slot, request, by_role, &facts);
                facts.protocol = named.facts.protocol.or(facts.protocol);
                state = named.state;
                found.push(named);
            }
            Use::Http2 => {
                facts.protocol = Some("http/2");
                state = by_role.or_else(|| self.http2_state(connection.data));
                self.name_http2(slot, &facts, found);
            }
            Use::Stream(true) => {
                facts.protocol = Some("stream");
                let layout = self.known.users.stream.as_ref();
                state = layout.and_then(|layout| layout.state(memory, connection.data)).or(by_role);
            }
            Use::Mail(true) => {
                facts.protocol = Some("mail");
                self.name_authentication(slot, found);
            }
            _ => {}
        }
        let kind = if connection.quic.is_null() { &CLIENT } else { &HTTP3_STREAM };
        let state = state.or(connection.is_idle.then_some("idle keepalive"));
        found.push(FoundPool { name: listener.name.map(Label::plain), state, facts, ..slot.named(kind) });
    }

    /// What a connection is at, where its handlers have no names. nginx can close, if it must, those that wait for a first or
    /// a further request, and those that only wait until the client has taken note of an answer (nginx
    /// `src/http/ngx_http_request.c`, `ngx_http_init_connection`, `ngx_http_set_keepalive`, `ngx_http_set_lingering_close`).
    fn state_by_queue(&self, slot: &Slot, used_for: Use) -> Option<&'static str> {
        let is_reusable = || self.layout.is_reusable(self.scene.memory, slot.at);
        let (_, requests) = slot.connection.identity()?;
        match (used_for, requests) {
            (Use::Request(_), _) => is_reusable().then_some("lingering close"),
            (Use::Other, 0) => is_reusable().then_some("new"),
            (Use::Other, _) => is_reusable().then_some("idle keepalive"),
            _ => None,
        }
    }

    fn http2_state(&self, data: Addr) -> Option<&'static str> {
        let open = self.known.users.http2.as_ref()?.open_streams(self.scene.memory, data)?;
        Some(if open > 0 { "streams open" } else { "open" })
    }

    fn name_http2(&self, slot: &Slot, of: &Facts, found: &mut Vec<FoundPool>) {
        let (memory, data) = (self.scene.memory, slot.connection.data);
        let Some(layout) = &self.known.users.http2 else { return };
        let number = slot.connection.identity().map(|(number, _)| number);
        let facts = Facts { handler: None, ..*of };
        let path = |behind| Path::through("((ngx_http_v2_connection_t *) ngx_cycle->connections[", slot.index, behind);
        if let Some(pool) = layout.pool(memory, data) {
            let plain = FoundPool::plain(pool, &http2::CONNECTION, path("].data)->pool"));
            let identity = number.map(|number| (number, 0));
            found.push(FoundPool { identity, facts, ..plain });
        }
        let reading = layout.header_pool(memory, data);
        layout.streams(memory, data, |stream| {
            let request = self.known.users.request.as_ref().and_then(|layout| layout.read(memory, stream.request));
            let Some(request) = request else { return };
            let path = |behind| Path::through_stream(slot.index, stream.place, behind);
            // A stream's number tells it from all others of the connection, as the place among requests does elsewhere.
            let identity = number.zip(stream.id);
            let state = (reading.is_some() && reading == stream.header).then_some(READING_HEADERS);
            if let Some(header) = stream.header {
                let plain = FoundPool::plain(header, &http2::HEADER, path("->pool"));
                found.push(FoundPool { identity, state, facts, ..plain });
            }
            let mut named = self.described(request, path("->request->pool"));
            named.facts.client = facts.client;
            found.push(FoundPool { identity, state: state.or(named.state), ..named });
        });
        // One that is refused has no stream.
        if let Some(pool) = reading {
            let plain = FoundPool::plain(pool, &http2::HEADER, path("].data)->state.pool"));
            found.push(FoundPool { state: Some(READING_HEADERS), facts, ..plain });
        }
    }

    fn name_authentication(&self, slot: &Slot, found: &mut Vec<FoundPool>) {
        let handler = slot.connection.read_handler.filter(|handler| !handler.is_null());
        let Some(layout) = &self.known.users.mail else { return };
        if handler.is_none() || handler != self.known.handlers.mail_authenticating() {
            return;
        }
        if let Some(pool) = layout.authentication(self.scene.memory, slot.connection.data) {
            let behind = "].data)->ctx[ngx_mail_auth_http_module]->pool";
            let path = Path::through("((ngx_mail_session_t *) ngx_cycle->connections[", slot.index, behind);
            found.push(FoundPool::plain(pool, &mail::AUTHENTICATION, path));
        }
    }
}
