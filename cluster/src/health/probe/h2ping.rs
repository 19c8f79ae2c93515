//! `h2ping`: passes while an HTTP/2 server acknowledges a PING (RFC 9113 section 6.7); over TLS unless
//! `h2ping_use_tls` is false, when HTTP/2 is spoken without being agreed upon. No request is made.

use h2::{Ping, client};
use tokio::time::timeout_at;

use super::{
    Limit, Outcome, ProbeError, critical,
    dial::HostPort,
    failed, passing,
    stream::{Stream, open},
    text, tls,
};
use crate::{health::options::Tls, local::definition::CheckSpec};

/// A server to ping.
pub(super) struct H2Ping {
    target: HostPort,
    tls: Option<tls::Client>,
}

impl H2Ping {
    pub(super) fn parse(spec: &CheckSpec, files: &Tls) -> Result<Self, ProbeError> {
        let target = HostPort::parse(&spec.h2ping).map_err(|error| ProbeError::field("H2PING", &spec.h2ping, error))?;
        let tls = spec.h2ping_use_tls.unwrap_or(true);
        let tls = tls.then(|| tls::Client::parse(spec, files, tls::Alpn::Http2)).transpose()?;
        Ok(Self { target, tls })
    }

    pub(super) async fn run(&self, limit: Limit) -> Outcome {
        let stream = match open(&self.target, self.tls.as_ref(), limit).await {
            Ok(stream) => stream,
            Err(error) => return failed(format!("Failed to dial to {}: {error}", self.target), &error),
        };
        match timeout_at(limit.deadline, ping(stream)).await {
            Ok(Ok(())) => passing("HTTP2 ping was successful".to_owned()),
            Ok(Err(error)) => critical(format!("HTTP2 ping failed: {error}")),
            Err(_) => critical("HTTP2 ping failed: context deadline exceeded".to_owned()),
        }
    }
}

/// Why nobody acknowledged.
#[derive(Debug, thiserror::Error)]
enum PingError {
    #[error("{}", text::chain(.0))]
    Http2(#[from] h2::Error),
    #[error("the connection was closed")]
    Closed,
}

async fn ping(stream: Stream) -> Result<(), PingError> {
    // Who makes requests keeps the connection open.
    let (_requests, mut connection) = client::handshake(stream).await?;
    // It is there once.
    let mut pings = connection.ping_pong().ok_or(PingError::Closed)?;
    tokio::select! {
        biased;
        acknowledged = pings.ping(Ping::opaque()) => Ok(acknowledged.map(drop)?),
        ended = connection => Err(ended.err().map_or(PingError::Closed, PingError::from)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::probe::testing::{Authority, SHORT, request, run, run_with, server};

    fn spec(target: impl ToString) -> CheckSpec {
        CheckSpec { h2ping: target.to_string(), ..CheckSpec::default() }
    }

    async fn serve(stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) {
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        while let Some(Ok(_)) = connection.accept().await {}
    }

    #[tokio::test]
    async fn an_acknowledged_ping_passes_over_tls_and_without() {
        let success = passing("HTTP2 ping was successful".to_owned());
        let open = server(serve).await;
        assert_eq!(run(CheckSpec { h2ping_use_tls: Some(false), ..spec(open) }).await, success);

        let authority = Authority::new();
        let acceptor = authority.acceptor(b"h2", false);
        let secure = server(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream).await;
                }
            }
        })
        .await;
        assert_eq!(run_with(spec(secure), &authority.trusted()).await, success);
        let outcome = run(spec(secure)).await;
        let reason = format!("Failed to dial to {secure}: tls: invalid peer certificate: UnknownIssuer");
        assert_eq!(outcome, critical(reason));
    }

    #[tokio::test]
    async fn what_does_not_acknowledge_is_critical() {
        let silent = server(|mut stream| async move {
            request(&mut stream).await;
            std::future::pending::<()>().await;
        })
        .await;
        let other = server(|mut stream| async move {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        })
        .await;
        let without_tls = |target: String| CheckSpec { h2ping_use_tls: Some(false), ..spec(target) };
        let limited = CheckSpec { timeout: Some(SHORT), ..without_tls(silent.to_string()) };
        assert_eq!(run(limited).await, critical("HTTP2 ping failed: context deadline exceeded".to_owned()));
        let outcome = run(without_tls(other.to_string())).await;
        assert!(outcome.output.starts_with("HTTP2 ping failed: "), "{}", outcome.output);
        let outcome = run(without_tls("127.0.0.1:1".to_owned())).await;
        let refused = "Failed to dial to 127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused";
        assert_eq!(outcome, critical(refused.to_owned()));
    }

    #[tokio::test]
    async fn tls_without_http2_is_critical() {
        let authority = Authority::new();
        let acceptor = authority.acceptor(b"h3", false);
        let address = server(move |stream| {
            let acceptor = acceptor.clone();
            async move { drop(acceptor.accept(stream).await) }
        })
        .await;
        let outcome = run_with(spec(address), &authority.trusted()).await;
        assert!(outcome.output.starts_with(&format!("Failed to dial to {address}: tls: ")), "{}", outcome.output);
    }
}
