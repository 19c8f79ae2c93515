//! The ports between agents: consensus and forwarded calls (TCP), gossip of the datacenter and between datacenters (TCP
//! and UDP).
//!
//! They are taken at the start, so that a port in use is told then and not when the first agent comes to join. This
//! version speaks to no other agent yet: a TCP connection is accepted and closed at once, a datagram is read and dropped
//! (into one buffer per socket, so that a flood of either costs no memory).

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::net::{TcpListener, UdpSocket};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Options, StartError};

/// How long a listener rests after an error that may last (no file descriptor left).
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);
/// Enough to see that something came; the rest of a datagram is cut off by the system.
const DATAGRAM_BUFFER_BYTES: usize = 64;

/// The taken ports.
pub(super) struct Ports {
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
}

impl Ports {
    /// Takes every port `options` names and writes those the system chose (port 0) back into them.
    pub(super) async fn bind(options: &mut Options) -> Result<Self, StartError> {
        let mut ports = Self { tcp: Vec::new(), udp: Vec::new() };
        if options.server {
            options.server_port = ports.bind_tcp(options.bind, options.server_port).await?;
        }
        options.serf_lan_port = ports.bind_both(options.bind, options.serf_lan_port).await?;
        if let Some(port) = options.serf_wan_port.filter(|_| options.server) {
            options.serf_wan_port = Some(ports.bind_both(options.bind, port).await?);
        }
        Ok(ports)
    }

    /// Serves them on `tasks` until `stop`.
    pub(super) fn serve(self, tasks: &TaskTracker, stop: &CancellationToken) {
        for listener in self.tcp {
            tasks.spawn(stop.clone().run_until_cancelled_owned(close_all(listener)));
        }
        for socket in self.udp {
            tasks.spawn(stop.clone().run_until_cancelled_owned(discard_all(socket)));
        }
    }

    async fn bind_both(&mut self, bind: IpAddr, port: u16) -> Result<u16, StartError> {
        let port = self.bind_tcp(bind, port).await?;
        let address = SocketAddr::new(bind, port);
        self.udp.push(UdpSocket::bind(address).await.map_err(|source| cannot_listen("udp", address, source))?);
        Ok(port)
    }

    async fn bind_tcp(&mut self, bind: IpAddr, port: u16) -> Result<u16, StartError> {
        let address = SocketAddr::new(bind, port);
        let refused = |source| cannot_listen("tcp", address, source);
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let port = listener.local_addr().map_err(refused)?.port();
        self.tcp.push(listener);
        Ok(port)
    }
}

fn cannot_listen(protocol: &'static str, address: SocketAddr, source: io::Error) -> StartError {
    StartError::Listen { protocol, address, source }
}

async fn close_all(listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(stream),
            Err(_) => tokio::time::sleep(PAUSE_AFTER_ERROR).await,
        }
    }
}

async fn discard_all(socket: UdpSocket) {
    let mut buffer = [0; DATAGRAM_BUFFER_BYTES];
    loop {
        if socket.recv_from(&mut buffer).await.is_err() {
            tokio::time::sleep(PAUSE_AFTER_ERROR).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::tests::options;

    #[tokio::test]
    async fn a_port_in_use_is_told_with_its_protocol() {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut taken = options("n1");
        taken.server_port = tcp.local_addr().unwrap().port();
        let error = Ports::bind(&mut taken).await.err().unwrap().to_string();
        assert!(error.starts_with(&format!("cannot listen on tcp 127.0.0.1:{}: ", taken.server_port)), "{error}");

        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut taken = options("n1");
        taken.serf_lan_port = udp.local_addr().unwrap().port();
        let error = Ports::bind(&mut taken).await.err().unwrap().to_string();
        assert!(error.starts_with(&format!("cannot listen on udp 127.0.0.1:{}: ", taken.serf_lan_port)), "{error}");
    }
}
