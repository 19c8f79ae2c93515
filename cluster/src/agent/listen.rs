//! The ports between agents: consensus and calls (TCP, servers), gossip of the datacenter and between datacenters (UDP
//! and TCP).
//!
//! They are taken before anything else happens, so that a port in use is told at the start and not when the first agent
//! comes to join.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use super::{Options, StartError};
use crate::net::{TcpListener, UdpSocket};

/// How often a free port is looked for that is free for both protocols.
const ATTEMPTS: usize = 16;

/// The sockets of one pool.
pub(super) struct Pool {
    pub(super) udp: UdpSocket,
    pub(super) tcp: TcpListener,
}

/// The taken ports.
pub(super) struct Ports {
    /// Consensus and calls; servers only.
    pub(super) server: Option<TcpListener>,
    /// Gossip of the datacenter.
    pub(super) lan: Pool,
    /// Gossip between datacenters; servers only, and not when it is switched off.
    pub(super) wan: Option<Pool>,
}

impl Ports {
    /// Takes every port `options` names and writes those the system chose (port 0) back into them.
    pub(super) async fn bind(options: &mut Options) -> Result<Self, StartError> {
        let server = match options.server {
            false => None,
            true => {
                let (listener, port) = bind_tcp(options.bind, options.server_port).await?;
                options.server_port = port;
                Some(listener)
            }
        };
        let (lan, port) = bind_both(options.bind, options.serf_lan_port).await?;
        options.serf_lan_port = port;
        let wan = match options.serf_wan_port.filter(|_| options.server) {
            None => None,
            Some(port) => {
                let (wan, port) = bind_both(options.bind, port).await?;
                options.serf_wan_port = Some(port);
                Some(wan)
            }
        };
        Ok(Self { server, lan, wan })
    }
}

/// Both protocols at one port.
async fn bind_both(bind: IpAddr, wanted: u16) -> Result<(Pool, u16), StartError> {
    let mut attempts = if wanted == 0 { ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        let (tcp, port) = bind_tcp(bind, wanted).await?;
        let address = SocketAddr::new(bind, port);
        match UdpSocket::bind(address).await {
            Ok(udp) => return Ok((Pool { udp, tcp }, port)),
            Err(_) if attempts > 0 => {}
            Err(source) => return Err(cannot_listen("udp", address, source)),
        }
    }
}

async fn bind_tcp(bind: IpAddr, port: u16) -> Result<(TcpListener, u16), StartError> {
    let address = SocketAddr::new(bind, port);
    let refused = |source| cannot_listen("tcp", address, source);
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let port = listener.local_addr().map_err(refused)?.port();
    Ok((listener, port))
}

fn cannot_listen(protocol: &'static str, address: SocketAddr, source: io::Error) -> StartError {
    StartError::Listen { protocol, address, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::tests::options;

    #[tokio::test]
    async fn a_port_in_use_is_told_with_its_protocol() {
        let tcp = TcpListener::bind("127.0.0.1:0".parse::<SocketAddr>().unwrap()).await.unwrap();
        let mut taken = options("n1");
        taken.server_port = tcp.local_addr().unwrap().port();
        let error = Ports::bind(&mut taken).await.err().unwrap().to_string();
        assert!(error.starts_with(&format!("cannot listen on tcp 127.0.0.1:{}: ", taken.server_port)), "{error}");

        // Whose TCP port of the same number is somebody else's is no example.
        for _ in 0..100 {
            let udp = UdpSocket::bind("127.0.0.1:0".parse::<SocketAddr>().unwrap()).await.unwrap();
            let mut taken = options("n1");
            taken.serf_lan_port = udp.local_addr().unwrap().port();
            let error = Ports::bind(&mut taken).await.err().unwrap().to_string();
            if error.starts_with(&format!("cannot listen on udp 127.0.0.1:{}: ", taken.serf_lan_port)) {
                return;
            }
        }
        panic!("never told of UDP");
    }

    #[tokio::test]
    async fn a_client_takes_its_gossip_port_alone() {
        let mut client = Options { server: false, ..options("n1") };
        let ports = Ports::bind(&mut client).await.unwrap();
        assert!(ports.server.is_none() && ports.wan.is_none());
        assert_ne!(client.serf_lan_port, 0);
    }
}
