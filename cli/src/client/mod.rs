//! The HTTP client of the command line: one agent, asked over TCP, TLS or a unix socket.
//!
//! ```text
//!   flags + environment ─► settings ─► Client ─► connect ─► one request ─► typed answer or one-line error
//! ```
//!
//! - [`flags`]: what can be given on the command line.
//! - [`settings`]: flags over environment over defaults.
//! - [`address`]: where the agent is.
//! - [`tls`], [`connect`]: getting there.
//! - [`request`]: paths and queries.
//! - [`api`]: the answers, read tolerantly.
//!
//! Knows nothing of commands. A request opens a connection of its own; commands ask once or a few times.

pub mod address;
pub mod api;
pub mod connect;
pub mod error;
pub mod flags;
pub mod request;
pub mod settings;
pub mod tls;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, StatusCode,
    body::Incoming,
    client::conn::http1,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

pub use self::error::ClientError;
use self::{address::Address, connect::Connector, request::Request, settings::Settings};

/// How long reaching the agent may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take; `join` and `leave` wait for others before they answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// The largest answer read. The list of all instances of a catalog of 100,000 is about a quarter of this.
const MAX_ANSWER: usize = 256 << 20;
/// The header that says which index an answer belongs to.
const INDEX: &str = "x-consul-index";
/// And the one that tells the hash, where there is one.
const HASH: &str = "x-consul-contenthash";
/// How much of an error's text is read.
const MAX_ERROR: usize = 64 << 10;

/// From where on a question waits for a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The index of what is known; 0 for nothing.
    pub index: u64,
    /// The hash of what is known, where that is what the agent goes by; empty for nothing.
    pub hash: String,
}

/// A client of one agent.
pub struct Client {
    connector: Connector,
    token: String,
    basic_auth: Option<String>,
    datacenter: String,
    stale: bool,
}

impl Client {
    /// Prepares a client; reads the files the settings name, but connects to nothing yet.
    pub fn new(settings: Settings) -> Result<Self, ClientError> {
        let token = settings.resolve_token()?;
        let tls = match settings.address {
            Address::Tcp { tls: true, .. } => Some(tls::configuration(&settings.tls)?),
            _ => None,
        };
        Ok(Self {
            connector: Connector::new(settings.address, tls, settings.tls.server_name),
            token,
            basic_auth: settings.basic_auth,
            datacenter: settings.datacenter,
            stale: settings.stale,
        })
    }

    /// A query of the agent itself.
    pub fn agent(&self, path: impl Into<String>) -> Request {
        Request::new(path)
    }

    /// A query of the cluster: carries the datacenter and consistency asked for by flags.
    pub fn cluster(&self, path: impl Into<String>) -> Request {
        self.scoped(Request::new(path))
    }

    /// The same for what is called `name` below `path`.
    pub fn cluster_of(&self, path: impl Into<String>, name: &str) -> Request {
        self.scoped(Request::new(path).segment(name))
    }

    fn scoped(&self, request: Request) -> Request {
        let request = request.with_some("dc", &self.datacenter);
        if self.stale { request.present("stale") } else { request }
    }

    /// Asks, and reads the JSON answer.
    pub async fn get<T: DeserializeOwned>(&self, request: Request) -> Result<T, ClientError> {
        let url = self.url(&request);
        let bytes = self.whole(Method::GET, &request, None).await?;
        serde_json::from_slice(&bytes).map_err(|source| ClientError::Json { url, source })
    }

    /// Asks and waits up to `wait` for a change (and the sixteenth agents add to it); gives the index and the hash the
    /// answer belongs to, where it tells them.
    pub async fn marked(&self, request: Request, wait: Duration) -> Result<(Mark, Value), ClientError> {
        let url = self.url(&request);
        let limit = wait + wait / 16 + ANSWER_TIMEOUT;
        let exchange = async {
            let answer = self.exchange(Method::GET, &request, None).await?;
            let field = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let mark = Mark { index: field(INDEX).parse().unwrap_or(0), hash: field(HASH).to_owned() };
            Ok::<_, ClientError>((mark, collect(answer.into_body(), MAX_ANSWER, &url).await?))
        };
        let (mark, bytes) = match timeout(limit, exchange).await {
            Ok(result) => result?,
            Err(_) => return Err(ClientError::Timeout { url, seconds: limit.as_secs() }),
        };
        let value = serde_json::from_slice(&bytes).map_err(|source| ClientError::Json { url, source })?;
        Ok((mark, value))
    }

    /// Tells the agent to do something; the answer is of no interest.
    pub async fn put(&self, request: Request, body: Option<&Value>) -> Result<(), ClientError> {
        self.whole(Method::PUT, &request, body).await.map(drop)
    }

    /// The same with another method than `PUT`.
    pub async fn change(&self, method: Method, request: Request, body: Option<&Value>) -> Result<(), ClientError> {
        self.whole(method, &request, body).await.map(drop)
    }

    /// Tells the agent to do something, and reads whether it was done.
    pub async fn put_if<T: DeserializeOwned>(&self, request: Request, body: &Value) -> Result<T, ClientError> {
        let url = self.url(&request);
        let bytes = self.whole(Method::PUT, &request, Some(body)).await?;
        serde_json::from_slice(&bytes).map_err(|source| ClientError::Json { url, source })
    }

    /// Asks for an answer that does not end.
    pub async fn stream(&self, request: Request) -> Result<Stream, ClientError> {
        let url = self.url(&request);
        let body = self.send(Method::GET, &request, None).await?;
        Ok(Stream { body, url })
    }

    async fn whole(&self, method: Method, request: &Request, body: Option<&Value>) -> Result<Bytes, ClientError> {
        let url = self.url(request);
        let exchange = async {
            let answer = self.send(method, request, body).await?;
            collect(answer, MAX_ANSWER, &url).await
        };
        match timeout(ANSWER_TIMEOUT, exchange).await {
            Ok(result) => result,
            Err(_) => Err(ClientError::Timeout { url: url.clone(), seconds: ANSWER_TIMEOUT.as_secs() }),
        }
    }

    async fn send(&self, method: Method, request: &Request, body: Option<&Value>) -> Result<Incoming, ClientError> {
        self.exchange(method, request, body).await.map(http::Response::into_body)
    }

    /// Sends a request and waits for the head of its answer, which must not be a refusal.
    async fn exchange(
        &self,
        method: Method,
        request: &Request,
        body: Option<&Value>,
    ) -> Result<http::Response<Incoming>, ClientError> {
        let url = self.url(request);
        let failed = |source| ClientError::Http { url: url.clone(), source };
        let io = match timeout(CONNECT_TIMEOUT, self.connector.connect()).await {
            Ok(io) => io?,
            Err(_) => return Err(ClientError::Timeout { url, seconds: CONNECT_TIMEOUT.as_secs() }),
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(failed)?;
        // Ends when the answer has been read or the client is dropped; what goes wrong shows in the answer.
        tokio::spawn(connection);
        let message = self.message(method, request, body).map_err(|source| ClientError::Request { source })?;
        let answer = sender.send_request(message).await.map_err(failed)?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(refusal(answer.status(), answer.into_body(), &url).await)
    }

    fn message(
        &self,
        method: Method,
        request: &Request,
        body: Option<&Value>,
    ) -> Result<hyper::Request<Full<Bytes>>, http::Error> {
        let target = format!("{}{}", self.connector.address().prefix(), request.target());
        let mut message = hyper::Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, self.connector.address().host_header())
            .header(USER_AGENT, concat!("usher/", env!("CARGO_PKG_VERSION")));
        if !self.token.is_empty() {
            message = message.header("X-Consul-Token", &self.token);
        }
        if let Some(credentials) = &self.basic_auth {
            message = message.header(AUTHORIZATION, credentials);
        }
        match body {
            Some(value) => {
                message.header(CONTENT_TYPE, "application/json").body(Full::new(Bytes::from(value.to_string())))
            }
            None => message.body(Full::default()),
        }
    }

    fn url(&self, request: &Request) -> String {
        format!("{}{}", self.connector.address(), request.target())
    }
}

/// An answer that comes in pieces.
pub struct Stream {
    body: Incoming,
    url: String,
}

impl Stream {
    /// The next piece; `None` when the agent has ended the answer.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|source| ClientError::Http { url: self.url.clone(), source })?;
            if let Ok(bytes) = frame.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

async fn collect(body: Incoming, limit: usize, url: &str) -> Result<Bytes, ClientError> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) => match error.downcast::<hyper::Error>() {
            Ok(source) => Err(ClientError::Http { url: url.to_owned(), source: *source }),
            Err(_) => Err(ClientError::TooLarge { url: url.to_owned(), limit }),
        },
    }
}

/// An answer that says no: its text, or what is wrong with that.
async fn refusal(status: StatusCode, body: Incoming, url: &str) -> ClientError {
    match collect(body, MAX_ERROR, url).await {
        Ok(bytes) => ClientError::Status { code: status.as_u16(), text: String::from_utf8_lossy(&bytes).into_owned() },
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        os::unix::net::UnixListener,
        thread::{JoinHandle, spawn},
    };

    use serde_json::json;

    use super::{settings::TlsSettings, *};

    fn settings(address: &str) -> Settings {
        Settings {
            address: Address::parse(address, false).unwrap(),
            token: "secret".into(),
            token_file: None,
            basic_auth: Some("Basic dTpw".into()),
            datacenter: "dc2".into(),
            stale: true,
            tls: TlsSettings::default(),
        }
    }

    /// Reads one request with its body, answers and returns what it read.
    fn answer(mut stream: impl Read + Write, answer: &str) -> String {
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            request.push(byte[0]);
        }
        let head = String::from_utf8(request).unwrap();
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        head + &String::from_utf8(body).unwrap()
    }

    /// An agent on a port of its own that answers once.
    fn agent(text: &'static str) -> (Client, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("{}/base", listener.local_addr().unwrap());
        let agent = spawn(move || answer(listener.accept().unwrap().0, text));
        (Client::new(settings(&address)).unwrap(), agent)
    }

    const EMPTY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

    #[tokio::test]
    async fn a_query_carries_what_flags_say() {
        let (client, agent) =
            agent("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n2\r\n,2\r\n1\r\n]\r\n0\r\n\r\n");
        let numbers: Vec<u8> = client.get(client.cluster_of("/v1/x", "a b").with("near", "n")).await.unwrap();
        assert_eq!(numbers, [1, 2]);
        let request = agent.join().unwrap();
        assert!(request.starts_with("GET /base/v1/x/a%20b?dc=dc2&stale&near=n HTTP/1.1\r\n"), "{request}");
        for header in ["host: 127.0.0.1:", "x-consul-token: secret\r\n", "authorization: Basic dTpw\r\n"] {
            assert!(request.contains(header), "{request}");
        }
    }

    #[tokio::test]
    async fn a_command_carries_its_body() {
        let (client, agent) = agent(EMPTY);
        client.put(client.agent("/v1/y"), Some(&json!({"Name": "web"}))).await.unwrap();
        let request = agent.join().unwrap();
        assert!(request.starts_with("PUT /base/v1/y HTTP/1.1\r\n"), "{request}");
        assert!(request.ends_with("\r\n\r\n{\"Name\":\"web\"}"), "{request}");
    }

    #[tokio::test]
    async fn a_unix_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("http.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let agent = spawn(move || answer(listener.accept().unwrap().0, EMPTY));
        let client = Client::new(settings(&format!("unix://{}", path.display()))).unwrap();
        client.put(client.agent("/v1/z"), None).await.unwrap();
        let request = agent.join().unwrap();
        assert!(request.starts_with("PUT /v1/z HTTP/1.1\r\n") && request.contains("host: localhost\r\n"), "{request}");
    }

    #[tokio::test]
    async fn pieces_come_one_by_one() {
        let (client, agent) =
            agent("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n4\r\ntwo\n\r\n0\r\n\r\n");
        let mut stream = client.stream(client.agent("/v1/agent/monitor")).await.unwrap();
        let mut text = Vec::new();
        while let Some(bytes) = stream.next().await.unwrap() {
            text.extend_from_slice(&bytes);
        }
        assert_eq!(text, b"one\ntwo\n");
        agent.join().unwrap();
    }

    #[tokio::test]
    async fn a_refusal_is_told_with_its_text() {
        let table = [
            ("HTTP/1.1 500 X\r\nContent-Length: 5\r\n\r\na\n\tb\n", "Unexpected response code: 500 (a b)"),
            ("HTTP/1.1 301 X\r\nContent-Length: 0\r\n\r\n", "Unexpected response code: 301 ()"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{]", "unexpected answer: "),
            ("SSH-2.0-OpenSSH\r\n", "the answer is not HTTP"),
            ("", "connection closed"),
        ];
        for (text, expected) in table {
            let (client, agent) = agent(text);
            let error = client.get::<serde_json::Value>(client.agent("/v1/x")).await.unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains('\n'), "{error}");
            agent.join().unwrap();
        }
    }

    #[tokio::test]
    async fn nobody_there() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let client = Client::new(settings(&address.to_string())).unwrap();
        let error = client.put(client.agent("/v1/x"), None).await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("no agent answers at http://{address}: ")), "{error}");
    }
}
