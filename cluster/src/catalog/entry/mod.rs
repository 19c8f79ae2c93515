//! What readers hold: a node, a service name and an instance with everything a question needs, put together when
//! something changes so that asking costs nothing.
//!
//! Entries are values behind an `Arc`. The writer takes one through `edit`, which copies it if any published version
//! still holds it and drops what a reader had computed from it.

mod list;
mod node;
mod selection;
mod service;

use std::{
    any::Any,
    net::IpAddr,
    sync::{Arc, OnceLock},
};

pub use list::List;
pub use node::NodeEntry;
pub use selection::Selection;
pub use service::{Instance, ServiceEntry};

/// A place for one reader to keep what it computed from an entry; empty again whenever the entry changes.
pub type Memo = OnceLock<Arc<dyn Any + Send + Sync>>;

/// An address, parsed once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An IP address.
    Ip(IpAddr),
    /// Anything else, as it was registered: a host name, or nothing at all.
    Name(Arc<str>),
}

impl Host {
    pub(super) fn parse(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(Arc::from(text)), Self::Ip)
    }

    /// The IP address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Name(_) => None,
        }
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::Name(Arc::default())
    }
}
