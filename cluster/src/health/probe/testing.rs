//! What the tests of several kinds share.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::{Options, Outcome, Probe};
use crate::local::definition::CheckSpec;

/// Long enough for anything that ends by itself on a busy machine.
pub(super) const AMPLE: Duration = Duration::from_secs(60);
/// A timeout that is meant to pass.
pub(super) const SHORT: Duration = Duration::from_millis(200);

/// Runs a definition once.
pub(super) async fn run(spec: CheckSpec) -> Outcome {
    probe(spec).run().await
}

/// The probe of a definition that has one.
pub(super) fn probe(spec: CheckSpec) -> Probe {
    let spec = CheckSpec { timeout: spec.timeout.or(Some(AMPLE)), ..spec };
    Probe::new(&spec, &Options::default()).expect("valid").expect("looks for itself")
}

/// A server on loopback that serves every connection with `serve`, side by side.
pub(super) async fn server<S, F>(serve: S) -> SocketAddr
where
    S: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// An HTTP server that gives `answer` to every request, and the requests it got.
pub(super) async fn answering(answer: impl Into<Vec<u8>>) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let answer: Vec<u8> = answer.into();
    let (heard, requests) = mpsc::unbounded_channel();
    let address = server(move |mut stream| {
        let (heard, answer) = (heard.clone(), answer.clone());
        async move {
            let _ = heard.send(request(&mut stream).await);
            let _ = stream.write_all(&answer).await;
        }
    })
    .await;
    (address, requests)
}

/// Reads a request: its head, and as much of a body as its `Content-Length` says.
pub(super) async fn request(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            if body.len() >= length.map_or(0, |length| length.parse().expect("a number")) {
                return text;
            }
        }
        match stream.read_buf(&mut read).await {
            Ok(0) | Err(_) => return text,
            Ok(_) => {}
        }
    }
}
