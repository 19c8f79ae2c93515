//! An HTTP server that answers as it is told, over TCP or TLS, and keeps what it was asked.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use http_body_util::BodyExt as _;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Acceptor, body::Answer, lock, tls::Authority};

/// The most requests kept; of more the first are.
const KEPT: usize = 10_000;

/// How requests are answered.
#[derive(Debug, Clone)]
pub enum Mode {
    /// With this status and body.
    Status(u16, String),
    /// With these statuses in turn, over and over.
    Cycle(Vec<u16>),
    /// Never.
    Hang,
    /// 200 and a body that comes a byte at a time and does not end.
    Slow,
    /// 200 and a body that comes as fast as it can and does not end.
    Flood,
    /// 302 to this address.
    Redirect(String),
    /// 200; the body shows the request: method, target, headers, body.
    Echo,
}

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// GET, PUT, ...
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The headers, names in lower case, the last of each name.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.method, self.target)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {value}")?;
        }
        f.write_str(&String::from_utf8_lossy(&self.body))
    }
}

#[derive(Debug)]
struct State {
    mode: Mutex<Mode>,
    /// Answers of single paths.
    at: Mutex<BTreeMap<String, Mode>>,
    seen: Mutex<Vec<Seen>>,
    count: AtomicUsize,
    under_way: AtomicUsize,
    most_at_once: AtomicUsize,
}

/// A running server.
#[derive(Debug)]
pub struct Http {
    state: Arc<State>,
    acceptor: Acceptor,
    scheme: &'static str,
}

impl Http {
    /// A server that answers 200.
    pub fn start() -> Self {
        let state = Arc::new(State::new());
        let shared = Arc::clone(&state);
        let acceptor = Acceptor::start(move |stream| serve(Arc::clone(&shared), stream));
        Self { state, acceptor, scheme: "http" }
    }

    /// The same over TLS, with a certificate of `authority` for `localhost` and 127.0.0.1.
    pub fn start_tls(authority: &Authority) -> Self {
        let state = Arc::new(State::new());
        let shared = Arc::clone(&state);
        let tls = authority.acceptor(&[b"http/1.1"]);
        let acceptor = Acceptor::start(move |stream| {
            let (shared, tls) = (Arc::clone(&shared), tls.clone());
            async move {
                if let Ok(stream) = tls.accept(stream).await {
                    serve(shared, stream).await;
                }
            }
        });
        Self { state, acceptor, scheme: "https" }
    }

    /// Answers so from now on.
    pub fn set(&self, mode: Mode) {
        *lock(&self.state.mode) = mode;
    }

    /// Answers requests of this path and query so from now on, whatever the others get.
    pub fn set_at(&self, target: &str, mode: Mode) {
        lock(&self.state.at).insert(target.to_owned(), mode);
    }

    /// Answers with this status from now on.
    pub fn status(&self, status: u16) {
        self.set(Mode::Status(status, format!("answer {status}")));
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.acceptor.address())
    }

    /// Where it listens.
    pub fn acceptor(&self) -> &Acceptor {
        &self.acceptor
    }

    /// Nobody listens any more.
    pub fn down(&self) {
        self.acceptor.down();
    }

    /// It listens again.
    pub fn up(&self) {
        self.acceptor.up();
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.state.seen).clone()
    }

    /// How many requests there were.
    pub fn count(&self) -> usize {
        self.state.count.load(Ordering::Relaxed)
    }

    /// How many requests were under way at most at the same time.
    pub fn most_at_once(&self) -> usize {
        self.state.most_at_once.load(Ordering::Relaxed)
    }
}

impl State {
    fn new() -> Self {
        Self {
            mode: Mutex::new(Mode::Status(200, "answer 200".to_owned())),
            at: Mutex::default(),
            seen: Mutex::default(),
            count: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
        }
    }

    fn mode_of(&self, target: &str) -> Mode {
        let single = lock(&self.at).get(target).cloned();
        single.unwrap_or_else(|| lock(&self.mode).clone())
    }
}

async fn serve(state: Arc<State>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let answer = service_fn(move |request| answer(Arc::clone(&state), request));
    // Whoever asks may go away at any time.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
    let _under_way = UnderWay::enter(&state);
    let seen = seen(request).await;
    let mode = state.mode_of(&seen.target);
    let turn = state.count.fetch_add(1, Ordering::Relaxed);
    {
        let mut kept = lock(&state.seen);
        if kept.len() < KEPT {
            kept.push(seen.clone());
        }
    }
    let (status, location, body) = match mode {
        Mode::Status(status, body) => (status, None, Answer::whole(body)),
        Mode::Cycle(statuses) => {
            let turn = turn % statuses.len().max(1);
            (statuses.get(turn).copied().unwrap_or(200), None, Answer::whole("in turn"))
        }
        Mode::Hang => std::future::pending().await,
        Mode::Slow => (200, None, Answer::drip()),
        Mode::Flood => (200, None, Answer::Flood),
        Mode::Redirect(to) => (302, Some(to), Answer::whole("elsewhere")),
        Mode::Echo => (200, None, Answer::whole(seen.to_string())),
    };
    let mut response = Response::builder().status(status);
    if let Some(location) = location {
        response = response.header("Location", location);
    }
    Ok(response.body(body).expect("a test sets statuses and addresses that exist"))
}

async fn seen(request: Request<Incoming>) -> Seen {
    let (head, body) = request.into_parts();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Seen {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default(),
    }
}

/// Counts a request while it is under way, also one whose client goes away.
struct UnderWay(Arc<State>);

impl UnderWay {
    fn enter(state: &Arc<State>) -> Self {
        let now = state.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        state.most_at_once.fetch_max(now, Ordering::Relaxed);
        Self(Arc::clone(state))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        http::{Http as Client, Request},
        poll::eventually,
    };

    #[test]
    fn answers_as_it_is_told_dies_and_comes_back() {
        let server = Http::start();
        let client = Client::Tcp(server.acceptor().address());
        assert_eq!(client.get("/a").unwrap().status, 200);
        server.status(429);
        assert_eq!(client.get("/a").unwrap().status, 429);
        server.set_at("/b", Mode::Redirect("/c".to_owned()));
        let redirected = client.get("/b").unwrap();
        assert_eq!((redirected.status, redirected.header("Location")), (302, Some("/c")));
        server.set(Mode::Echo);
        let mut request = Request::new("PUT", "/x?y").body("body");
        request.headers.push(("X-A".to_owned(), "b".to_owned()));
        let echoed = client.send(&request).unwrap().text();
        assert!(
            echoed.starts_with("PUT /x?y\n") && echoed.contains("\nx-a: b\n") && echoed.ends_with("body"),
            "{echoed}"
        );
        assert_eq!((server.count(), server.seen().len(), server.most_at_once()), (4, 4, 1));

        server.set(Mode::Hang);
        let held = client.open(&Request::new("GET", "/")).unwrap();
        eventually("the request is under way", || if server.count() == 5 { Ok(()) } else { Err(server.count()) });
        server.down();
        assert!(held.response().is_err(), "an open connection breaks");
        assert_eq!(client.get("/").unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
        server.up();
        server.status(200);
        assert_eq!(client.get("/").unwrap().status, 200);
    }
}
