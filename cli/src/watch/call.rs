//! Telling an HTTP server: the JSON is the body of a request; redirects are followed as Go's client does, and with it
//! Consul's.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::time::timeout;
use url::{Position, Url};

use super::{engine::Change, handler::HandlerError, spec::HttpHandler};
use crate::client::{address::Address, connect::Connector, settings::TlsSettings, tls};

/// Requests of one exchange: the first, and those redirects ask for.
const REQUESTS_MAX: usize = 10;

/// Sends `change` to a server; gives the beginning of what it answered.
pub(super) async fn send(handler: &HttpHandler, change: &Change) -> Result<String, HandlerError> {
    let failed = |problem: String| HandlerError::Http { url: shown(&handler.url), problem };
    match timeout(handler.timeout, follow(handler, change)).await {
        Ok(result) => result.map_err(failed),
        Err(_) => Err(failed(format!("no answer within {:?}", handler.timeout))),
    }
}

/// A URL for the log: without its password.
fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    if shown.password().is_some() {
        // One with a password has a host, and takes another one.
        let _ = shown.set_password(Some("xxxxx"));
    }
    shown.to_string()
}

/// What is asked next.
struct Step {
    url: Url,
    method: Method,
    body: Option<Bytes>,
    /// Whether it goes to the host that was named: others are not told secrets.
    at_home: bool,
}

/// What came back.
enum Answer {
    Said(String),
    Elsewhere { status: StatusCode, location: Option<HeaderValue> },
}

async fn follow(handler: &HttpHandler, change: &Change) -> Result<String, String> {
    let home = &handler.url;
    let method = Method::from_bytes(handler.method.as_bytes()).map_err(|error| error.to_string())?;
    let body = Some(Bytes::from(change.json.clone() + "\n"));
    let mut step = Step { url: home.clone(), method, body, at_home: true };
    for _ in 0..REQUESTS_MAX {
        match exchange(handler, change, &step).await? {
            Answer::Said(text) => return Ok(text),
            Answer::Elsewhere { status, location } => step = step.redirected(status, location, home)?,
        }
    }
    Err(format!("stopped after {REQUESTS_MAX} redirects"))
}

impl Step {
    fn redirected(self, status: StatusCode, location: Option<HeaderValue>, home: &Url) -> Result<Self, String> {
        let location = location.ok_or_else(|| format!("{} response missing Location header", status.as_u16()))?;
        let text = String::from_utf8_lossy(location.as_bytes()).into_owned();
        let url =
            self.url.join(&text).map_err(|error| format!("failed to parse Location header \"{text}\": {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("unsupported protocol scheme \"{}\"", url.scheme()));
        }
        let at_home = url.host() == home.host();
        // RFC 9110 section 15.4: the last two repeat the request as it was; of the others a GET is made, as everybody does.
        let repeats = matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
        let keeps = repeats || self.method == Method::GET || self.method == Method::HEAD;
        let method = if keeps { self.method } else { Method::GET };
        Ok(Self { url, method, body: self.body.filter(|_| repeats), at_home })
    }

    fn request(&self, handler: &HttpHandler, change: &Change) -> Result<hyper::Request<Full<Bytes>>, String> {
        let mut request = hyper::Request::builder()
            .method(&self.method)
            .uri(&self.url[Position::BeforePath..Position::AfterQuery])
            .body(Full::new(self.body.clone().unwrap_or_default()))
            .map_err(|error| error.to_string())?;
        let headers = request.headers_mut();
        if self.body.is_some() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("usher/", env!("CARGO_PKG_VERSION"))));
        let host = &self.url[Position::BeforeHost..Position::AfterPort];
        headers.insert(header::HOST, HeaderValue::from_str(host).map_err(|error| error.to_string())?);
        headers.insert("x-consul-index", HeaderValue::from(change.index));
        if let Some(credentials) = self.credentials() {
            headers.insert(header::AUTHORIZATION, credentials);
        }
        let secret = [header::AUTHORIZATION, header::COOKIE, header::WWW_AUTHENTICATE];
        for (name, values) in &handler.headers {
            let known = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("\"{name}\" is no header"))?;
            // Go has the host from the URL alone.
            if known == header::HOST || (!self.at_home && secret.contains(&known)) {
                continue;
            }
            headers.remove(&known);
            for value in values {
                let value = HeaderValue::from_str(value).map_err(|_| format!("the header {name} holds no text"))?;
                headers.append(known.clone(), value);
            }
        }
        Ok(request)
    }

    /// What the URL says of who asks (RFC 7617).
    fn credentials(&self) -> Option<HeaderValue> {
        if self.url.username().is_empty() && self.url.password().is_none() {
            return None;
        }
        let decoded = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
        let mut pair = decoded(self.url.username());
        pair.push(b':');
        pair.extend(decoded(self.url.password().unwrap_or_default()));
        HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))).ok()
    }
}

async fn exchange(handler: &HttpHandler, change: &Change, step: &Step) -> Result<Answer, String> {
    let request = step.request(handler, change)?;
    let secure = step.url.scheme() == "https";
    let host = step.url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = step.url.port_or_known_default().unwrap_or(80);
    let tls = match secure {
        false => None,
        true => {
            let settings = TlsSettings { skip_verify: handler.skip_verify, ..TlsSettings::default() };
            Some(tls::configuration(&settings).map_err(|error| error.to_string())?)
        }
    };
    let address = Address::Tcp { host, port, tls: secure, prefix: String::new() };
    let stream = Connector::new(address, tls, String::new()).connect().await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // Driven beside the exchange, so that giving it up closes the connection.
    let talk = async {
        let mut answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        if matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(Answer::Elsewhere { status, location: answer.headers_mut().remove(header::LOCATION) });
        }
        let mut body = answer.into_body();
        let mut text = Vec::new();
        while text.len() < handler.output_size
            && let Some(frame) = body.frame().await
        {
            if let Ok(bytes) = frame.map_err(|error| error.to_string())?.into_data() {
                text.extend_from_slice(&bytes);
            }
        }
        text.truncate(handler.output_size);
        let text = String::from_utf8_lossy(&text).trim_end().to_owned();
        if status.is_success() { Ok(Answer::Said(text)) } else { Err(format!("the handler answered {status}: {text}")) }
    };
    tokio::pin!(connection, talk);
    let mut open = true;
    loop {
        tokio::select! {
            result = &mut talk => return result,
            // Its end shows in the exchange, too.
            _ = &mut connection, if open => open = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        sync::mpsc,
    };

    use super::*;

    /// A server that answers paths as told and says what it was asked.
    async fn server() -> (String, mpsc::UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (heard, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.windows(4).any(|it| it == b"\r\n\r\n") {
                    let _ = stream.read_buf(&mut request).await;
                }
                let text = String::from_utf8_lossy(&request).into_owned();
                let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                let answer = match path.trim_start_matches('/').split_once('/') {
                    Some((status, rest)) => format!("{status} Moved\r\nLocation: /{rest}"),
                    None if path == "/nowhere" => "302 Found".to_owned(),
                    None if path == "/round" => "302 Found\r\nLocation: /round".to_owned(),
                    None => "200 OK".to_owned(),
                };
                let _ = heard.send(text);
                let _ = stream.write_all(format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await;
            }
        });
        (address, asked)
    }

    fn handler(url: String) -> HttpHandler {
        HttpHandler {
            url: Url::parse(&url).unwrap(),
            method: "POST".to_owned(),
            headers: BTreeMap::from([("Host".to_owned(), vec!["other".to_owned()])]),
            timeout: Duration::from_secs(30),
            skip_verify: false,
            output_size: 100,
        }
    }

    fn change() -> Change {
        Change { index: 7, json: "[1]".to_owned() }
    }

    #[tokio::test]
    async fn credentials_of_the_url_are_sent_and_not_shown() {
        let (address, mut asked) = server().await;
        send(&handler(format!("http://me:p%40ss@{address}/a?b")), &change()).await.unwrap();
        let request = asked.recv().await.unwrap();
        assert!(request.starts_with("POST /a?b HTTP/1.1\r\n"), "{request}");
        let fields: Vec<&str> = request.split("\r\n").collect();
        assert!(fields.contains(&format!("host: {address}").as_str()), "{request}");
        assert!(fields.contains(&"authorization: Basic bWU6cEBzcw=="), "{request}");
        assert!(fields.contains(&"x-consul-index: 7") && fields.contains(&"content-length: 4"), "{request}");
        let error = send(&handler(format!("http://me:secret@{address}/nowhere")), &change()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("http://me:xxxxx@{address}/nowhere: 302 response missing Location header")
        );
    }

    #[tokio::test]
    async fn redirects_are_followed() {
        let (address, mut asked) = server().await;
        for (path, last) in [("302/end", "GET /end"), ("307/end", "POST /end"), ("308/303/end", "GET /end")] {
            send(&handler(format!("http://{address}/{path}")), &change()).await.unwrap();
            let mut requests = Vec::new();
            while let Ok(request) = asked.try_recv() {
                requests.push(request);
            }
            assert_eq!(requests.len(), path.split('/').count(), "{path}");
            assert!(requests.last().unwrap().starts_with(&format!("{last} HTTP/1.1\r\n")), "{requests:?}");
        }
        let error = send(&handler(format!("http://{address}/round")), &change()).await.unwrap_err();
        assert!(error.to_string().ends_with("stopped after 10 redirects"), "{error}");
    }
}
