//! An HTTP/2 server that speaks the gRPC health protocol: it answers pings by itself, and says of each service what it
//! is told to.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;
use hyper::{Request, Response, body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Acceptor, body::Answer, lock, tls::Authority};

/// The one method of the protocol that checks use.
const CHECK: &str = "/grpc.health.v1.Health/Check";
/// gRPC's codes for what is not there.
const NOT_FOUND: &str = "5";
const UNIMPLEMENTED: &str = "12";

/// What is said of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It serves.
    Serving,
    /// It does not.
    NotServing,
    /// Nothing, ever.
    Hang,
}

/// By service; the empty name is the server itself. What is not in it is not known.
type Services = Arc<Mutex<BTreeMap<String, Health>>>;

/// A running server.
#[derive(Debug)]
pub struct Grpc {
    services: Services,
    acceptor: Acceptor,
}

impl Grpc {
    /// A server that serves.
    pub fn start() -> Self {
        let services = services();
        let shared = Arc::clone(&services);
        Self { services, acceptor: Acceptor::start(move |stream| serve(Arc::clone(&shared), stream)) }
    }

    /// The same over TLS, with a certificate of `authority` for `localhost` and 127.0.0.1.
    pub fn start_tls(authority: &Authority) -> Self {
        let services = services();
        let (shared, tls) = (Arc::clone(&services), authority.acceptor(&[b"h2"]));
        let acceptor = Acceptor::start(move |stream| {
            let (shared, tls) = (Arc::clone(&shared), tls.clone());
            async move {
                if let Ok(stream) = tls.accept(stream).await {
                    serve(shared, stream).await;
                }
            }
        });
        Self { services, acceptor }
    }

    /// Says this of a service from now on; the empty name is the server itself.
    pub fn set(&self, service: &str, health: Health) {
        lock(&self.services).insert(service.to_owned(), health);
    }

    /// Where it listens.
    pub fn acceptor(&self) -> &Acceptor {
        &self.acceptor
    }
}

fn services() -> Services {
    Arc::new(Mutex::new(BTreeMap::from([(String::new(), Health::Serving)])))
}

async fn serve(services: Services, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let answer = service_fn(move |request| answer(Arc::clone(&services), request));
    // Whoever asks may go away at any time.
    let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
}

async fn answer(services: Services, request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
    if request.uri().path() != CHECK {
        return Ok(refused(UNIMPLEMENTED));
    }
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let health = lock(&services).get(&service_in(&body)).copied();
    let status = match health {
        None => return Ok(refused(NOT_FOUND)),
        Some(Health::Hang) => std::future::pending().await,
        Some(Health::Serving) => 1,
        Some(Health::NotServing) => 2,
    };
    // Five bytes of frame (not compressed, two bytes follow), then field 1, an enumeration.
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    Ok(response(Answer::with_trailers(vec![0, 0, 0, 0, 2, 0x08, status], trailers)))
}

/// The name in a request: behind the frame's five bytes field 1, a string shorter than 128 bytes.
fn service_in(body: &[u8]) -> String {
    match body {
        [_, _, _, _, _, 0x0a, length, name @ ..] => {
            String::from_utf8_lossy(&name[..name.len().min(usize::from(*length))]).into_owned()
        }
        _ => String::new(),
    }
}

fn refused(code: &'static str) -> Response<Answer> {
    let mut response = response(Answer::Frames(Vec::new().into_iter()));
    response.headers_mut().insert("grpc-status", HeaderValue::from_static(code));
    response.headers_mut().insert("grpc-message", HeaderValue::from_static("unknown service"));
    response
}

fn response(body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use hyper::body::Bytes;
    use tokio::net::TcpStream;

    use super::*;
    use crate::backends::runtime;

    /// The status asked for, as gRPC's code and the bytes of the message.
    async fn check(server: &Grpc, service: &str) -> (String, Vec<u8>) {
        let stream = TcpStream::connect(server.acceptor().address()).await.unwrap();
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        let length = u8::try_from(service.len()).unwrap();
        let mut body = vec![0, 0, 0, 0, length + 2, 0x0a, length];
        body.extend_from_slice(service.as_bytes());
        let request = Request::post(format!("http://localhost{CHECK}")).body(Full::new(Bytes::from(body))).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let head = response.headers().get("grpc-status").cloned();
        let collected = response.into_body().collect().await.unwrap();
        let code = head.or_else(|| collected.trailers()?.get("grpc-status").cloned()).unwrap();
        (code.to_str().unwrap().to_owned(), collected.to_bytes().to_vec())
    }

    #[test]
    fn says_of_each_service_what_it_is_told() {
        let server = Grpc::start();
        server.set("web", Health::NotServing);
        runtime().block_on(async {
            assert_eq!(check(&server, "").await, ("0".to_owned(), vec![0, 0, 0, 0, 2, 8, 1]));
            assert_eq!(check(&server, "web").await, ("0".to_owned(), vec![0, 0, 0, 0, 2, 8, 2]));
            assert_eq!(check(&server, "other").await, ("5".to_owned(), vec![]));
        });
    }
}
