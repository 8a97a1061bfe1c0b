//! nginx's pools, and who owns them.
//!
//! Pools are found in two ways that know nothing of each other: by what they look like, in every chunk in use ([`scan`],
//! [`pool`]), and by name, from typed roots ([`owner`]). Each kind of owner is one file here and one line in
//! [`owner::FINDERS`].

pub mod builtin;
pub mod chain;
pub mod client;
pub mod clock;
pub mod connection;
pub mod cycle;
pub mod dyups;
pub mod event_handlers;
pub mod events;
pub mod fields;
pub mod found;
pub mod general;
pub mod handlers;
pub mod health_check;
pub mod http2;
pub mod http_conf;
pub mod keepalive;
pub mod layout;
pub mod listening;
pub mod location;
pub mod look;
pub mod lua;
pub mod mail;
pub mod memo;
pub mod ocsp;
pub mod owner;
pub mod pool;
pub mod request;
pub mod scan;
pub mod scene;
pub mod slots;
pub mod stream;
pub mod text;
pub mod upstream;
pub mod version;
pub mod zones;
