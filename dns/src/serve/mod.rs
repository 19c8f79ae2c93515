//! The sockets: UDP by our own loop, TCP through hickory-server; both call the same core.

use std::{net::SocketAddr, sync::Arc};

use usher_cluster::{access::Authorizer, catalog::Catalog};

use crate::policy::Policy;

/// An address could not be listened at.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {protocol} {address}: {source}")]
pub struct ListenError {
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// The system's error.
    pub source: std::io::Error,
}

/// A running DNS interface.
pub struct Server {}

impl Server {
    /// Listens at every address, UDP and TCP, and answers from `catalog` by `policy`.
    pub async fn start(
        _addresses: &[SocketAddr],
        _policy: Policy,
        _catalog: Arc<Catalog>,
        _authorizer: Arc<dyn Authorizer>,
    ) -> Result<Self, ListenError> {
        unimplemented!()
    }

    /// Answers by `policy` from now on.
    pub fn reconfigure(&self, _policy: Policy) {
        unimplemented!()
    }

    /// Stops answering.
    pub async fn shutdown(self) {
        unimplemented!()
    }
}
