//! Whom a client agent asks.

use std::net::SocketAddr;

use futures_util::stream::BoxStream;

/// The servers a client agent knows.
pub(crate) trait Servers: Send + Sync + 'static {
    /// One to ask next; `None` while none is known.
    fn pick(&self) -> Option<SocketAddr>;

    /// That one did not answer: others are to be picked first.
    fn failed(&self, server: SocketAddr);

    /// Those that are alive, now and whenever that changes.
    fn alive(&self) -> BoxStream<'static, Vec<SocketAddr>>;
}
