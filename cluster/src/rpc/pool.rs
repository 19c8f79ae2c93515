//! The links of one agent: at most one to each server for each purpose, made when first needed.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use parking_lot::Mutex;

use super::{
    greeting::Greeting,
    link::{Link, Terms},
};

/// Links kept; there are never so many servers. At the limit a link serves the one request it was made for.
const LIMIT: usize = 256;

/// The links. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Pool {
    links: Arc<Mutex<HashMap<(SocketAddr, Greeting), Link>>>,
}

impl Pool {
    /// The link to a server, made if there is none.
    pub(crate) fn link(&self, address: SocketAddr, greeting: Greeting, terms: Terms) -> Link {
        let mut links = self.links.lock();
        if let Some(link) = links.get(&(address, greeting))
            && !link.has_ended()
        {
            return link.clone();
        }
        links.retain(|_, link| !link.has_ended());
        let link = Link::open(address, greeting, terms);
        if links.len() < LIMIT {
            links.insert((address, greeting), link.clone());
        }
        link
    }
}
