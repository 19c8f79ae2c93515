//! An HTTP/1.1 client small enough to be trusted: one connection a request, over TCP or a unix socket.
//!
//! It sends what it is told and nothing else (no `Accept-Encoding`, no `User-Agent`), and gives back what came: status,
//! headers as sent, and the body with only the transfer coding undone. Every wait for the peer has a limit.

use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

/// How long a peer may be silent unless a request says otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(12);

/// The most header lines read before giving up.
const MAX_HEADERS: usize = 200;

/// Where an HTTP server listens.
#[derive(Debug, Clone)]
pub enum Http {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

/// What is asked.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// GET, PUT, ...
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Further headers, sent as they stand.
    pub headers: Vec<(String, String)>,
    /// The body, if any.
    pub body: Option<Vec<u8>>,
    /// Send the body in chunks instead of with a length.
    pub chunked: bool,
    /// How long the server may be silent; [`TIMEOUT`] when not given.
    pub timeout: Option<Duration>,
}

impl Request {
    /// A request without body or further headers.
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.to_owned(), target: target.to_owned(), ..Self::default() }
    }

    /// A request from the words of a command: `PUT /v1/...`.
    pub fn from_line(line: &str) -> Self {
        let (method, target) = line.split_once(' ').unwrap_or(("GET", line));
        Self::new(method, target)
    }

    /// The same with a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// The same with another limit on the server's silence.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    fn head(&self, host: &str) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n", self.method, self.target);
        let mut add = |name: &str, value: &str| head.push_str(&format!("{name}: {value}\r\n"));
        match &self.body {
            _ if self.chunked => add("Transfer-Encoding", "chunked"),
            Some(body) => add("Content-Length", &body.len().to_string()),
            None if matches!(self.method.as_str(), "PUT" | "POST") => add("Content-Length", "0"),
            None => {}
        }
        for (name, value) in &self.headers {
            add(name, value);
        }
        head.push_str("\r\n");
        head
    }

    fn payload(&self) -> Vec<u8> {
        let body = self.body.as_deref().unwrap_or_default();
        if !self.chunked {
            return body.to_vec();
        }
        let mut out = Vec::new();
        for chunk in body.chunks(8192) {
            out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            out.extend_from_slice(chunk);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"0\r\n\r\n");
        out
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers as sent, in their order.
    pub headers: Vec<(String, String)>,
    /// The body, transfer coding undone.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The number in `X-Consul-Index`.
    pub fn index(&self) -> Option<u64> {
        self.header("X-Consul-Index")?.parse().ok()
    }
}

impl Http {
    /// The server on that port of this host.
    pub fn local(port: u16) -> Self {
        Self::Tcp((Ipv4Addr::LOCALHOST, port).into())
    }

    /// GET.
    pub fn get(&self, target: &str) -> io::Result<Response> {
        self.send(&Request::new("GET", target))
    }

    /// PUT of a JSON body.
    pub fn put(&self, target: &str, body: &Value) -> io::Result<Response> {
        self.send(&Request::new("PUT", target).body(body.to_string()))
    }

    /// One request and its answer.
    pub fn send(&self, request: &Request) -> io::Result<Response> {
        read_response(self.open(request)?, request.method == "HEAD")
    }

    /// Sends a request and gives the open connection, its answer unread.
    pub fn open(&self, request: &Request) -> io::Result<Connection> {
        let mut connection = self.connect(request.timeout.unwrap_or(TIMEOUT))?;
        connection.write_all(request.head(&self.to_string()).as_bytes())?;
        match connection.write_all(&request.payload()) {
            // The server may answer and close before it has read the whole body (413).
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {}
            other => other?,
        }
        Ok(connection)
    }

    /// A bare connection.
    pub fn connect(&self, timeout: Duration) -> io::Result<Connection> {
        match self {
            Self::Tcp(addr) => {
                let stream = TcpStream::connect_timeout(addr, timeout)?;
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))?;
                stream.set_nodelay(true)?;
                Ok(Connection::Tcp(stream))
            }
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))?;
                Ok(Connection::Unix(stream))
            }
        }
    }
}

/// As the `Host` header names it.
impl fmt::Display for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(_) => f.write_str("localhost"),
        }
    }
}

/// An open connection to a server.
#[derive(Debug)]
pub enum Connection {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a unix socket.
    Unix(UnixStream),
}

impl Connection {
    /// Whether the server has sent something (or closed) by now. Takes nothing away.
    pub fn readable(&self) -> io::Result<bool> {
        let Self::Tcp(stream) = self else { return Err(io::ErrorKind::Unsupported.into()) };
        stream.set_nonblocking(true)?;
        let looked = stream.peek(&mut [0]);
        stream.set_nonblocking(false)?;
        match looked {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The answer to the request that was sent.
    pub fn response(self) -> io::Result<Response> {
        read_response(self, false)
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn read_response(connection: Connection, head_only: bool) -> io::Result<Response> {
    let mut reader = BufReader::new(connection);
    loop {
        let status = read_status(&mut reader)?;
        let headers = read_headers(&mut reader)?;
        if (100..200).contains(&status) {
            continue;
        }
        let mut response = Response { status, headers, body: Vec::new() };
        if !head_only && status != 204 && status != 304 {
            response.body = read_body(&mut reader, &response)?;
        }
        return Ok(response);
    }
}

fn read_status(reader: &mut impl io::BufRead) -> io::Result<u16> {
    let line = read_line(reader)?;
    let mut words = line.split(' ');
    let version = words.next().unwrap_or_default();
    let status = words.next().and_then(|word| word.parse().ok());
    match status {
        Some(status) if version.starts_with("HTTP/1.") => Ok(status),
        _ => Err(invalid(format!("no HTTP status line: {line:?}"))),
    }
}

fn read_headers(reader: &mut impl io::BufRead) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    for _ in 0..MAX_HEADERS {
        let line = read_line(reader)?;
        if line.is_empty() {
            return Ok(headers);
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid(format!("no header: {line:?}")))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    Err(invalid(format!("more than {MAX_HEADERS} headers")))
}

fn read_body(reader: &mut impl io::BufRead, response: &Response) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if response.header("Transfer-Encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        loop {
            let line = read_line(reader)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| invalid(format!("no chunk size: {line:?}")))?;
            if size == 0 {
                read_headers(reader)?; // the trailer, ended by an empty line
                return Ok(body);
            }
            read_exactly(reader, size, &mut body)?;
            read_line(reader)?;
        }
    }
    if let Some(length) = response.header("Content-Length") {
        let length = length.parse().map_err(|_| invalid(format!("no length: {length:?}")))?;
        read_exactly(reader, length, &mut body)?;
        return Ok(body);
    }
    reader.read_to_end(&mut body)?;
    Ok(body)
}

fn read_exactly(reader: &mut impl io::BufRead, size: usize, into: &mut Vec<u8>) -> io::Result<()> {
    let start = into.len();
    reader.take(size as u64).read_to_end(into)?;
    if into.len() - start == size { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn read_line(reader: &mut impl io::BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
