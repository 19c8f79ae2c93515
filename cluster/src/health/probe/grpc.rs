//! `grpc`: asks the gRPC health protocol (`grpc.health.v1.Health/Check`) of `host:port` or `host:port/service`, over TLS
//! with `grpc_use_tls`; SERVING passes, anything else is critical.

use std::{
    future::Future,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use http::{Request, Response, Uri, uri::PathAndQuery};
use hyper::{
    body::Incoming,
    client::conn::http2::{Builder, SendRequest},
    rt::Executor,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tonic::{Code, Status, body::Body, client::GrpcService, metadata::MetadataValue};
use tonic_prost::ProstCodec;

use super::{
    Limit, Outcome, ProbeError, critical,
    dial::HostPort,
    failed, passing,
    stream::{Stream, open},
    text, tls,
};
use crate::{health::options::Tls, local::definition::CheckSpec};

const METHOD: PathAndQuery = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
/// An answer is a number; one that is larger than this is none.
const ANSWER_MAX: usize = 4096;
/// What a connection may hold of what was not read yet: the least HTTP/2 servers expect.
const WINDOW: u32 = 65_535;

/// `grpc.health.v1.HealthCheckRequest`
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(enumeration = "ServingStatus", tag = "1")]
    status: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
enum ServingStatus {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

/// A server to ask.
pub(super) struct Grpc {
    target: HostPort,
    origin: Uri,
    service: Box<str>,
    /// As the definition has it.
    given: Box<str>,
    tls: Option<tls::Client>,
}

impl Grpc {
    pub(super) fn parse(spec: &CheckSpec, files: &Tls) -> Result<Self, ProbeError> {
        let wrong = |reason: String| ProbeError::field("GRPC", &spec.grpc, reason);
        let (address, service) = spec.grpc.split_once('/').unwrap_or((&spec.grpc, ""));
        let target = HostPort::parse(address).map_err(|error| wrong(error.to_string()))?;
        let tls = spec.grpc_use_tls.then(|| tls::Client::parse(spec, files, tls::Alpn::Http2)).transpose()?;
        let origin = Uri::builder()
            .scheme(if tls.is_some() { "https" } else { "http" })
            .authority(target.to_string())
            .path_and_query("/")
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self { target, origin, service: service.into(), given: spec.grpc.as_str().into(), tls })
    }

    pub(super) async fn run(&self, limit: Limit) -> Outcome {
        let asked = match open(&self.target, self.tls.as_ref(), limit).await {
            Ok(stream) => timeout_at(limit.deadline, self.ask(stream, limit)).await,
            Err(error) => {
                let reason = format!("connection error: desc = \"transport: Error while dialing {error}\"");
                return failed(described(Code::Unavailable, &reason), &error);
            }
        };
        match asked {
            Ok(Ok(status)) if status == ServingStatus::Serving as i32 => {
                passing(format!("gRPC check {}: success", self.given))
            }
            Ok(Ok(status)) => critical(format!("gRPC {} serving status: {}", self.given, named(status))),
            Ok(Err(status)) => critical(described(status.code(), &reason(&status))),
            Err(_) => critical(described(Code::DeadlineExceeded, "context deadline exceeded")),
        }
    }

    async fn ask(&self, stream: Stream, limit: Limit) -> Result<i32, Status> {
        let tasks = Tasks::default();
        let (sender, connection) = Builder::new(tasks.clone())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unavailable(&error))?;
        let _ended_with_this = tasks.ended_when_dropped();
        tasks.execute(async move { drop(connection.await) });
        let mut client = tonic::client::Grpc::with_origin(Connection(sender), self.origin.clone())
            .max_decoding_message_size(ANSWER_MAX);
        client.ready().await.map_err(|error| unavailable(&error))?;
        let mut request = tonic::Request::new(HealthCheckRequest { service: self.service.to_string() });
        request.metadata_mut().insert("user-agent", MetadataValue::from_static("Consul Health Check"));
        request.set_timeout(limit.deadline.saturating_duration_since(Instant::now()));
        let codec = ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
        Ok(client.unary(request, METHOD, codec).await?.into_inner().status)
    }
}

fn unavailable(error: &hyper::Error) -> Status {
    Status::unavailable(text::chain(error))
}

/// What the server says, or what went wrong on the way to it.
fn reason(status: &Status) -> String {
    match std::error::Error::source(status) {
        Some(source) => format!("{}: {}", status.message(), text::chain(source)),
        None => status.message().to_owned(),
    }
}

/// As Go's gRPC words it.
fn described(code: Code, message: &str) -> String {
    let code = if code == Code::Cancelled { "Canceled".to_owned() } else { format!("{code:?}") };
    format!("rpc error: code = {code} desc = {message}")
}

fn named(status: i32) -> String {
    match ServingStatus::try_from(status) {
        Ok(ServingStatus::Unknown) => "UNKNOWN".to_owned(),
        Ok(ServingStatus::Serving) => "SERVING".to_owned(),
        Ok(ServingStatus::NotServing) => "NOT_SERVING".to_owned(),
        Ok(ServingStatus::ServiceUnknown) => "SERVICE_UNKNOWN".to_owned(),
        Err(_) => status.to_string(),
    }
}

/// The connection of a run as tonic wants it.
struct Connection(SendRequest<Body>);

impl GrpcService<Body> for Connection {
    type ResponseBody = Incoming;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<Response<Incoming>, hyper::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// The tasks hyper wants for HTTP/2.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    /// Tasks hold on to each other through what they run; this ends them.
    fn ended_when_dropped(&self) -> EndedWhenDropped {
        EndedWhenDropped(self.clone())
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, future: F) {
        self.0.lock().spawn(future);
    }
}

struct EndedWhenDropped(Tasks);

impl Drop for EndedWhenDropped {
    fn drop(&mut self) {
        self.0.0.lock().abort_all();
    }
}

#[cfg(test)]
mod tests;
