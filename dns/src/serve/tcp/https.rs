//! DNS over HTTPS (RFC 8484), on HTTP/2: a task a connection, and one a request.
//!
//! ```text
//!   TLS ─► HTTP/2 ─► GET /dns-query?dns=…  |  POST /dns-query ─► message ─► one::answer ─► 200, or why not
//! ```
//!
//! | request | status |
//! |---|---|
//! | another path; another method | 404; 405 |
//! | POST of another type; a message over 65,535 bytes; one that does not come within 10 s | 415; 413; 408 |
//! | no `dns` in a GET, or not base64url; bytes that deserve no reply | 400 |
//! | too much is held for slow clients | 503 |
//!
//! hickory-server knows no GET, which RFC 8484 4.1 wants, and closes a request it does not like without a status. HTTP/1.1
//! is not spoken: the RFC recommends HTTP/2 as the minimum (5.2).

use std::{future::poll_fn, io, net::IpAddr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    server::{Connection, SendResponse},
};
use hickory_proto::{op::Message, rr::RData};
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE},
};
use rustls::{ServerConfig, crypto::aws_lc_rs, server::ResolvesServerCert};
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    connection::{DRAIN, IDLE},
    places::{Held, Leave, Place},
};
use crate::{
    client::{Client, Transport},
    serve::{one, shared::Shared},
};

/// The path of the URI template `https://host/dns-query{?dns}`.
const PATH: &str = "/dns-query";
/// The media type of DNS messages (RFC 8484 6).
const MESSAGE: &str = "application/dns-message";
/// Largest message.
const MESSAGE_MAX: usize = 65_535;
/// Most requests of one connection at once; a client is told and waits. Clients start with no more than this before they
/// are told (RFC 9113 6.5.2).
const STREAMS_MAX: u32 = 100;
/// Largest head of a request, a message in a GET included; beyond, HTTP/2 refuses it with 431.
const HEAD_MAX: u32 = 16 << 10;
/// Most bytes of one reply that wait within HTTP/2 for the connection; the rest waits with its request.
const SEND_MAX: usize = 16 << 10;

/// TLS for HTTP/2 with this certificate.
pub(super) fn acceptor(certificate: Arc<dyn ResolvesServerCert>) -> Result<TlsAcceptor, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves a client until one side has enough.
pub(super) async fn serve(
    stream: TcpStream,
    address: IpAddr,
    acceptor: &TlsAcceptor,
    shared: &Arc<Shared>,
    mut place: Place,
) -> io::Result<()> {
    let opened = tokio::select! {
        _ = &mut place.told => return Ok(()),
        opened = timeout(IDLE, open(stream, acceptor)) => opened,
    };
    let mut connection = opened.map_err(|_| io::ErrorKind::TimedOut)??;
    let mut requests = JoinSet::new();
    let mut last = Instant::now();
    // Once the client is told that this is the end, it has a moment to take what is under way.
    let mut finishing = false;
    loop {
        place.note(last, !requests.is_empty());
        let wait = if finishing { DRAIN } else { IDLE };
        tokio::select! {
            told = &mut place.told, if !finishing => {
                if told != Ok(Leave::Finished) {
                    return Ok(());
                }
                (finishing, last) = (true, Instant::now());
                connection.graceful_shutdown();
            }
            accepted = connection.accept() => {
                let Some(accepted) = accepted else { return Ok(()) };
                let (request, respond) = accepted.map_err(io::Error::other)?;
                let (shared, held) = (shared.clone(), place.held.another());
                requests.spawn(async move {
                    if let Err(error) = exchange(&shared, address, request, respond, held).await {
                        tracing::debug!(%error, "DNS request over HTTPS failed");
                    }
                });
            }
            Some(_) = requests.join_next() => if !finishing { last = Instant::now() },
            () = sleep_until(last + wait), if finishing || requests.is_empty() => {
                if finishing {
                    return Ok(());
                }
                (finishing, last) = (true, Instant::now());
                connection.graceful_shutdown();
            }
        }
    }
}

async fn open(stream: TcpStream, acceptor: &TlsAcceptor) -> io::Result<Connection<TlsStream<TcpStream>, Bytes>> {
    let stream = acceptor.accept(stream).await?;
    let mut http = h2::server::Builder::new();
    http.max_concurrent_streams(STREAMS_MAX).max_header_list_size(HEAD_MAX).max_send_buffer_size(SEND_MAX);
    http.handshake(stream).await.map_err(io::Error::other)
}

/// Answers one request. An error is the connection's or the client's end.
async fn exchange(
    shared: &Arc<Shared>,
    address: IpAddr,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    mut held: Held,
) -> Result<(), h2::Error> {
    let message = match message(request, &mut held).await {
        Ok(message) => message,
        Err(status) => return refuse(respond, status),
    };
    let client = Client { address: Some(address), ..Client::by(Transport::Https) };
    let Some(reply) = one::answer(shared, &message, &client).await else {
        return refuse(respond, StatusCode::BAD_REQUEST);
    };
    if !held.set(reply.len()) {
        return refuse(respond, StatusCode::SERVICE_UNAVAILABLE);
    }
    let sending = send(respond, reply);
    // A client that takes nothing any more: its request is dropped, and HTTP/2 told so.
    timeout(IDLE, sending).await.unwrap_or(Ok(()))
}

/// The DNS message of a request.
async fn message(request: Request<RecvStream>, held: &mut Held) -> Result<Vec<u8>, StatusCode> {
    if request.uri().path() != PATH {
        return Err(StatusCode::NOT_FOUND);
    }
    match *request.method() {
        Method::GET => in_query(request.uri()).ok_or(StatusCode::BAD_REQUEST),
        Method::POST => {
            let is_message = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(MESSAGE.as_bytes());
            if !request.headers().get(CONTENT_TYPE).is_some_and(is_message) {
                return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
            }
            timeout(IDLE, body(request.into_body(), held)).await.unwrap_or(Err(StatusCode::REQUEST_TIMEOUT))
        }
        _ => Err(StatusCode::METHOD_NOT_ALLOWED),
    }
}

/// The message in `?dns=`, base64url without padding (RFC 8484 6).
fn in_query(uri: &Uri) -> Option<Vec<u8>> {
    let text = uri.query()?.split('&').find_map(|pair| pair.strip_prefix("dns="))?;
    URL_SAFE_NO_PAD.decode(text).ok()
}

async fn body(mut body: RecvStream, held: &mut Held) -> Result<Vec<u8>, StatusCode> {
    let mut message = Vec::new();
    while let Some(part) = body.data().await {
        let part = part.map_err(|_| StatusCode::BAD_REQUEST)?;
        if message.len() + part.len() > MESSAGE_MAX {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        if !held.set(message.len() + part.len()) {
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        message.extend_from_slice(&part);
        let _the_stream_may_be_over = body.flow_control().release_capacity(part.len());
    }
    Ok(message)
}

async fn send(mut respond: SendResponse<Bytes>, reply: Vec<u8>) -> Result<(), h2::Error> {
    let mut response = Response::new(());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MESSAGE));
    headers.insert(CONTENT_LENGTH, reply.len().into());
    if let Ok(value) = HeaderValue::try_from(format!("max-age={}", lifetime(&reply))) {
        headers.insert(CACHE_CONTROL, value);
    }
    let stream = respond.send_response(response, false)?;
    send_body(stream, reply.into()).await
}

/// Hands the body over as fast as the client takes it.
async fn send_body(mut stream: SendStream<Bytes>, mut rest: Bytes) -> Result<(), h2::Error> {
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        let Some(room) = poll_fn(|cx| stream.poll_capacity(cx)).await.transpose()? else { return Ok(()) };
        let part = rest.split_to(room.min(rest.len()));
        stream.send_data(part, rest.is_empty())?;
    }
    Ok(())
}

fn refuse(mut respond: SendResponse<Bytes>, status: StatusCode) -> Result<(), h2::Error> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
    }
    respond.send_response(response, true).map(drop)
}

/// How long the reply may be kept, in seconds: the smallest TTL of its answers, without any that of the denial (RFC 8484
/// 5.1, RFC 2308 5).
fn lifetime(reply: &[u8]) -> u32 {
    let Ok(reply) = Message::from_vec(reply) else { return 0 };
    let denial = reply.authorities.iter().filter_map(|record| match &record.data {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    });
    reply.answers.iter().map(|record| record.ttl).min().or_else(|| denial.min()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_get_has_its_message_in_the_query() {
        let cases: [(&str, Option<&[u8]>); 7] = [
            ("/dns-query?dns=AAEC", Some(&[0, 1, 2])),
            ("/dns-query?ct=x&dns=_-8", Some(&[0xff, 0xef])),
            ("/dns-query?dns=", Some(b"")),
            ("/dns-query?dns=AAE=", None),
            ("/dns-query?dns=+/8", None),
            ("/dns-query?dnsx=AAEC", None),
            ("/dns-query", None),
        ];
        for (uri, message) in cases {
            assert_eq!(in_query(&uri.parse().unwrap()).as_deref(), message, "{uri}");
        }
    }

    #[test]
    fn a_reply_may_be_kept_as_long_as_its_shortest_record() {
        let reply = |records: &[&[u8]], counts: [u8; 2]| {
            let mut reply = b"\0\0\x80\0\0\0\0\0\0\0\0\0".to_vec();
            [reply[7], reply[9]] = counts;
            reply.extend(records.concat());
            lifetime(&reply)
        };
        let a = |ttl: u8| [&b"\0\0\x01\0\x01\0\0\0"[..], &[ttl], b"\0\x04\x0a\0\0\x01"].concat();
        let soa = |ttl: u8, minimum: u8| {
            [&b"\0\0\x06\0\x01\0\0\0"[..], &[ttl], b"\0\x16\0\0", &[0; 16], &[0, 0, 0, minimum]].concat()
        };
        assert_eq!(reply(&[&a(30), &a(20), &soa(9, 9)], [2, 1]), 20);
        assert_eq!(reply(&[&soa(60, 10)], [0, 1]), 10);
        assert_eq!(reply(&[&soa(5, 10)], [0, 1]), 5);
        assert_eq!(reply(&[], [0, 0]), 0);
    }
}
