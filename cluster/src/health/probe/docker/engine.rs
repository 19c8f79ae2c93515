//! Calls of the engine's API, each over a connection of its own.

use std::{fmt, io};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use tokio::{net::UnixStream, time::sleep};
use tokio_util::either::Either;

use crate::{
    health::probe::{
        Limit,
        dial::{DialError, HostPort},
        output::{PACE, Pace},
        stream::beside,
        text,
    },
    net::TcpStream,
};

/// What is read of an answer that is JSON.
const ANSWER_MAX: usize = 64 * 1024;
/// What stands for itself in a path (RFC 3986 section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where an engine listens.
pub(super) enum Engine {
    Unix(Box<str>),
    Tcp(HostPort),
}

/// Why the engine did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum EngineError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("dial unix {path}: connect: {}", text::io_error(source))]
    Connect { path: String, source: io::Error },
    #[error("{}", text::chain(.0))]
    Http(#[from] hyper::Error),
    #[error("the request cannot be written: {0}")]
    Request(String),
}

/// Part of a path.
pub(super) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

impl Engine {
    /// Reads the form of `DOCKER_HOST`. The error says what is wrong.
    pub(super) fn parse(host: &str) -> Result<Self, String> {
        match host.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(("tcp" | "http", address)) => {
                let address = address.split('/').next().unwrap_or_default();
                HostPort::parse(address).map(Self::Tcp).map_err(|error| error.to_string())
            }
            _ => Err("an engine is named as unix:///PATH or tcp://HOST:PORT".to_owned()),
        }
    }

    /// Posts JSON, or gets where there is none; the status and the (cut) answer.
    pub(super) async fn call(
        &self,
        path: &str,
        body: Option<&impl Serialize>,
        limit: Limit,
    ) -> Result<(u16, Vec<u8>), EngineError> {
        let request = self.request(path, body)?;
        self.exchange(request, limit, |_| None).await
    }

    /// Posts JSON and gives what a successful answer streams to `read`, which tells how much there was in all.
    pub(super) async fn stream(
        &self,
        path: &str,
        body: &impl Serialize,
        limit: Limit,
        mut read: impl FnMut(&[u8]) -> u64,
    ) -> Result<(u16, Vec<u8>), EngineError> {
        let request = self.request(path, Some(body))?;
        self.exchange(request, limit, |bytes| Some(read(bytes))).await
    }

    fn request(&self, path: &str, body: Option<&impl Serialize>) -> Result<Request<Full<Bytes>>, EngineError> {
        let failed = |error: &dyn fmt::Display| EngineError::Request(error.to_string());
        let json = body.map(serde_json::to_vec).transpose().map_err(|error| failed(&error))?;
        let host = match self {
            Self::Unix(_) => "docker".to_owned(),
            Self::Tcp(address) => address.to_string(),
        };
        Request::builder()
            .method(if body.is_some() { Method::POST } else { Method::GET })
            .uri(path)
            .header(header::HOST, host)
            .header(header::CONNECTION, HeaderValue::from_static("close"))
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(Full::new(Bytes::from(json.unwrap_or_default())))
            .map_err(|error| failed(&error))
    }

    /// `stream` takes pieces of a successful answer and tells how much there was; an answer it does not want is returned.
    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        limit: Limit,
        stream: impl FnMut(&[u8]) -> Option<u64>,
    ) -> Result<(u16, Vec<u8>), EngineError> {
        let io = self.connect(limit).await?;
        let (mut sender, connection) =
            http1::Builder::new().max_buf_size(ANSWER_MAX).handshake(TokioIo::new(io)).await?;
        beside(connection, async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let answer = if status.is_success() {
                read(response.into_body(), stream).await
            } else {
                read(response.into_body(), |_| None).await
            };
            Ok((status.as_u16(), answer))
        })
        .await
    }

    async fn connect(&self, limit: Limit) -> Result<Either<UnixStream, TcpStream>, EngineError> {
        match self {
            Self::Tcp(address) => Ok(Either::Right(address.connect(limit).await?)),
            Self::Unix(path) => {
                let connected = UnixStream::connect(&**path).await;
                connected.map(Either::Left).map_err(|source| EngineError::Connect { path: path.to_string(), source })
            }
        }
    }
}

/// Reads to the end. The engine cuts some answers off with a reset although all of it came: what came counts.
async fn read(mut body: Incoming, mut stream: impl FnMut(&[u8]) -> Option<u64>) -> Vec<u8> {
    let (mut answer, mut pace) = (Vec::new(), Pace::default());
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        match stream(&data) {
            Some(total) if pace.is_due(total) => sleep(PACE).await,
            Some(_) => {}
            None if answer.len() + data.len() > ANSWER_MAX => break,
            None => answer.extend_from_slice(&data),
        }
    }
    answer
}
