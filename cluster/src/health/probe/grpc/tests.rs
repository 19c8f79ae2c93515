//! gRPC checks against servers that serve, do not, answer nonsense and hang.

use std::net::SocketAddr;

use bytes::Bytes;
use http::HeaderMap;
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite};

use super::*;
use crate::health::probe::{
    testing::{Authority, SHORT, run, run_with, server},
    validate,
};

fn spec(target: impl ToString) -> CheckSpec {
    CheckSpec { grpc: target.to_string(), ..CheckSpec::default() }
}

/// A server of the health protocol: `up` serves, `down` does not, `odd` is in a state of its own, the name "" is up,
/// `hung` gets no answer, others are unknown.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut hung = Vec::new();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        let data = tokio::select! {
            data = read(request.into_body()) => data,
            _ = std::future::poll_fn(|context| connection.poll_closed(context)) => return,
        };
        let asked = HealthCheckRequest::decode(&data[5..]).expect("a request");
        let response = Response::builder().header("content-type", "application/grpc");
        let status = match asked.service.as_str() {
            "" | "up" => 1_u8,
            "down" => 2,
            "odd" => 9,
            "hung" => {
                hung.push(respond);
                continue;
            }
            _ => {
                let refusal = response.header("grpc-status", "5").header("grpc-message", "unknown%20service");
                let _ = respond.send_response(refusal.body(()).expect("a response"), true);
                continue;
            }
        };
        let mut body = respond.send_response(response.body(()).expect("a response"), false).expect("sent");
        body.send_data(Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, status]), false).expect("sent");
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().expect("a value"));
        body.send_trailers(trailers).expect("sent");
    }
}

async fn read(mut body: h2::RecvStream) -> Vec<u8> {
    let mut data = Vec::new();
    while let Some(Ok(piece)) = body.data().await {
        data.extend_from_slice(&piece);
    }
    data
}

#[tokio::test]
async fn serving_passes_and_nothing_else_does() {
    let address = server(serve).await;
    let at = |service: &str| format!("{address}{service}");
    let cases = [
        ("", passing(format!("gRPC check {address}: success"))),
        ("/up", passing(format!("gRPC check {address}/up: success"))),
        ("/down", critical(format!("gRPC {address}/down serving status: NOT_SERVING"))),
        ("/odd", critical(format!("gRPC {address}/odd serving status: 9"))),
        ("/other", critical("rpc error: code = NotFound desc = unknown service".to_owned())),
    ];
    for (service, expected) in cases {
        assert_eq!(run(spec(at(service))).await, expected);
    }
    let hung = CheckSpec { timeout: Some(SHORT), ..spec(at("/hung")) };
    let outcome = run(hung).await;
    assert!(outcome.output.starts_with("rpc error: code = DeadlineExceeded desc = "), "{}", outcome.output);
}

#[tokio::test]
async fn it_is_asked_over_tls() {
    let authority = Authority::new();
    let acceptor = authority.acceptor(b"h2", false);
    let address = server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream).await;
            }
        }
    })
    .await;
    let secure = CheckSpec { grpc_use_tls: true, ..spec(address) };
    let outcome = run_with(secure.clone(), &authority.trusted()).await;
    assert_eq!(outcome, passing(format!("gRPC check {address}: success")));
    let unverified = CheckSpec { tls_skip_verify: true, ..secure.clone() };
    assert_eq!(run(unverified).await, passing(format!("gRPC check {address}: success")));
    assert_eq!(run(secure).await.status, crate::catalog::model::Status::Critical);
}

#[tokio::test]
async fn what_speaks_something_else_is_critical() {
    let close: SocketAddr = server(|_| async {}).await;
    let outcome = run(spec(close)).await;
    assert!(outcome.output.starts_with("rpc error: code = "), "{}", outcome.output);
    let refused = "rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while dialing \
                   dial tcp 127.0.0.1:1: connect: connection refused\"";
    assert_eq!(run(spec("127.0.0.1:1")).await, critical(refused.to_owned()));
    let silent = server(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let outcome = run(CheckSpec { timeout: Some(SHORT), ..spec(silent) }).await;
    assert!(outcome.output.starts_with("rpc error: code = DeadlineExceeded desc = "), "{}", outcome.output);
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let error = validate(&spec("/svc")).expect_err("no address").to_string();
    assert_eq!(error, "Invalid GRPC \"/svc\": missing port in address");
}
