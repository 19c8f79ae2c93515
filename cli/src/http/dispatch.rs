//! From a request to its response: the steps every request takes, in one place.
//!
//! ```text
//!   path ─► blocked? ─► route ─► method ─► write allowed from there? ─► parameters, token ─► permission ─► body ─► handler
//! ```
//!
//! A handler that panics costs its own request a 500 and nothing else.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, CACHE_CONTROL},
    request::Parts,
    uri::PathAndQuery,
};
use http_body_util::{BodyExt, Collected, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use tokio_util::sync::CancellationToken;
use usher_cluster::access::Permission;

use super::{
    Api, Options,
    context::Cx,
    encode::{self, Form, ResponseBody},
    forward::{self, Answerer, Asked},
    limits::{BODY_TIMEOUT, MAX_BODY},
    params::{self, Params},
    reply::{Failure, Peer, Reply},
    routes::{self, Found, Needs, Place, Route},
};
use crate::config::duration;

/// Answers one request. What came with it is let go of before the handler runs: a request may wait for minutes, and as
/// long as one header is held so is the connection's whole read buffer.
pub(super) async fn answer(
    api: Arc<Api>,
    peer: Peer,
    shutdown: CancellationToken,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let started = Instant::now();
    let options = api.options.load_full();
    let line = RequestLine::of(&request, peer);
    let form = Form {
        pretty: options.pretty || wants_pretty(request.uri().query().unwrap_or_default()),
        gzip: encode::accepts_gzip(request.headers()),
    };
    let outcome = carry_out(&api, &options, peer, &shutdown, request).await;
    line.log(&outcome, started.elapsed());
    encode::response(outcome, form, &options, shutdown).await
}

/// Answers a request that another agent passed on.
pub(super) async fn answer_agent(
    api: Arc<Api>,
    shutdown: CancellationToken,
    request: Request<Bytes>,
) -> Result<Reply, Failure> {
    let started = Instant::now();
    let options = api.options.load_full();
    let line = RequestLine::of(&request, Peer::Agent);
    let outcome = carry_out(&api, &options, Peer::Agent, &shutdown, request).await;
    line.log(&outcome, started.elapsed());
    outcome
}

/// Every step from a request to its outcome.
async fn carry_out<B: Payload>(
    api: &Arc<Api>,
    options: &Arc<Options>,
    peer: Peer,
    shutdown: &CancellationToken,
    request: Request<B>,
) -> Result<Reply, Failure> {
    match prepare(api, options, peer, shutdown, request)? {
        Prepared::Handler(route, asked, cx, body) => handle(route, asked, cx, body).await,
        Prepared::Reply(reply) => Ok(reply),
    }
}

/// The body of a request, from whomever it comes.
trait Payload: Send {
    /// All of it, within its limits of size and time.
    fn collect(self) -> impl Future<Output = Result<Bytes, Failure>> + Send;
}

impl Payload for Incoming {
    fn collect(self) -> impl Future<Output = Result<Bytes, Failure>> + Send {
        collect(self)
    }
}

impl Payload for Bytes {
    async fn collect(self) -> Result<Bytes, Failure> {
        Ok(self)
    }
}

/// What the log tells of a request.
struct RequestLine {
    method: Method,
    url: String,
    peer: Peer,
}

impl RequestLine {
    fn of<B>(request: &Request<B>, peer: Peer) -> Self {
        let url = request.uri().path_and_query().map(PathAndQuery::as_str).unwrap_or_default();
        Self { method: request.method().clone(), url: url.to_owned(), peer }
    }

    fn log(&self, outcome: &Result<Reply, Failure>, latency: Duration) {
        let (method, url) = (&self.method, || without_token(&self.url));
        match outcome {
            Err(failure) if failure.status.is_server_error() => {
                tracing::error!(method = %method, url = url(), from = %self.peer, error = failure.text, "Request error");
            }
            Err(failure) if !failure.text.is_empty() => {
                tracing::debug!(method = %method, url = url(), from = %self.peer, error = failure.text, "Request error");
            }
            _ => {}
        }
        tracing::debug!(
            method = %method,
            url = url(),
            from = %self.peer,
            latency = duration::format(latency),
            "Request finished"
        );
    }
}

/// A request's path and parameters, its secret left out.
fn without_token(url: &str) -> String {
    let Some((path, query)) = url.split_once('?') else { return url.to_owned() };
    let hidden = |pair| if str::starts_with(pair, "token=") { "token=<hidden>" } else { pair };
    let query: Vec<&str> = query.split('&').map(hidden).collect();
    format!("{path}?{}", query.join("&"))
}

/// Whether `?pretty` is given, before the parameters are known to be well formed.
fn wants_pretty(query: &str) -> bool {
    query.split('&').any(|pair| pair.split('=').next() == Some("pretty"))
}

/// What a request comes to before anyone waits.
enum Prepared<B> {
    /// A handler is to run, here or elsewhere; changes still have their body to be read.
    Handler(&'static Route, Option<Asked>, Cx, Option<B>),
    /// Everything is said.
    Reply(Reply),
}

/// Every step up to the handler but the body.
fn prepare<B>(
    api: &Arc<Api>,
    options: &Arc<Options>,
    peer: Peer,
    shutdown: &CancellationToken,
    request: Request<B>,
) -> Result<Prepared<B>, Failure> {
    let (head, body) = request.into_parts();
    let path = params::decode_path(head.uri.path()).ok_or_else(|| Failure::bad("400 Bad Request"))?;
    let blocked = |prefix: &String| path.starts_with(prefix.as_str());
    if peer != Peer::Agent && options.block_endpoints.iter().any(blocked) {
        return Err(Failure::new(StatusCode::FORBIDDEN, "Endpoint is blocked by agent configuration"));
    }
    let (path_route, tail) = match routes::find(&path) {
        Found::Route(route, tail) => (route, tail.to_owned()),
        Found::Elsewhere(path) => return Ok(Prepared::Reply(elsewhere(&path, &head))),
        Found::Nothing => return Err(Failure::not_found()),
    };
    if head.method == Method::OPTIONS {
        return Ok(Prepared::Reply(encode::allowed(&allow(path_route))));
    }
    let Some(route) = path_route.of_method(head.method.as_str()) else {
        return Err(method_not_allowed(&head.method, path_route));
    };
    if peer == Peer::Agent && matches!(route.place, Place::Here) {
        return Err(Failure::new(StatusCode::FORBIDDEN, "only the agent itself answers this"));
    }
    let reads = route.method == "GET";
    if !reads && !may_write(options, peer) {
        return Err(Failure::new(StatusCode::FORBIDDEN, "Access is restricted"));
    }
    let params = Params::parse(head.uri.query().unwrap_or_default()).map_err(Failure::bad_request)?;
    refuse_namespaces(route, &params, &head.headers)?;
    let cx = Cx {
        api: Arc::clone(api),
        options: Arc::clone(options),
        token: token(&params, &head.headers),
        cache_control: header(&head.headers, CACHE_CONTROL.as_str()).to_owned(),
        params,
        tail,
        body: Bytes::new(),
        view: None,
        shutdown: shutdown.clone(),
    };
    permit(&cx, route.needs)?;
    let elsewhere = forward::may_be_elsewhere(route, api.agent.is_server());
    let uri = || head.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let asked = elsewhere.then(|| Asked { method: route.method, uri: uri() });
    Ok(Prepared::Handler(route, asked, cx, (!reads).then_some(body)))
}

/// What namespaces divide in Consul Enterprise: whoever asks for one here must not take everything for an answer.
const DIVIDED: [&str; 9] = [
    "/v1/agent/check",
    "/v1/agent/health/",
    "/v1/agent/service",
    "/v1/catalog/deregister",
    "/v1/catalog/node-services/",
    "/v1/catalog/node/",
    "/v1/catalog/register",
    "/v1/catalog/service",
    "/v1/health/",
];

fn refuse_namespaces(route: &Route, params: &Params, headers: &HeaderMap) -> Result<(), Failure> {
    const HEADER: &str = "X-Consul-Namespace";
    let given = match (params.value("ns"), header(headers, HEADER)) {
        ("", "") => return Ok(()),
        ("", _) => format!("header: \"{HEADER}\""),
        (_, _) => "query parameter: \"ns\"".to_owned(),
    };
    if !DIVIDED.iter().any(|divided| route.pattern.starts_with(divided)) {
        return Ok(());
    }
    Err(Failure::bad_request(format!("Invalid {given} - Namespaces are a Consul Enterprise feature")))
}

/// Reads the body, if there is one to read, and runs the handler, or has another agent run it.
async fn handle<B: Payload>(
    route: &'static Route,
    asked: Option<Asked>,
    mut cx: Cx,
    body: Option<B>,
) -> Result<Reply, Failure> {
    if let Some(body) = body {
        cx.body = Box::pin(body.collect()).await?;
    }
    let metrics = cx.api.metrics.clone();
    let started = Instant::now();
    // Boxed: the rare ways must not make the future of every waiting request larger.
    let handled = match asked {
        Some(asked) => Box::pin(answered(route, asked, cx)).await,
        None => run(route, cx).await,
    };
    metrics.request(route.method, route.pattern, started.elapsed());
    handled
}

/// Has the request answered by whoever has the answer.
async fn answered(route: &'static Route, asked: Asked, mut cx: Cx) -> Result<Reply, Failure> {
    match forward::answerer(route, &cx).await? {
        Answerer::Other(to) => return forward::forward(cx, asked, to).await,
        Answerer::View(view) => cx.view = Some(view),
        Answerer::Here => {}
    }
    run(route, cx).await
}

async fn run(route: &'static Route, cx: Cx) -> Result<Reply, Failure> {
    let handled = AssertUnwindSafe((route.handler)(cx)).catch_unwind().await;
    handled.unwrap_or_else(|_| {
        tracing::error!(path = route.pattern, "a request handler panicked");
        Err(Failure::internal("internal error: the request could not be handled"))
    })
}

/// The answer to a path spelled in another way; the parameters go along.
fn elsewhere(path: &str, head: &Parts) -> Reply {
    let mut location = params::encode_path(path);
    if let Some(query) = head.uri.query() {
        location.push('?');
        location.push_str(query);
    }
    encode::redirect(&location, head.method == Method::GET || head.method == Method::HEAD)
}

/// The value of `Allow`.
fn allow(route: &Route) -> String {
    format!("OPTIONS,{}", route.methods().join(","))
}

fn method_not_allowed(method: &Method, route: &Route) -> Failure {
    let text = format!("method {method} not allowed");
    Failure { allow: Some(allow(route)), ..Failure::new(StatusCode::METHOD_NOT_ALLOWED, text) }
}

/// Whether changes are taken from there (`http_config.allow_write_http_from`). Who comes by a unix socket has no
/// address, so where addresses are listed it is not among them.
fn may_write(options: &Options, peer: Peer) -> bool {
    let networks = &options.allow_write_http_from;
    networks.is_empty()
        || match peer {
            Peer::Tcp(address) => networks.iter().any(|network| network.contains(address.ip())),
            Peer::Unix => false,
            // The agent that was asked has looked.
            Peer::Agent => true,
        }
}

/// The secret a request carries: `?token=`, `X-Consul-Token`, or a bearer token.
fn token(params: &Params, headers: &HeaderMap) -> String {
    let bearer = || {
        let (scheme, token) = header(headers, AUTHORIZATION.as_str()).trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    };
    let candidates = [params.value("token"), header(headers, forward::TOKEN.as_str()), bearer().unwrap_or_default()];
    candidates.into_iter().find(|token| !token.is_empty()).unwrap_or_default().to_owned()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// What the route as a whole needs.
fn permit(cx: &Cx, needs: Needs) -> Result<(), Failure> {
    match needs {
        Needs::AgentRead => cx.authorize(&Permission::AgentRead),
        Needs::AgentWrite => cx.authorize(&Permission::AgentWrite),
        Needs::OperatorRead => cx.authorize(&Permission::OperatorRead),
        Needs::OperatorWrite => cx.authorize(&Permission::OperatorWrite),
        Needs::Nothing | Needs::Filtered | Needs::Stated => Ok(()),
    }
}

/// The whole body, within its limits of size and time. One that says it is too large is not waited for.
async fn collect(body: Incoming) -> Result<Bytes, Failure> {
    let too_large = || {
        let text = format!("Request body too large, max size: {MAX_BODY} bytes");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    };
    if usize::try_from(body.size_hint().lower()).is_ok_and(|size| size > MAX_BODY) {
        return Err(too_large());
    }
    let limited = Limited::new(body, MAX_BODY).collect();
    let collected = tokio::time::timeout(BODY_TIMEOUT, limited)
        .await
        .map_err(|_| Failure::new(StatusCode::REQUEST_TIMEOUT, "the request body took too long to arrive"))?;
    collected
        .map(Collected::to_bytes)
        .map_err(|error| if error.is::<LengthLimitError>() { too_large() } else { Failure::decode(error) })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use std::sync::Arc;

    use bytes::Bytes;
    use tokio_util::sync::CancellationToken;
    use usher_cluster::access::AllowAll;

    use super::{handle, may_write, token, wants_pretty, without_token};
    use crate::http::{
        Options,
        context::Cx,
        params::Params,
        reply::Peer,
        routes::{Needs, Place, Route},
        tests::served,
    };

    #[tokio::test]
    async fn a_handler_that_panics_costs_its_own_request() {
        static ROUTE: Route = Route {
            pattern: "/v1/broken",
            method: "GET",
            needs: Needs::Nothing,
            place: Place::Here,
            handler: |_| Box::pin(async { panic!("on purpose") }),
        };
        let served = served(Options::default(), Arc::new(AllowAll), None).await;
        let cx = Cx {
            api: Arc::clone(&served.api),
            options: served.api.options.load_full(),
            params: Params::default(),
            tail: String::new(),
            token: String::new(),
            cache_control: String::new(),
            body: Bytes::new(),
            view: None,
            shutdown: CancellationToken::new(),
        };
        let failure = handle::<Bytes>(&ROUTE, None, cx, None).await.err().unwrap();
        assert_eq!(failure.status.as_u16(), 500);
    }

    #[test]
    fn tokens() {
        let told = |query: &str, headers: &[(&'static str, &'static str)]| {
            let headers: HeaderMap =
                headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect();
            token(&Params::parse(query).unwrap(), &headers)
        };
        assert_eq!(told("", &[]), "");
        assert_eq!(told("", &[("x-consul-token", "a")]), "a");
        assert_eq!(told("token=q", &[("x-consul-token", "a")]), "q");
        assert_eq!(told("", &[("authorization", "Bearer b")]), "b");
        assert_eq!(told("", &[("authorization", "bearer  b ")]), "b");
        assert_eq!(told("", &[("authorization", "Basic b")]), "");
    }

    #[test]
    fn changes_from_listed_networks_alone() {
        let open = Options::default();
        let listed = Options { allow_write_http_from: vec!["10.0.0.0/8".parse().unwrap()], ..Options::default() };
        let tcp = |text: &str| Peer::Tcp(text.parse().unwrap());
        assert!(may_write(&open, tcp("1.2.3.4:5")));
        assert!(may_write(&open, Peer::Unix));
        assert!(may_write(&listed, tcp("10.2.3.4:5")));
        assert!(!may_write(&listed, tcp("1.2.3.4:5")));
        assert!(!may_write(&listed, Peer::Unix));
    }

    #[test]
    fn secrets_stay_out_of_the_log() {
        for (uri, expected) in [
            ("/v1/agent/self", "/v1/agent/self"),
            ("/v1/agent/self?pretty&token=abc&wait=5s", "/v1/agent/self?pretty&token=<hidden>&wait=5s"),
            ("/v1/agent/self?token=abc", "/v1/agent/self?token=<hidden>"),
        ] {
            assert_eq!(without_token(uri), expected);
        }
    }

    #[test]
    fn pretty_by_presence() {
        assert!(wants_pretty("pretty"));
        assert!(wants_pretty("stale&pretty=false"));
        assert!(!wants_pretty("prettyx&a=pretty"));
        assert!(!wants_pretty(""));
    }
}
