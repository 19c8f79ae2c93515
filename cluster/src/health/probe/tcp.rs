//! `tcp`: passes while a connection can be made. It is closed at once; nothing is sent.

use super::{Limit, Outcome, ProbeError, dial::HostPort, failed, passing};
use crate::local::definition::CheckSpec;

/// A connection to make.
pub(super) struct Tcp {
    target: HostPort,
    /// As the definition has it.
    given: Box<str>,
}

impl Tcp {
    pub(super) fn parse(spec: &CheckSpec) -> Result<Self, ProbeError> {
        let target = HostPort::parse(&spec.tcp).map_err(|error| ProbeError::field("TCP", &spec.tcp, error))?;
        Ok(Self { target, given: spec.tcp.as_str().into() })
    }

    pub(super) async fn run(&self, limit: Limit) -> Outcome {
        match self.target.connect(limit).await {
            Ok(_) => passing(format!("TCP connect {}: Success", self.given)),
            Err(error) => failed(error.to_string(), &error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::probe::{
        critical,
        testing::{SHORT, run, server},
        validate,
    };

    fn spec(tcp: impl Into<String>) -> CheckSpec {
        CheckSpec { tcp: tcp.into(), ..CheckSpec::default() }
    }

    #[tokio::test]
    async fn a_connection_passes_and_a_refusal_does_not() {
        let address = server(|_| async {}).await;
        assert_eq!(run(spec(address.to_string())).await, passing(format!("TCP connect {address}: Success")));
        let refused = critical("dial tcp 127.0.0.1:1: connect: connection refused".to_owned());
        assert_eq!(run(spec("127.0.0.1:1")).await, refused);
        assert_eq!(run(spec("localhost:1")).await, refused);
    }

    #[tokio::test]
    async fn an_address_that_takes_no_connections_ends_in_time() {
        // A listener that accepts nothing, its queue filled: further connections get no answer.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port is free");
        socket.listen(0).expect("it listens");
        let address = socket.local_addr().expect("bound").as_socket().expect("an IP address");
        let mut held = Vec::new();
        while let Ok(Ok(stream)) = tokio::time::timeout(SHORT, tokio::net::TcpStream::connect(address)).await {
            held.push(stream);
        }
        let outcome = run(CheckSpec { timeout: Some(SHORT), ..spec(address.to_string()) }).await;
        assert_eq!(outcome, critical(format!("dial tcp {address}: i/o timeout")));
    }

    #[test]
    fn what_cannot_be_dialed_is_refused() {
        let error = validate(&spec("127.0.0.1")).expect_err("no port");
        assert_eq!(error.to_string(), "Invalid TCP \"127.0.0.1\": missing port in address");
    }
}
