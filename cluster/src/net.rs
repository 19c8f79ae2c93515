//! The sockets agents speak to each other through. Everything between agents (rpc, gossip) takes them from here and not
//! from tokio, so that a whole cluster can run in one process under a simulated network.

pub(crate) use tokio::net::{TcpListener, TcpStream, UdpSocket};
