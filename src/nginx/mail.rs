//! Mail sessions: IMAP, POP3 and SMTP clients that nginx authenticates and passes on (nginx `src/mail/`).
//!
//! A session lies in the pool of the client's connection, and the connection to the mail server shares it. While an HTTP
//! server is asked who the client is, there is a pool for that.

use super::fields::{Fields, pointer};
use super::owner::{NginxModule, OwnerKind};
use crate::addr::Addr;
use crate::target::memory::Memory;

/// The pool of a question to the authentication server.
pub const AUTHENTICATION: OwnerKind = OwnerKind { key: "mail_auth", label: "mail authentication request", unit: None };
/// The pool of a connection to a mail server, where it has one of its own.
pub const UPSTREAM: OwnerKind = OwnerKind { key: "mail_upstream", label: "mail upstream connection", unit: None };

/// `NGX_MAIL_MODULE`, with which every session begins: "MAIL" (nginx `src/mail/ngx_mail.h`).
const SIGNATURE: u32 = 0x4c49_414d;

/// Offsets in `ngx_mail_session_t`, and on to the authentication.
pub struct MailLayout {
    signature: u64,
    connection: u64,
    contexts: Option<u64>,
    /// `ngx_mail_auth_http_module.ctx_index`.
    index: Option<Addr>,
    /// `pool` in `ngx_mail_auth_http_ctx_t`.
    pool: Option<u64>,
}

impl MailLayout {
    /// `None` in a build without mail, and if it is not described.
    pub fn of(nginx: NginxModule<'_>) -> Option<MailLayout> {
        let session = Fields::of(nginx, "ngx_mail_session_t");
        let context = Fields::of(nginx, "ngx_module_s").offset("ctx_index");
        let module = nginx.variable("ngx_mail_auth_http_module");
        Some(MailLayout {
            signature: session.offset("signature")?,
            connection: session.offset("connection")?,
            contexts: session.offset("ctx"),
            index: module.zip(context).map(|(module, context)| module + context),
            pool: Fields::of(nginx, "ngx_mail_auth_http_ctx_s").offset("pool"),
        })
    }

    /// The client's connection of the session at `at`, if there is one.
    pub fn client(&self, memory: &dyn Memory, at: Addr) -> Option<Addr> {
        if at.is_null() || memory.read_u32(at + self.signature).ok()? != SIGNATURE {
            return None;
        }
        pointer(memory, at, Some(self.connection))
    }

    /// The pool of the question about its client. To be asked for only while it is being authenticated: the session keeps
    /// the pointer when the pool is destroyed.
    pub fn authentication(&self, memory: &dyn Memory, session: Addr) -> Option<Addr> {
        let contexts = pointer(memory, session, self.contexts)?;
        let index = memory.read_u64(self.index?).ok()?;
        let context = pointer(memory, contexts, index.checked_mul(8))?;
        pointer(memory, context, self.pool)
    }
}
