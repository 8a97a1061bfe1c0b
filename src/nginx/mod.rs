//! nginx's pools, and who owns them.
//!
//! Pools are found in two ways that know nothing of each other: by what they look like, in every chunk in use ([`scan`],
//! [`pool`]), and by name, from typed roots ([`owner`]). Each kind of owner is one file here and one line in
//! [`owner::FINDERS`].

pub mod connection;
pub mod cycle;
pub mod dyups;
pub mod layout;
pub mod owner;
pub mod pool;
pub mod request;
pub mod scan;
pub mod text;
pub mod version;
