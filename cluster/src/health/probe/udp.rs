//! `udp`: sends an empty datagram. An answer passes, and so does silence until the timeout, since most servers do not
//! answer what is no request of theirs; only a refusal (ICMP: nobody listens there, no way to the host) is critical.
//!
//! So it tells that a socket is open, and not that anybody reads from it; and over a network that swallows ICMP, not even
//! that. Silence is listened to for the timeout, at most [`SILENCE`]: who has something to say against it has said so.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    time::{Instant, timeout},
};

use super::{Limit, Outcome, ProbeError, critical, dial::HostPort, failed, passing, text};
use crate::local::definition::CheckSpec;

/// Longer than a host needs to find that a neighbour is not there (three questions, a second each).
const SILENCE: Duration = Duration::from_secs(4);

/// A socket to knock at.
pub(super) struct Udp {
    target: HostPort,
    /// As the definition has it.
    given: Box<str>,
}

impl Udp {
    pub(super) fn parse(spec: &CheckSpec) -> Result<Self, ProbeError> {
        let target = HostPort::parse(&spec.udp).map_err(|error| ProbeError::field("UDP", &spec.udp, error))?;
        Ok(Self { target, given: spec.udp.as_str().into() })
    }

    pub(super) async fn run(&self, limit: Limit) -> Outcome {
        let addresses = match self.target.addresses("udp", limit).await {
            Ok(addresses) => addresses,
            Err(error) => return failed(error.to_string(), &error),
        };
        let mut failure = None;
        for address in addresses {
            let knocked = async {
                let socket = connected(address).await?;
                socket.send(&[]).await?;
                socket.recv(&mut [0]).await
            };
            // The local port is another one every time and not told: outputs that differ are changes.
            let left = limit.deadline.saturating_duration_since(Instant::now());
            match timeout(left.min(SILENCE), knocked).await {
                Ok(Ok(_)) | Err(_) => return passing(format!("UDP connect {}: Success", self.given)),
                Ok(Err(error)) => {
                    let reason = format!("read udp {address}: {}", text::io_error(&error));
                    failure.get_or_insert(failed(reason, &error));
                }
            }
        }
        // A host has an address at least.
        failure.unwrap_or_else(|| critical(format!("{} has no address", self.target)))
    }
}

/// A socket that hears `peer` alone, refusals included.
pub(super) async fn connected(peer: SocketAddr) -> std::io::Result<UdpSocket> {
    let any = if peer.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(peer).await?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::probe::testing::{SHORT, refusing, run};

    fn spec(udp: impl Into<String>) -> CheckSpec {
        CheckSpec { udp: udp.into(), ..CheckSpec::default() }
    }

    #[tokio::test]
    async fn an_answer_and_silence_pass() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a port is free");
        let address = silent.local_addr().expect("bound");
        let success = passing(format!("UDP connect {address}: Success"));
        assert_eq!(run(CheckSpec { timeout: Some(SHORT), ..spec(address.to_string()) }).await, success);
        silent.recv_from(&mut [0]).await.expect("the first run's datagram");
        let answer = async {
            let (length, peer) = silent.recv_from(&mut [0]).await.expect("the second run's datagram");
            silent.send_to(b"pong", peer).await.expect("sent");
            length
        };
        assert_eq!(tokio::join!(run(spec(address.to_string())), answer), (success, 0));
    }

    #[tokio::test]
    async fn a_refusal_is_critical() {
        let refusing = refusing().await;
        let address = refusing.local_addr().expect("bound");
        let outcome = run(spec(address.to_string())).await;
        assert_eq!(outcome, critical(format!("read udp {address}: connection refused")));
    }
}
